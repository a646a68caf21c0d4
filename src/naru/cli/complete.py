"""Completion of names that only the server knows; silent when it does not answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from naru.cli.session import call, gather
from naru.domain.errors import NaruError

if TYPE_CHECKING:
    from naru.client import Client

PATIENCE = 1.5
"""Seconds that a shell waits for names."""


def app_names(incomplete: str) -> list[str]:
    """Return the apps whose names start so."""

    async def names(client: Client) -> list[str]:
        return [status.app.name for status in await gather(client.apps.statuses(limit=500))]

    return [name for name in _asked(names) if name.startswith(incomplete)]


def target_names(incomplete: str) -> list[str]:
    """Return the targets whose names start so."""

    async def names(client: Client) -> list[str]:
        return [target.name for target in await client.targets()]

    return [name for name in _asked(names) if name.startswith(incomplete)]


def instance_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the instances of the app that the command line names already."""
    app = next(iter(context.args), "")  # while a shell asks, arguments are not yet assigned to their names

    async def names(client: Client) -> list[str]:
        return [instance.id for instance in await client.apps.instances(app)]

    return [name for name in _asked(names) if name.startswith(incomplete)] if app else []


def _asked(names: Callable[[Client], Awaitable[list[str]]]) -> list[str]:
    try:
        return call(names, patience=PATIENCE)
    except (NaruError, TimeoutError):
        return []


AppArgument = Annotated[str, typer.Argument(metavar="APP", help="The app's name.", autocompletion=app_names)]
InstanceOption = Annotated[
    str, typer.Option("--instance", metavar="ID", help="One instance only.", autocompletion=instance_names)
]
