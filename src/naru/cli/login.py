"""`naru login` and `naru login-link`: who is at the keyboard."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer

from naru.cli.output import Output, OutputOption, emit, say
from naru.cli.session import call
from naru.cli.settings import Stored, load, store
from naru.domain.account import Subject


def login(
    url: Annotated[str, typer.Argument(metavar="URL", help="The server's address.")],
    token: Annotated[
        str, typer.Option(help="An API token of it; asked for, or read from standard input, by default.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Sign in to a server and remember it; NARU_URL and NARU_TOKEN go before what is remembered."""
    value = token or _typed()
    subject = asyncio.run(_who(url, value))
    path = store(os.environ, Stored(url.rstrip("/"), value))
    match output:
        case Output.JSON:
            emit(subject)
        case Output.TABLE:
            say(f"signed in to {url} as {subject}; stored in {path}")


def login_link(output: OutputOption = Output.TABLE) -> None:
    """Print a fresh link that signs a browser in to the console once."""
    code = call(lambda client: client.accounts.login_link())
    link = f"{load(os.environ).url.rstrip('/')}/sign-in?code={code}"
    match output:
        case Output.JSON:
            emit({"code": code, "link": link})
        case Output.TABLE:
            typer.echo(link)


async def _who(url: str, token: str) -> Subject:
    from naru.client import connect  # loaded only by commands that talk: see session.call

    async with connect(url, token) as client:
        return await client.accounts.who()


def _typed() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("API token", hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()
