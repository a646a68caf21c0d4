"""A release names the index of its image: no other is taken, whoever offers it."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.service.agent.exchange.clusters import Sample, cluster, sample

from naru.agent.exchange.pins import Offered
from naru.agent.source import Priority
from naru.domain.errors import Invalid, NotFound

IMAGE = sample(100, 2000, 30_000)
IMAGE_DIGEST = IMAGE.index.image


def forged() -> Sample:
    """An index of the same image that names other files."""
    other = sample(77, 1500, seed=2)
    return Sample(replace(other.index, image=IMAGE_DIGEST), other.content)


async def test_an_index_that_the_release_does_not_name_is_refused_whoever_offers_it(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        mole = await nodes.start("a-mole", "edge")
        stranger = await nodes.start("b-stranger", "far")
        honest = await nodes.start("honest", "far")
        asker = await nodes.start("asker", "edge")
        for liar in (mole, stranger):
            forged().fill(liar.store)
        IMAGE.fill(honest.store)
        asker.exchange.pins.name(IMAGE_DIGEST, IMAGE.index.digest)

        index = await asker.exchange.index(IMAGE_DIGEST)
        await asker.exchange.fetch(index, IMAGE.digests, Priority.BACKGROUND)

        assert index == IMAGE.index
        assert asker.store.missing(IMAGE.digests) == []
        assert Offered(IMAGE_DIGEST, "a-mole", forged().index.digest) in asker.exchange.pins.refused
        assert "honest" not in {one.node for one in asker.exchange.pins.refused}


async def test_where_only_another_index_is_to_be_had_there_is_none(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        mole = await nodes.start("mole", "edge")
        asker = await nodes.start("asker", "edge")
        forged().fill(mole.store)
        asker.exchange.pins.name(IMAGE_DIGEST, IMAGE.index.digest)

        with pytest.raises(NotFound):
            await asker.exchange.index(IMAGE_DIGEST)

        assert asker.store.index(IMAGE_DIGEST) is None


async def test_another_index_that_came_before_the_release_named_one_goes(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        honest = await nodes.start("honest", "far")
        asker = await nodes.start("asker", "edge")
        IMAGE.fill(honest.store)
        forged().fill(asker.store)
        assert await asker.exchange.index(IMAGE_DIGEST) == forged().index

        asker.exchange.pins.name(IMAGE_DIGEST, IMAGE.index.digest)

        assert await asker.exchange.index(IMAGE_DIGEST) == IMAGE.index
        assert asker.store.index(IMAGE_DIGEST) == IMAGE.index
        assert [one.node for one in asker.exchange.pins.refused] == ["asker"]


async def test_another_index_that_containers_run_on_stays_and_is_told(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        asker = await nodes.start("asker", "edge")
        forged().fill(asker.store)
        asker.store.pin(IMAGE_DIGEST, "container")
        asker.exchange.pins.name(IMAGE_DIGEST, IMAGE.index.digest)

        with pytest.raises(Invalid, match="asker has is not the one"):
            await asker.exchange.index(IMAGE_DIGEST)

        assert asker.store.index(IMAGE_DIGEST) is not None


async def test_a_node_that_is_to_go_apart_asks_no_mate(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        mate = await nodes.start("mate", "edge")
        outside = await nodes.start("outside", "far")
        asker = await nodes.start("asker", "edge")
        for one in (mate, outside):
            IMAGE.fill(one.store)
        asker.exchange.apart(IMAGE_DIGEST, apart=True)

        index = await asker.exchange.index(IMAGE_DIGEST)
        await asker.exchange.fetch(index, IMAGE.digests[:2], Priority.BACKGROUND)
        assert asker.exchange.traffic.site == 0
        assert asker.exchange.traffic.outside > 0

        asker.exchange.apart(IMAGE_DIGEST, apart=False)
        await outside.exchange.__aexit__(None, None, None)
        await asker.exchange.fetch(index, IMAGE.digests, Priority.BACKGROUND)
        assert asker.exchange.traffic.site > 0
