"""The heavy half of a command: the event loop and the client. Only `naru.cli.session` loads it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from naru.cli.settings import ClientSettings
from naru.client import Client, connect

T = TypeVar("T")


def run(work: Callable[[Client], Awaitable[T]], settings: ClientSettings, patience: float | None) -> T:
    """Connect, run `work`, and return what it returns; KeyboardInterrupt is raised after it was cancelled."""

    async def connected() -> T:
        async with asyncio.timeout(patience), connect(settings.url, settings.token) as client:
            return await work(client)

    return asyncio.run(connected())
