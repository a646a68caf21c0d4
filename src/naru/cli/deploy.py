"""`naru deploy`: an image, a port and a replica count become a proven endpoint."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from inspect import Signature, signature
from pathlib import Path
from typing import Annotated, Any, assert_never

import typer

from naru.cli import parse
from naru.cli.carry import DetachOption, carry_out
from naru.cli.output import Output, OutputOption
from naru.domain.errors import Invalid
from naru.domain.kind import Affinity, WorkloadKind
from naru.domain.proof import ProbeRequest, ProofPolicy
from naru.domain.workload import (
    Address,
    BlueGreen,
    Canary,
    Health,
    Recreate,
    Resources,
    Restart,
    Rolling,
    Strategy,
    TcpCheck,
    Tls,
    Workload,
)


class StrategyName(StrEnum):
    """The strategies by name."""

    ROLLING = "rolling"
    RECREATE = "recreate"
    BLUE_GREEN = "blue-green"
    CANARY = "canary"


_RUN = "How it runs"
_WHERE = "Where it runs"
_REACH = "How it is reached and proven"
_CHANGE = "How it is replaced"


def described(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image, such as nginx:1.27.")],
    port: Annotated[
        int, typer.Option("--port", "-p", help="The port that the container listens on.", show_default="none")
    ] = 0,
    replicas: Annotated[int, typer.Option("--replicas", "-r", help="How many instances run.")] = 1,
    name: Annotated[
        str, typer.Option("--name", "-n", metavar="NAME", help="The app's name.", show_default="from the image")
    ] = "",
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="K=V", help="An environment variable.", rich_help_panel=_RUN),
    ] = None,
    env_file: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="A file of K=V lines.", rich_help_panel=_RUN),
    ] = None,
    command: Annotated[
        str, typer.Option(metavar="CMD", help="Run this instead of the image's own command.", rich_help_panel=_RUN)
    ] = "",
    args: Annotated[
        str, typer.Option("--args", metavar="ARGS", help="Arguments for the image's own program.", rich_help_panel=_RUN)
    ] = "",
    cpus: Annotated[float | None, typer.Option(help="Cores that an instance may use.", rich_help_panel=_RUN)] = None,
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="Memory that an instance may use: 256M.", rich_help_panel=_RUN)
    ] = "",
    volume: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:PATH[:ro]", help="A named volume.", rich_help_panel=_RUN),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:PATH", help="A stored secret as a file.", rich_help_panel=_RUN),
    ] = None,
    health: Annotated[
        str,
        typer.Option(
            metavar="CHECK",
            help="When it is ready: http:/path, tcp or cmd:PROGRAM.",
            show_default="tcp",
            rich_help_panel=_RUN,
        ),
    ] = "",
    restart: Annotated[
        Restart, typer.Option(help="When an instance is started again.", rich_help_panel=_RUN)
    ] = Restart.ALWAYS,
    stop_grace: Annotated[
        str, typer.Option(metavar="TIME", help="Time to stop before it is killed.", rich_help_panel=_RUN)
    ] = "10s",
    kind: Annotated[
        WorkloadKind,
        typer.Option(help="What it is for, which decides how it is proven and where.", rich_help_panel=_WHERE),
    ] = WorkloadKind.SERVICE,
    schedule: Annotated[
        str, typer.Option(metavar="CRON", help="Scheduled: when it runs, in UTC: '30 4 * * *'.", rich_help_panel=_WHERE)
    ] = "",
    project: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The project whose apps it reaches, and they it, by name.", rich_help_panel=_WHERE
        ),
    ] = "",
    private: Annotated[
        bool, typer.Option("--private", help="Reached by the apps of its project only.", rich_help_panel=_REACH)
    ] = False,
    autoscale: Annotated[
        str,
        typer.Option(
            metavar="MIN:MAX[:PERCENT]",
            help="Let the engine choose how many run, by the CPU they use.",
            rich_help_panel=_RUN,
        ),
    ] = "",
    target: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only on this target.", rich_help_panel=_WHERE)
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only on this kind of engine.", rich_help_panel=_WHERE)
    ] = None,
    site: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only at this site.", rich_help_panel=_WHERE)
    ] = None,
    near: Annotated[
        str, typer.Option(metavar="APP", help="Rather where that app runs, or at its site.", rich_help_panel=_WHERE)
    ] = "",
    host: Annotated[
        str, typer.Option(metavar="HOST", help="The host name that it answers to.", rich_help_panel=_REACH)
    ] = "",
    address_port: Annotated[
        int,
        typer.Option(help="The port of the front door.", show_default="a free one", rich_help_panel=_REACH),
    ] = 0,
    tls: Annotated[Tls, typer.Option(help="Where its certificate comes from.", rich_help_panel=_REACH)] = Tls.OFF,
    proof_path: Annotated[
        str, typer.Option(metavar="PATH", help="The path that is asked.", rich_help_panel=_REACH)
    ] = "/",
    proof_status: Annotated[
        int,
        typer.Option(help="The status that proves it.", show_default="any below 400", rich_help_panel=_REACH),
    ] = 0,
    proof_count: Annotated[
        int, typer.Option(help="Requests that must pass in a row.", rich_help_panel=_REACH)
    ] = ProofPolicy().count,
    steady: Annotated[
        str,
        typer.Option(metavar="TIME", help="How long proves what has no endpoint.", rich_help_panel=_REACH),
    ] = "5s",
    no_proof: Annotated[bool, typer.Option("--no-proof", help="Ask for no proof.", rich_help_panel=_REACH)] = False,
    strategy: Annotated[
        StrategyName, typer.Option(help="How old instances give way to new ones.", rich_help_panel=_CHANGE)
    ] = StrategyName.ROLLING,
    max_surge: Annotated[
        int, typer.Option(help="Rolling: instances above the count.", rich_help_panel=_CHANGE)
    ] = Rolling().max_surge,
    max_unavailable: Annotated[
        int, typer.Option(help="Rolling: instances below the count.", rich_help_panel=_CHANGE)
    ] = Rolling().max_unavailable,
    canary: Annotated[
        str,
        typer.Option(metavar="STEPS", help="Canary: percent and time, 10:30s,50:30s.", rich_help_panel=_CHANGE),
    ] = "",
) -> Workload:
    """Return the workload that the options describe: every command that takes one takes these."""
    variables: dict[str, str] = {}
    for file in env_file or ():
        variables |= parse.environment_file(_text(file))
    variables |= parse.environment(env or (), os.environ)
    return Workload(
        app=name or parse.app_name(image),
        image=image,
        port=port,
        replicas=replicas,
        command=parse.words(command),
        arguments=parse.words(args),
        environment=variables,
        health=Health(check=parse.health(health) if health else TcpCheck()),
        resources=Resources(cpus=cpus, memory=parse.size(memory) if memory else None),
        restart=restart,
        volumes=tuple(parse.volume(text) for text in volume or ()),
        secrets=tuple(parse.secret(text) for text in secret or ()),
        stop_grace=parse.duration(stop_grace),
        strategy=chosen_strategy(strategy, max_surge=max_surge, max_unavailable=max_unavailable, canary=canary),
        proof=ProofPolicy(
            request=ProbeRequest(path=proof_path, expect_status=proof_status),
            count=0 if no_proof else proof_count,
            steady=parse.duration(steady),
        ),
        address=Address(host=host, port=address_port, tls=tls),
        kind=kind,
        schedule=schedule,
        autoscale=parse.autoscale(autoscale) if autoscale else None,
        project=project,
        private=private,
        affinity=Affinity(tuple(target or ()), tuple(engine or ()), tuple(site or ()), near),
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of `described`, as they were typed."""

    options: Mapping[str, Any]

    @property
    def image(self) -> str:
        """The image, empty where a command may do without."""
        return str(self.options["image"])

    def workload(self) -> Workload:
        """Read them; raise Invalid for what is wrong with them."""
        return described(**self.options)


def describing(**defaults: object) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `described`, some with other defaults; it gets them as its first parameter."""

    def widened(command: Callable[..., None]) -> Callable[..., None]:
        _, *own = signature(command, eval_str=True).parameters.values()
        asked = [p.replace(default=defaults.get(p.name, p.default)) for p in signature(described).parameters.values()]

        @wraps(command)
        def run(**given: Any) -> None:
            rest = {parameter.name: given.pop(parameter.name) for parameter in own}
            command(Asked(given), **rest)

        run.__signature__ = Signature([*asked, *own])  # type: ignore[attr-defined]
        return run

    return widened


@describing()
def deploy(asked: Asked, detach: DetachOption = False, output: OutputOption = Output.TABLE) -> None:
    """Deploy an image: create the app, or make a new release of it, and prove its endpoint.

    What is not said takes its default, also when the app exists: use `update` to change nothing but the image.
    """
    workload = asked.workload()
    carry_out(lambda client: client.apps.deploy(workload), output=output, detach=detach)


def chosen_strategy(name: StrategyName, *, max_surge: int, max_unavailable: int, canary: str) -> Strategy:
    """Return the strategy of that name; canary steps alone mean a canary."""
    if canary and name in (StrategyName.RECREATE, StrategyName.BLUE_GREEN):
        raise Invalid(f"canary steps do not fit the strategy {name}", "use --strategy canary")
    if canary:
        return parse.canary(canary)
    match name:
        case StrategyName.ROLLING:
            return Rolling(max_surge, max_unavailable)
        case StrategyName.RECREATE:
            return Recreate()
        case StrategyName.BLUE_GREEN:
            return BlueGreen()
        case StrategyName.CANARY:
            return Canary()
        case _:
            assert_never(name)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise Invalid(f"{file} cannot be read: {error}", "name a readable text file") from error
