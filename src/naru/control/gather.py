"""One stream made of many: what all instances of an app say, also those that come later."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress
from functools import partial
from typing import TypeVar

from naru.domain.errors import NaruError, NotFound

T = TypeVar("T")

WAITING = 1000
"""Items kept for a reader who is slow; the instances' streams wait while there are more."""


async def gathered(
    batches: AsyncIterator[Collection[str]], stream_of: Callable[[str, bool], AsyncIterator[T]]
) -> AsyncIterator[T]:
    """Yield from one stream an id, each opened when a batch first names it.

    `stream_of` is told the id and whether it was in the first batch. A stream whose instance is gone ends alone; any
    other error ends the whole. Ends once the batches and all streams have ended.
    """
    queue: asyncio.Queue[T | NaruError | None] = asyncio.Queue(WAITING)
    pouring: set[asyncio.Task[None]] = set()

    async def told(work: Callable[[], Awaitable[None]]) -> None:
        """Do the work and tell the reader how it ended; cancelled before it begins, there is no work to throw away."""
        end: NaruError | None = None
        try:
            await work()
        except NaruError as error:
            end = error
        await queue.put(end)

    async def pour(stream: AsyncIterator[T]) -> None:
        with suppress(NotFound):
            async for item in stream:
                await queue.put(item)

    async def open_all() -> None:
        known: set[str] = set()
        first = True
        async for batch in batches:
            for one in batch:
                if one not in known:
                    known.add(one)
                    pouring.add(asyncio.create_task(told(partial(pour, stream_of(one, first)))))
            first = False

    pouring.add(opening := asyncio.create_task(told(open_all)))
    ended = 0
    try:
        while not (opening.done() and ended == len(pouring)):
            match await queue.get():
                case None:
                    ended += 1
                case NaruError() as error:
                    raise error
                case item:
                    yield item
    finally:
        for task in pouring:
            task.cancel()
        await asyncio.wait(pouring)


async def once(batch: Collection[str]) -> AsyncIterator[Collection[str]]:
    """Give one batch and no more."""
    yield batch
