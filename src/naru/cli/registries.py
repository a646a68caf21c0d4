"""`naru registry`: credentials of private registries."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from naru.cli import views
from naru.cli.output import Output, OutputOption, done, emit_list, table
from naru.cli.session import call
from naru.domain.errors import Invalid

registries = typer.Typer(help="Credentials of private registries.", no_args_is_help=True)

HostArgument = Annotated[str, typer.Argument(metavar="HOST", help="The registry's host, with its port if any.")]


@registries.command("login")
def login(
    host: HostArgument,
    username: Annotated[str, typer.Option("--username", "-u", help="The account there.", prompt=True)],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Store the credentials of a registry, encrypted."""
    if password_stdin:
        password = sys.stdin.read().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = str(typer.prompt("Password", hide_input=True, err=True))
    else:
        raise Invalid("nobody is here to type the password", "send it with --password-stdin")
    call(lambda client: client.vault.save_registry(host, username, password))
    done(f"the credentials of {username} at {host} are stored", output)


@registries.command("list")
def list_registries(output: OutputOption = Output.TABLE) -> None:
    """List the registries whose credentials are stored."""
    found = call(lambda client: client.vault.registries())
    match output:
        case Output.JSON:
            emit_list(found)
        case Output.TABLE:
            now = datetime.now(UTC)
            table(views.REGISTRY_HEADINGS, (views.registry_row(registry, now) for registry in found))


@registries.command("logout")
def logout(host: HostArgument, output: OutputOption = Output.TABLE) -> None:
    """Forget the credentials of a registry."""
    call(lambda client: client.vault.remove_registry(host))
    done(f"the credentials of {host} are removed", output)
