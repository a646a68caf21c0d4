"""`naru choose`: where a workload would run, and why, before anything is deployed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from naru.cli.deploy import Asked, describing
from naru.cli.exits import FAILED
from naru.cli.output import Cell, Output, OutputOption, emit, say, table
from naru.cli.session import call
from naru.cli.up import read_files
from naru.domain.choice import Candidate, Choice
from naru.domain.errors import Invalid
from naru.domain.workload import Workload

if TYPE_CHECKING:
    from naru.client import Client

HEADINGS = ("target", "engine", "site", "score", "why")


@describing(image="", port=0)
def choose(
    asked: Asked,
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", "-f", metavar="FILE", help="Ask for the services of a Compose file instead."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say where a workload would run: every target with its score, each criterion's share, and the reasons.

    Takes what `deploy` takes, and deploys nothing. Ends with 1 when no target can run it.
    """
    workloads = _workloads(asked, file or ())

    async def work(client: Client) -> list[Choice]:
        return [await client.choose(workload) for workload in workloads]

    choices = call(work)
    for choice in choices:
        match output:
            case Output.JSON:
                emit(choice)
            case Output.TABLE:
                show(choice)
    raise typer.Exit(0 if all(choice.target for choice in choices) else FAILED)


def show(choice: Choice) -> None:
    """Print a choice for a person."""
    verdict = (choice.target or "nowhere", "bold green" if choice.target else "bold red")
    say(
        Text.assemble(
            (choice.app, "bold"), f" ({choice.kind}) would run on " if choice.target else " can run ", verdict
        )
    )
    say(Text(f"  {choice.reason}", style="dim"))
    table(HEADINGS, (row for candidate in choice.candidates for row in _rows(candidate)))


def _rows(candidate: Candidate) -> Iterator[Sequence[Cell]]:
    name = Text(candidate.target, style="bold")
    if candidate.refusals:
        yield name, candidate.engine, candidate.site, Text("no", style="red"), "; ".join(candidate.refusals)
        return
    yield name, candidate.engine, candidate.site, Text(f"{candidate.score:.1f}", style="bold"), ""
    for share in candidate.shares:
        yield "", "", "", f"{share.points:.1f}/{share.weight}", f"{share.criterion}: {share.reason}"


def _workloads(asked: Asked, files: Sequence[Path]) -> Sequence[Workload]:
    if not files:
        return (asked.workload(),)
    if asked.image:
        raise Invalid(f"an image and a file were named: {asked.image} and {files[0]}", "name one of them")
    return read_files(files).workloads
