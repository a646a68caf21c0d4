"""`naru compare`: targets compared by measurement, with a report."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from naru.cli.exits import FAILED
from naru.cli.output import Cell, Output, OutputOption, emit, emit_list, remark, say, table
from naru.cli.session import call
from naru.domain.comparison import MEASURES, Comparison, ComparisonState
from naru.domain.errors import Invalid

if TYPE_CHECKING:
    from naru.client import Client

STYLES = {
    ComparisonState.RUNNING: "cyan",
    ComparisonState.DONE: "green",
    ComparisonState.FAILED: "red",
    ComparisonState.CANCELLED: "yellow",
}


def compare(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="[TARGET]...", help="Which targets; all when none is named.")
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", "-n", help="How often each is measured.")] = 6,
    image: Annotated[
        str,
        typer.Option(
            metavar="REF", help="The study's image where it was pushed to.", show_default="Naru brings it along"
        ),
    ] = "",
    write_image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the study's image as an archive to push, and stop.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", file_okay=False, help="Write the report there, with its plots.")
    ] = None,
    show: Annotated[
        str, typer.Option("--show", metavar="ID", help="Show an earlier comparison instead of measuring.")
    ] = "",
    earlier: Annotated[bool, typer.Option("--list", help="List the comparisons there are.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Measure targets beside one another: installation, volumes, deployment, failures.

    Instances are made, crashed and removed on each of them, under names of their own: expect load. Ctrl-C stops the
    comparison and has all removed that it made. `choose` and `deploy` use what was measured.
    """
    if earlier:
        _list(call(lambda client: client.comparisons.latest()), output)
        return
    if write_image:
        _write_image(write_image)
        return
    if out:
        _demand_writable(out)
    ended = call(lambda client: client.comparisons.get(show)) if show else _run(targets or (), repeats, image, output)
    _report(ended, out, output)
    raise typer.Exit(0 if ended.state is ComparisonState.DONE else FAILED)


def _run(targets: Sequence[str], repeats: int, image: str, output: Output) -> Comparison:
    """Start a comparison and follow it to its end; Ctrl-C stops it."""
    started: list[str] = []

    async def work(client: Client) -> Comparison:
        now = await client.comparisons.start(targets, repeats=repeats, image=image)
        started.append(now.id)
        return await _followed(client, now, output)

    async def stop(client: Client) -> Comparison:
        return await _followed(client, await client.comparisons.cancel(started[0]), output)

    try:
        return call(work)
    except KeyboardInterrupt:
        if not started:
            raise
        remark("stopping, and removing what was made")
        return call(stop)


async def _followed(client: Client, comparison: Comparison, output: Output) -> Comparison:
    seen = comparison
    async for now in client.comparisons.follow(comparison.id):
        if now.step and now.step != seen.step and output is Output.TABLE:
            remark(now.step)
        seen = now
    return seen


def _report(comparison: Comparison, out: Path | None, output: Output) -> None:
    # The statistics are loaded for a report only.
    from naru.lab.studies import report

    match output:
        case Output.JSON:
            emit(comparison)
        case Output.TABLE:
            say(Text.assemble((comparison.id, "bold"), "  ", (str(comparison.state), STYLES[comparison.state])))
            if comparison.reason:
                say(Text(f"  {comparison.reason}"))
            rows: list[Sequence[Cell]] = [
                (
                    about.title,
                    *(report.cell(comparison, name, measure) for name in comparison.names),
                    report.verdict(comparison, measure),
                )
                for measure, about in MEASURES.items()
            ]
            table(("measure", *comparison.names, "better"), rows)
    if out:
        _write(comparison, out)
        remark(f"the report is in {out}: report.html, report.md, comparison.json")


def _write(comparison: Comparison, out: Path) -> None:
    from naru.client import wire
    from naru.lab.studies import report

    again = f"naru compare {' '.join(comparison.names)} --repeats {comparison.repeats}"
    files = {
        "report.html": report.html(comparison, again=again),
        "report.md": report.markdown(comparison, folder=".", again=again),
        "comparison.json": wire.document(comparison).decode(),
        **report.plots(comparison),
    }
    for name, content in files.items():
        (out / name).write_text(content, "utf-8")


def _write_image(file: Path) -> None:
    import asyncio

    from naru.lab.studies.image import STUDY, study_image
    from naru.oci.layout import ImageStore

    async def write() -> None:
        with TemporaryDirectory(prefix="naru-image-") as home:
            store = ImageStore(Path(home))
            async with store.export(await study_image(store)) as archive:
                shutil.copyfile(archive, file)

    asyncio.run(write())
    remark(f"{file} holds {STUDY}: load it on every node, or push it and name it with --image")


def _demand_writable(out: Path) -> None:
    """Find out before the measuring, not after it, that nothing can be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.md").touch()
    except OSError as error:
        raise Invalid(f"{out} cannot be written: {error.strerror}", "name another directory") from error


def _list(found: Sequence[Comparison], output: Output) -> None:
    match output:
        case Output.JSON:
            emit_list(found)
        case Output.TABLE:
            table(
                ("comparison", "state", "targets", "repeats", "by", "when"),
                (
                    (
                        one.id,
                        Text(str(one.state), style=STYLES[one.state]),
                        ", ".join(one.names),
                        str(one.repeats),
                        one.requested_by,
                        f"{one.started_at:%Y-%m-%d %H:%M}",
                    )
                    for one in found
                ),
            )
