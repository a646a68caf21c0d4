"""`naru targets`: where instances can run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from naru.cli import progress, views
from naru.cli.complete import target_names
from naru.cli.output import Output, OutputOption, done, emit, emit_list, say, table
from naru.cli.session import call
from naru.domain.rollout import Rollout, RolloutState
from naru.domain.target import Target

if TYPE_CHECKING:
    from naru.client import Client

targets = typer.Typer(help="The engines that instances can run on.", invoke_without_command=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The target's name.", autocompletion=target_names)]


@targets.callback()
def every(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List the engines that instances can run on, or add, cordon and remove one."""
    if context.invoked_subcommand is None:
        list_targets(output)


@targets.command("list")
def list_targets(output: OutputOption = Output.TABLE) -> None:
    """List the targets with what they have room for."""
    found = call(lambda client: client.targets())
    match output:
        case Output.JSON:
            emit_list(found)
        case Output.TABLE:
            table(views.TARGET_HEADINGS, (views.target_row(target) for target in found))


@targets.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new target's name.")],
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="Where its engine answers: tcp://HOST:PORT, swarm+tcp://…, kubernetes:…, marathon+https://…",
        ),
    ],
    site: Annotated[str, typer.Option("--site", help="Where it stands; its own name unless given.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Add it even if it does not answer yet.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Add an engine, once it has answered."""
    _show(call(lambda client: client.fleet.add(name, url, site=site, force=force)), output)


@targets.command("cordon")
def cordon(name: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Let nothing new come to a target; what runs there stays."""
    _show(call(lambda client: client.fleet.cordon(name)), output)


@targets.command("uncordon")
def uncordon(name: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Let a target take new apps again."""
    _show(call(lambda client: client.fleet.uncordon(name)), output)


@targets.command("drain")
def drain(
    name: NameArgument,
    copy_volumes: Annotated[
        bool, typer.Option("--copy-volumes", help="Stop apps that have volumes while those are copied and compared.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the moves.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Cordon a target and move its apps away; ends with 1 when one of them stays."""
    evacuation = call(lambda client: client.fleet.drain(name, copy_volumes=copy_volumes))
    if not detach:
        moves = call(lambda client: _ended(client, evacuation.moves))
        evacuation = replace(evacuation, moves=moves)
    match output:
        case Output.JSON:
            emit(evacuation)
        case Output.TABLE:
            for rollout in evacuation.moves:
                told = rollout.reason.partition("\n")[0] or f"rollout {rollout.id}"
                say(Text.assemble(f"{rollout.app} → {rollout.target}  ", progress.styled(rollout.state), f"  {told}"))
            for one in evacuation.staying:
                say(f"{one.app} stays: {one.reason}")
    failed = any(rollout.state.ended and rollout.state is not RolloutState.SUCCEEDED for rollout in evacuation.moves)
    if failed or evacuation.staying:
        raise typer.Exit(1)


async def _ended(client: Client, moves: Sequence[Rollout]) -> tuple[Rollout, ...]:
    """Follow the moves to their ends."""
    ended = []
    for rollout in moves:
        seen = [rollout, *[one async for one in client.apps.follow(rollout.id)]]
        ended.append(seen[-1])
    return tuple(ended)


@targets.command("remove")
def remove(name: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Forget a target on which no app lives."""
    call(lambda client: client.fleet.remove(name))
    done(f"the target {name} is removed", output)


def _show(target: Target, output: Output) -> None:
    match output:
        case Output.JSON:
            emit(target)
        case Output.TABLE:
            table(views.TARGET_HEADINGS, [views.target_row(target)])
