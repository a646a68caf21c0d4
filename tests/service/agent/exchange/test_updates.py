"""An image that is replaced by another while it arrives."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tests.service.agent.exchange.clusters import Sample, cluster, sample

from naru.agent.index.index import CHUNK
from naru.agent.source import Priority

COMMON = sample(*[40_000] * 20, 4 * CHUNK + 9, seed=7)
OLD = sample(*[50_000] * 20, seed=8, name="old")
NEW = sample(*[60_000] * 10, seed=9, name="new")


def together(own: Sample) -> Sample:
    """An image of the common files and its own."""
    objects = {one.digest: one for one in (*COMMON.index.objects, *own.index.objects)}
    listed = tuple(objects[digest] for digest in sorted(objects))
    return Sample(replace(own.index, objects=listed), {**COMMON.content, **own.content})


async def test_an_update_during_a_fetch_takes_over_what_came_and_no_wrong_byte(tmp_path: Path) -> None:
    old, new = together(OLD), together(NEW)
    async with cluster(tmp_path) as nodes:
        seed, node = await nodes.start("seed", "far", upload=6e6), await nodes.start("node", "edge")
        old.fill(seed.store)
        new.fill(seed.store)
        index = await node.exchange.index(old.index.image)
        fetching = asyncio.create_task(node.exchange.fetch(index, old.digests, Priority.BACKGROUND))
        async with asyncio.timeout(30):
            while len(node.store.missing(COMMON.digests)) > 14:  # noqa: ASYNC110 - the store is what is waited for
                await asyncio.sleep(0.01)

        fetching.cancel()
        with suppress(asyncio.CancelledError):
            await fetching
        index = await node.exchange.index(new.index.image)
        await node.exchange.fetch(index, new.digests, Priority.BACKGROUND)

        assert all(node.store.read(digest) == content for digest, content in new.content.items())
        # What of the old image was on its way came for nothing; what both have came once.
        assert node.exchange.traffic.outside < old.size + NEW.size
        assert node.store.scrub().rotten == ()
        node.store.forget(old.index.image)
        node.store.gc()
        assert sorted(node.store.held()) == sorted(new.digests)
        assert node.store.left() == []
