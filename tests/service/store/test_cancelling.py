"""A caller that is cancelled in the middle leaves no lock behind."""

import asyncio
import random

from tests.service.store.values import NOON

SOON = 0.004


async def test_cancelled_writers_keep_nobody_waiting(store):
    draw = random.Random(1)
    for _ in range(300):
        writing = asyncio.ensure_future(store.journal.append(NOON, "shop", "test", "me", "text"))
        await asyncio.sleep(draw.random() * SOON)
        writing.cancel()
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait([writing])

        async with asyncio.timeout(5):
            await store.journal.append(NOON, "shop", "test", "me", "text")


async def test_what_a_cancelled_writer_began_is_whole(store):
    writing = asyncio.ensure_future(store.journal.append(NOON, "shop", "test", "me", "text"))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])

    assert writing.cancelled()
    assert [event.text for event in await store.journal.after(0)] == ["text"]
