"""Objects of which some pieces are here: what a profile lists comes first, and the rest when nothing hurries."""

import asyncio
from pathlib import Path

import pytest
from tests.service.agent.exchange.clusters import cluster, sample

from naru.agent.exchange.orders import Rules
from naru.agent.index.index import CHUNK
from naru.agent.objects import ObjectStore
from naru.agent.source import Priority
from naru.domain.errors import NaruError

IMAGE = sample(700, 6 * CHUNK + 77, 30_000, name="partial")
BIG = max(IMAGE.index.objects, key=lambda one: one.size).digest
FIRST = next(
    sum(len(one.pieces) for one in IMAGE.index.objects[:at])
    for at, one in enumerate(IMAGE.index.objects)
    if one.digest == BIG
)
"""The number of its first piece."""


async def test_pieces_of_a_profile_are_read_at_once_and_the_rest_comes_later(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed, node = await nodes.start("seed", "far"), await nodes.start("new", "edge")
        IMAGE.fill(seed.store)
        index = await node.exchange.index(IMAGE.index.image)

        await node.exchange.fetch_pieces(index, [FIRST + 5, FIRST + 1], Priority.PROFILE)
        came = node.exchange.traffic.outside
        parts = [await node.exchange.read(index, BIG, at * CHUNK + 9, 4096) for at in (1, 5)]

        assert parts == [IMAGE.content[BIG][at * CHUNK + 9 :][:4096] for at in (1, 5)]
        assert node.exchange.traffic.outside == came
        assert node.store.missing(IMAGE.digests) == list(IMAGE.digests)

        await node.exchange.fetch(index, IMAGE.digests, Priority.BACKGROUND)
        assert all(node.store.read(digest) == content for digest, content in IMAGE.content.items())
        assert node.exchange.traffic.outside < 1.05 * IMAGE.size


async def test_what_an_agent_had_of_an_object_is_not_fetched_again_by_the_one_after_it(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed, node = await nodes.start("seed", "far"), await nodes.start("new", "edge")
        IMAGE.fill(seed.store)
        index = await node.exchange.index(IMAGE.index.image)
        await node.exchange.fetch_pieces(index, [FIRST, FIRST + 3], Priority.PROFILE)
        node.store.close()
        heir = await nodes.start("heir", "edge", store=ObjectStore(node.store.root))

        index = await heir.exchange.index(IMAGE.index.image)
        part = await heir.exchange.read(index, BIG, 3 * CHUNK - 8, 16)
        assert part == IMAGE.content[BIG][3 * CHUNK - 8 :][:16]
        await heir.exchange.fetch(index, IMAGE.digests, Priority.BACKGROUND)
        assert heir.store.read(BIG) == IMAGE.content[BIG]
        assert heir.exchange.traffic.site + heir.exchange.traffic.outside < IMAGE.size - 2 * CHUNK + 10_000


async def test_pieces_that_the_store_let_go_are_fetched_again(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed, node = await nodes.start("seed", "far"), await nodes.start("new", "edge")
        IMAGE.fill(seed.store)
        index = await node.exchange.index(IMAGE.index.image)
        for again in (node.exchange.read(index, BIG, 9, 16), node.exchange.fetch(index, [BIG], Priority.DEMAND)):
            await node.exchange.fetch_pieces(index, [FIRST, FIRST + 3], Priority.PROFILE)
            arriving = node.store.incoming(BIG)
            assert arriving is not None
            arriving.abort()

            assert await again in (IMAGE.content[BIG][9:25], None)

        assert node.store.read(BIG) == IMAGE.content[BIG]


async def test_a_piece_that_somebody_waits_for_while_it_comes_is_sent_once(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed, node = await nodes.start("seed", "far", upload=16e6), await nodes.start("new", "edge")
        IMAGE.fill(seed.store)
        index = await node.exchange.index(IMAGE.index.image)
        every = range(FIRST, FIRST + 7)

        profile = asyncio.create_task(node.exchange.fetch_pieces(index, every, Priority.PROFILE))
        for at in range(6):
            await node.exchange.read(index, BIG, at * CHUNK, 10)
        await profile

        assert node.store.read(BIG) == IMAGE.content[BIG]
        assert seed.exchange.traffic.sent < 1.02 * IMAGE.size


async def test_wrong_bytes_of_a_piece_are_neither_kept_nor_read(tmp_path: Path) -> None:
    async with cluster(tmp_path, Rules(patience=2)) as nodes:
        liar, node = await nodes.start("liar", "far"), await nodes.start("new", "edge")
        IMAGE.fill(liar.store)
        index = await node.exchange.index(IMAGE.index.image)
        liar.store.path(BIG).unlink()
        liar.store.path(BIG).write_bytes(bytes(len(IMAGE.content[BIG])))

        with pytest.raises(NaruError):
            await node.exchange.fetch_pieces(index, [FIRST + 2], Priority.PROFILE)
        with pytest.raises(NaruError):
            await node.exchange.read(index, BIG, 2 * CHUNK, 10)
        arriving = node.store.incoming(BIG)
        assert arriving is None or not arriving.has(2 * CHUNK, 10)
