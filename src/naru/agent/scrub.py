"""Reading the store again in the background, a little at a time, for what has rotted on the disk."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from naru.agent.objects import ObjectStore
from naru.domain.errors import NaruError

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 86_400.0
_BATCH: Final = 32
_REST: Final = 4.0
"""How much longer than a batch the pause after it is: a fifth of a disk and of a processor at most."""


async def scrub_daily(
    store: ObjectStore, rotted: Callable[[], Awaitable[None]], *, every: float = EVERY_SECONDS
) -> None:
    """Read every object again each day, the first time a day from now, until cancelled.

    `rotted` is called after a round in which objects had rotted and were dropped.
    """
    while True:
        await asyncio.sleep(every)
        try:
            gone = await _round(store)
        except NaruError as error:
            log.warning("the files could not be read again: %s", error)
            continue
        if gone:
            await rotted()


async def _round(store: ObjectStore) -> int:
    held = await asyncio.to_thread(store.held)
    gone = 0
    for begin in range(0, len(held), _BATCH):
        begun = time.monotonic()
        read = await asyncio.to_thread(store.scrub, held[begin : begin + _BATCH])
        gone += len(read.rotten)
        await asyncio.sleep(_REST * (time.monotonic() - begun))
    await asyncio.to_thread(store.recount)
    log.info("%d files were read again, %d had rotted", len(held), gone)
    return gone
