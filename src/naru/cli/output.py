"""Two ways to say a thing: the API's JSON for programs, Rich for people; plain text where no terminal reads."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

_CONTROL = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}

_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")

Cell = Text | str


class Output(StrEnum):
    """How answers are printed."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="table for people, json for programs (the API's document).")
]


def screen(*, stderr: bool = False) -> Console:
    """Return where people read: colours and a width on a terminal, neither elsewhere; NO_COLOR is honoured."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 10_000  # nobody wraps what a program or a file reads
    return console


def say(text: Cell) -> None:
    """Print one thing to a person on standard output."""
    _print(screen(), text)


def remark(text: Cell) -> None:
    """Print to standard error, so that standard output holds the answer alone."""
    _print(screen(stderr=True), text)


def table(headings: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """Print rows under headings; numbers are the caller's to format."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        grid.add_column(heading.upper(), overflow="fold")
    for row in rows:
        grid.add_row(*(clean(cell) if isinstance(cell, str) else cell for cell in row))
    lay_out(grid)


def lay_out(grid: Table) -> None:
    """Print a grid; where no terminal reads, without the blanks that fill its lines."""
    console = screen()
    if console.is_terminal:
        console.print(grid)
        return
    with console.capture() as captured:
        console.print(grid)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def emit(value: object) -> None:
    """Print a value as our API writes it, on one line."""
    # Pydantic is loaded with the client, which no `--help` and no completion of options needs: 50 ms of every start.
    from naru.client import wire

    typer.echo(wire.document(value))


def emit_list(items: Sequence[object]) -> None:
    """Print the document of a whole list."""
    from naru.client import wire  # as above

    typer.echo(wire.document(wire.Page(tuple(items))))


def done(text: str, output: Output) -> None:
    """Tell a person that something was done which has no document; a program reads the exit code."""
    if output is Output.TABLE:
        say(text)


def clean(text: str) -> Text:
    """Return text that came from elsewhere without what a terminal would obey."""
    return Text(text.translate(_CONTROL))


def brief(text: str) -> Text:
    """Return clean text whose digests are cut to the 12 digits that people compare."""
    return clean(_DIGEST.sub(r"\1", text))


def ago(at: datetime | None, now: datetime) -> str:
    """Return how long ago something happened, in its largest unit."""
    if at is None:
        return ""
    seconds = max(0, int((now - at).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit} ago"
    return f"{seconds}s ago"


def took(seconds: float) -> str:
    """Return a duration as people read it: 4.2 ms, 43 ms, 1.3 s, 2 m 05 s."""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} m {int(seconds) % 60:02d} s"


def bulk(size: float) -> str:
    """Return a number of bytes in the largest binary unit that keeps it above 1."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _print(console: Console, text: Cell) -> None:
    console.print(clean(text) if isinstance(text, str) else text, soft_wrap=True)
