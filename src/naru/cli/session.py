"""One command's talk with the server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from naru.cli.settings import ClientSettings, load

if TYPE_CHECKING:
    from naru.client import Client

T = TypeVar("T")


def call(
    work: Callable[[Client], Awaitable[T]], settings: ClientSettings | None = None, patience: float | None = None
) -> T:
    """Connect to a server, the configured one by default, run `work` with it and return what it returns.

    With `patience`, TimeoutError is raised after so many seconds.
    """
    # The client takes longer to load than everything else together, and `--help` needs none of it: this is the one
    # place where it is loaded, when a command runs.
    from naru.cli import talk

    return talk.run(work, settings or load(os.environ), patience)


async def gather(items: AsyncIterator[T]) -> tuple[T, ...]:
    """Return all items of a list that comes page by page."""
    return tuple([item async for item in items])
