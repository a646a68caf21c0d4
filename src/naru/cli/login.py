"""`naru login` and `naru login-link`: who is at the keyboard."""

import os
import sys
from typing import Annotated

import typer

from naru.cli.output import Output, OutputOption, emit, say
from naru.cli.session import call
from naru.cli.settings import ClientSettings, Stored, load, store


def login(
    url: Annotated[str, typer.Argument(metavar="URL", help="The server's address.")],
    token: Annotated[
        str, typer.Option(help="An API token of it; asked for, or read from standard input, by default.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Sign in to a server and remember it; NARU_URL and NARU_TOKEN go before what is remembered."""
    value = token or _typed()
    subject = call(lambda client: client.accounts.who(), ClientSettings(url, value))
    path = store(os.environ, Stored(url.rstrip("/"), value))
    match output:
        case Output.JSON:
            emit(subject)
        case Output.TABLE:
            say(f"signed in to {url} as {subject}; stored in {path}")


def login_link(output: OutputOption = Output.TABLE) -> None:
    """Print a fresh link that signs a browser in to the console once."""
    code = call(lambda client: client.accounts.login_link())
    link = f"{load(os.environ).url.rstrip('/')}/login?code={code}"
    match output:
        case Output.JSON:
            emit({"code": code, "link": link})
        case Output.TABLE:
            typer.echo(link)


def _typed() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("API token", hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()
