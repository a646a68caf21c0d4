"""`naru version`, and `naru --version`."""

import typer

from naru import VERSION
from naru.cli.output import Output, OutputOption, emit


def version(output: OutputOption = Output.TABLE) -> None:
    """Print the version of this program."""
    match output:
        case Output.JSON:
            emit({"version": VERSION})
        case Output.TABLE:
            typer.echo(f"naru {VERSION}")


def print_version(wanted: bool) -> None:
    """Print the version instead of running a command."""
    if wanted:
        version()
        raise typer.Exit
