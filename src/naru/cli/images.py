"""`naru image`: images of Naru's own store."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from naru.cli import views
from naru.cli.output import Output, OutputOption, bulk, done, emit_list, screen, table
from naru.cli.session import call
from naru.domain.errors import Invalid

images = typer.Typer(help="Images that Naru stores itself.", no_args_is_help=True)


@images.command("load")
def load(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="An archive of `docker save` or in OCI layout.")],
    name: Annotated[str, typer.Option(metavar="IMAGE", help="The image's name, if the archive holds none.")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Load an archive into Naru's store, so that it is deployed without a registry."""
    with _opened(file) as archive, _progress(archive) as told:
        loaded = call(lambda client: client.images.load(archive, name=name, told=told))
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
def remove(
    reference: Annotated[str, typer.Argument(metavar="IMAGE", help="Its reference.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Forget a stored image."""
    call(lambda client: client.images.remove(reference))
    done(f"{reference} is removed", output)


def _opened(file: str) -> AbstractContextManager[BinaryIO]:
    if file == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}", "name an archive of `docker save`") from error


@contextmanager
def _progress(archive: BinaryIO) -> Iterator[Callable[[int], None]]:
    """Show how far an upload has come while it lasts, on standard error; yield what takes the bytes sent so far."""
    console = screen(stderr=True)
    if not console.is_terminal:
        yield lambda sent: None
        return
    total = os.fstat(archive.fileno()).st_size or None
    sent = 0

    def told(now: int) -> None:
        nonlocal sent
        sent = now

    def picture() -> RenderableType:
        row = Table.grid(padding=(0, 1))
        done = total is not None and sent >= total
        bar = ProgressBar(total=total, completed=sent, width=30, pulse=total is None)
        size = f"{bulk(sent)} / {bulk(total)}" if total else bulk(sent)
        row.add_row(Text("sent, being read" if done else "sending"), bar, size)
        return row

    with Live(get_renderable=picture, console=console, transient=True, refresh_per_second=10):
        yield told
