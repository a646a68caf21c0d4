import asyncio

import pytest

from naru.domain.errors import Unavailable
from naru.engines.base import Change
from naru.engines.feed import Feed


async def watching(feed):
    """Begin to watch."""
    changes = feed.watch()
    task = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    return changes, task


async def test_every_watcher_hears_every_change():
    feed = Feed()
    one, first_of_one = await watching(feed)
    two, first_of_two = await watching(feed)

    feed.tell("shop", "moved")

    assert await first_of_one == await first_of_two == Change("shop", "moved")
    await one.aclose()
    await two.aclose()


async def test_a_slow_watcher_gets_one_change_per_app():
    feed = Feed()
    changes, first = await watching(feed)

    for number in range(1000):
        feed.tell("shop", str(number))
        feed.tell("blog", str(number))

    assert {await first, await anext(changes)} == {Change("shop", "999"), Change("blog", "999")}
    await changes.aclose()


async def test_the_end_comes_after_what_was_told():
    feed = Feed()
    changes, first = await watching(feed)
    feed.tell("shop", "moved")
    feed.end(Unavailable("gone"))

    assert await first == Change("shop", "moved")
    with pytest.raises(Unavailable, match="gone"):
        await anext(changes)
