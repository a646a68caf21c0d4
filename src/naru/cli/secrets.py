"""`naru secret`: values that instances read as files."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from naru.cli import views
from naru.cli.output import Output, OutputOption, done, emit, emit_list, say, table
from naru.cli.session import call
from naru.domain.account import SecretInfo
from naru.domain.errors import Invalid

secrets = typer.Typer(help="Secrets, which instances read as files.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The secret's name.")]


@secrets.command("set")
def save(
    name: NameArgument,
    source: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="Where its value is; asked for by default.", show_default=False)
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Store a secret's value; instances see it from their next release on."""
    value = _value(source)
    version = call(lambda client: client.vault.save_secret(name, value))
    match output:
        case Output.JSON:
            emit({"name": name, "version": version})
        case Output.TABLE:
            say(f"{name} is stored, version {version}")


@secrets.command("list")
def list_secrets(output: OutputOption = Output.TABLE) -> None:
    """List the secrets, without their values."""
    found: tuple[SecretInfo, ...] = tuple(call(lambda client: client.vault.secrets()))
    match output:
        case Output.JSON:
            emit_list(found)
        case Output.TABLE:
            now = datetime.now(UTC)
            table(views.SECRET_HEADINGS, (views.secret_row(secret, now) for secret in found))


@secrets.command("rm")
def remove(name: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Forget a secret."""
    call(lambda client: client.vault.remove_secret(name))
    done(f"{name} is removed", output)


def _value(source: str) -> bytes:
    """Return the bytes of a file or of standard input as they are, or what a person types."""
    if source == "-" or (not source and not sys.stdin.isatty()):
        return sys.stdin.buffer.read()
    if not source:
        return str(typer.prompt("Value", hide_input=True, err=True)).encode()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise Invalid(f"{source} cannot be read: {error.strerror}", "name a readable file, or -") from error
