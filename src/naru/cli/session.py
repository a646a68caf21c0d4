"""One command's talk with the server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from naru.cli.settings import load

if TYPE_CHECKING:
    from naru.client import Client

T = TypeVar("T")


def call(work: Callable[[Client], Awaitable[T]]) -> T:
    """Connect to the configured server, run `work` with it and return what it returns."""
    return asyncio.run(_connected(work))


async def gather(items: AsyncIterator[T]) -> tuple[T, ...]:
    """Return all items of a list that comes page by page."""
    return tuple([item async for item in items])


async def _connected(work: Callable[[Client], Awaitable[T]]) -> T:
    # httpx and pydantic take longer to load than everything else together; `--help` needs neither.
    from naru.client import connect

    settings = load(os.environ)
    async with connect(settings.url, settings.token) as client:
        return await work(client)
