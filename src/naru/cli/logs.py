"""What instances write, and what happens: streams for people and programs."""

import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from naru.cli import parse, views
from naru.cli.apps import LimitOption
from naru.cli.complete import AppArgument, InstanceOption, app_names
from naru.cli.output import Output, OutputOption, emit, emit_list, say, screen
from naru.cli.session import call
from naru.cli.views import short_id
from naru.domain.app import Event
from naru.domain.instance import LogLine

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")


def logs(
    app: AppArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")] = False,
    since: Annotated[str, typer.Option(metavar="TIME", help="From 10m ago, or from 2026-01-31T12:00:00Z.")] = "",
    tail: Annotated[int | None, typer.Option(metavar="N", min=0, help="Only the last lines.")] = None,
    instance: InstanceOption = "",
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="Say when each line was written.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print what an app's instances write, all merged."""
    start = parse.since(since, datetime.now(UTC)) if since else None
    console = screen()

    def show(line: LogLine) -> None:
        match output:
            case Output.JSON:
                emit(line)
            case Output.TABLE:
                console.print(log_line(line, timestamps=timestamps), soft_wrap=True)

    async def run(lines: AsyncIterator[LogLine]) -> None:
        async for line in lines:
            show(line)

    call(lambda client: run(client.apps.logs(app, instance=instance, follow=follow, since=start, tail=tail)))


def events(
    app: Annotated[
        str, typer.Argument(metavar="[APP]", help="One app only.", autocompletion=app_names, show_default=False)
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")] = False,
    limit: LimitOption = 50,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print what happened, to one app or to all."""

    if not follow:
        latest = call(lambda client: client.apps.events(app, limit=limit))
        match output:
            case Output.JSON:
                emit_list(latest)
            case Output.TABLE:
                for event in reversed(latest):
                    say(views.event_line(event))
        return

    async def run(happening: AsyncIterator[Event]) -> None:
        async for event in happening:
            match output:
                case Output.JSON:
                    emit(event)
                case Output.TABLE:
                    say(views.event_line(event))

    call(lambda client: run(client.apps.follow_events(app)))


def log_line(line: LogLine, *, timestamps: bool) -> Text:
    """Return a line with its instance; its own colours are kept, and nothing else that a terminal would obey."""
    colour = _COLOURS[zlib.crc32(line.instance.encode()) % len(_COLOURS)]
    text = Text(f"{short_id(line.instance)}  ", style=colour)
    if timestamps:
        text.append(f"{line.at.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3] + "  ", style="dim")
    return Text.assemble(text, Text.from_ansi(line.text, style="red" if line.stream == "stderr" else ""))
