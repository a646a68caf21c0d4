"""`naru image`: images of Naru's own store."""

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from naru.cli import views
from naru.cli.output import Output, OutputOption, done, emit_list, table
from naru.cli.progress import upload
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
    with _opened(file) as archive, upload(archive) as told:
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
