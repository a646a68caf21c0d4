"""`naru image`: images of Naru's own store."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from naru.cli import views
from naru.cli.output import Output, OutputOption, bulk, emit_list, remark, screen, table
from naru.cli.session import call
from naru.domain.errors import Invalid

CHUNK = 1024 * 1024

images = typer.Typer(help="Images that Naru stores itself.", no_args_is_help=True)


@images.command("load")
def load(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="An archive of `docker save` or in OCI layout.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Load an archive into Naru's store, so that it is deployed without a registry."""
    if file == "-":
        loaded = call(lambda client: client.images.load(_watched(sys.stdin.buffer, None)))
    else:
        with _opened(Path(file)) as archive:
            size = Path(file).stat().st_size
            loaded = call(lambda client: client.images.load(_watched(archive, size)))
    match output:
        case Output.JSON:
            emit_list(loaded)
        case Output.TABLE:
            table(views.IMAGE_HEADINGS, (views.image_row(image) for image in loaded))


@images.command("list")
def list_images(output: OutputOption = Output.TABLE) -> None:
    """List the stored images."""
    found = call(lambda client: client.images.images())
    match output:
        case Output.JSON:
            emit_list(found)
        case Output.TABLE:
            table(views.IMAGE_HEADINGS, (views.image_row(image) for image in found))


@images.command("rm")
def remove(reference: Annotated[str, typer.Argument(metavar="IMAGE", help="Its reference.")]) -> None:
    """Forget a stored image."""
    call(lambda client: client.images.remove(reference))


async def chunks(archive: BinaryIO, told: Callable[[int], object]) -> AsyncIterator[bytes]:
    """Yield the bytes of an archive and tell how many were taken so far."""
    sent = 0
    while chunk := await asyncio.to_thread(archive.read, CHUNK):
        yield chunk
        sent += len(chunk)
        told(sent)


async def _watched(archive: BinaryIO, size: int | None) -> AsyncIterator[bytes]:
    console = screen(stderr=True)
    if not console.is_terminal:
        sent = 0
        async for chunk in chunks(archive, lambda _: None):
            sent += len(chunk)
            yield chunk
        remark(f"sent {bulk(sent)}")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task("sending", total=size)
        async for chunk in chunks(archive, lambda sent: progress.update(task, completed=sent)):
            yield chunk
    remark("sent; the server reads it")


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}", "name an archive of `docker save`") from error
