"""`naru agent`: the agent of this machine, which brings the files of images and gives engines root file systems."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from naru.cli.output import Output, OutputOption, bulk, clean, lay_out, say, table

if TYPE_CHECKING:
    from naru.agent.control import Agent
    from naru.agent.status import Status

agent = typer.Typer(
    help="The agent of this machine: files of images from the nearest that has them.", no_args_is_help=True
)


@agent.command("run")
def run() -> None:
    """Run the agent of this machine until it is stopped; containers go on without it.

    It is configured by environment variables; see docs/configuration.md.
    """
    # The command line takes as much memory as the agent itself: a process that stays does without it.
    os.execv(sys.executable, [sys.executable, "-m", "naru.agent"])  # noqa: S606 - ourselves


@agent.command("join")
def join(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="What `naru agent token` printed.")],
    via: Annotated[str, typer.Option(metavar="HOST:PORT", help="The agent that holds the cluster's authority.")],
) -> None:
    """Let this machine's agent into a cluster: get a certificate for it. Start the agent again afterwards."""
    import asyncio

    from naru.agent.exchange.join import join as join_cluster
    from naru.agent.settings import parse_address, read_environment
    from naru.domain.membership import Token

    settings = read_environment()
    host, port = parse_address(via)
    identity = asyncio.run(
        join_cluster(settings.identity, settings.node, settings.site, host, port, Token.parse(token))
    )
    member = identity.member
    say(f"{member.node} of the site {member.site} has joined the cluster {member.cluster}")


@agent.command("token")
def token(
    hours: Annotated[int, typer.Option(help="How long it is good.", min=1, max=720)] = 1,
    node: Annotated[
        str, typer.Option(metavar="NAME", help="Only this node may use it, in place of an older one.")
    ] = "",
    uses: Annotated[int, typer.Option(help="How many nodes may use it, 0 for any number.", min=0)] = 0,
) -> None:
    """Print a token that lets another machine join. Works where the agent runs with NARU_AGENT_AUTHORITY=yes."""
    from datetime import UTC, datetime, timedelta

    from naru.agent.exchange.authority import Authority
    from naru.agent.settings import read_environment

    authority = Authority.open(read_environment().authority_home)
    typer.echo(str(authority.token(datetime.now(UTC), timedelta(hours=hours), node, uses)))


@agent.command("revoke")
def revoke(
    node: Annotated[str, typer.Argument(metavar="NODE", help="The node's name, as its certificate has it.")],
) -> None:
    """Throw a node out: all agents refuse it from now on. Works where the agent runs with NARU_AGENT_AUTHORITY=yes."""
    _asked().revoke(node)
    say(f"{node} is no member of the cluster any more")


@agent.command("status")
def status(output: OutputOption = Output.TABLE) -> None:
    """Show how the agent is: what it has, what came from where, and whom it knows."""
    told = _asked().status()
    match output:
        case Output.JSON:
            _emit(told)
        case Output.TABLE:
            _show(told)


@agent.command("gc")
def collect(
    scrub: Annotated[bool, typer.Option("--scrub", help="Read what stays again, and drop what has rotted.")] = False,
) -> None:
    """Free the files of images that nothing runs."""
    asked = _asked()
    freed = asked.collect()
    say(f"{freed.objects} files are gone, {bulk(freed.size)}")
    if scrub:
        read = asked.scrub()
        say(f"{read.objects} files were read again, {bulk(read.size)}; {read.rotten} had rotted and are gone")


@agent.command("adopt")
def adopt(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image's name, with tag or digest.")],
    directory: Annotated[Path, typer.Argument(help="Where an engine has unpacked it, or an older one.", exists=True)],
) -> None:
    """Take an image's files from a directory of this machine instead of fetching them."""
    taken = _asked().adopt(image, directory.absolute())
    say(f"{taken.objects} files were here already, {bulk(taken.size)}")


@agent.command("prefetch")
def prefetch(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image's name, with tag or digest.")],
) -> None:
    """Bring all files of an image before anything runs it."""
    done = _asked().prefetch(image)
    say(f"{done.digest} is here: {done.objects} files, {bulk(done.size)}, of which {bulk(done.fetched)} came now")


def _asked() -> Agent:
    from naru.agent.control import Agent
    from naru.agent.settings import read_environment

    return Agent(read_environment().control)


def _emit(told: Status) -> None:
    import msgspec

    typer.echo(msgspec.json.encode(told).decode())


def _show(told: Status) -> None:
    traffic, store = told.traffic, told.store
    budget = f" of {bulk(store.budget)}" if store.budget else ""
    grid = Table.grid(padding=(0, 2))
    rows = (
        ("node", f"{told.node}, site {told.site}, {f'cluster {told.cluster}' if told.cluster else 'in no cluster'}"),
        ("mode", told.mode + "".join(f"\n{reason}" for reason in told.lacking)),
        ("store", f"{store.objects} files, {bulk(store.size)}{budget}; {bulk(store.saved)} saved by sharing"),
        (
            "received",
            f"{bulk(traffic.from_site)} from this site, {bulk(traffic.from_outside)} from others, "
            f"{bulk(traffic.from_origin)} from registries",
        ),
        ("sent", f"{bulk(traffic.to_peers)} to agents, {bulk(traffic.to_engines)} to engines"),
        ("mirror", told.mirror or "off"),
    )
    for name, text in rows:
        grid.add_row(name, clean(text))
    lay_out(grid)
    if told.images:
        say("")
        table(
            ("image", "name", "files", "bytes", "held by"),
            (
                (
                    one.digest[:19],
                    one.reference,
                    f"{one.present}/{one.objects}",
                    f"{bulk(one.present_size)} of {bulk(one.size)}",
                    ", ".join(one.holders),
                )
                for one in told.images
            ),
        )
    if told.peers:
        say("")
        table(
            ("agent", "site", "address", "state", "round trip", "received"),
            (
                (
                    one.node,
                    one.site,
                    one.address,
                    one.fault or ("connected" if one.connected else "away"),
                    f"{one.rtt * 1000:.1f} ms" if one.connected else "",
                    bulk(one.received),
                )
                for one in told.peers
            ),
        )
