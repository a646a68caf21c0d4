import asyncio
from pathlib import Path

import pytest
from tests.service.agent.exchange.clusters import Node, cluster, sample

from naru.agent.calm import Calm
from naru.agent.index.index import CHUNK, Index
from naru.agent.objects import ObjectStore
from naru.agent.source import Priority
from naru.domain.errors import NaruError, NotFound, Unavailable

IMAGE = sample(*[700 + 37 * n for n in range(300)], 90_000, 300_000, CHUNK, CHUNK + 1, 3 * CHUNK + 77)


async def test_a_node_gets_an_image_from_another_with_nothing_but_its_digest(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed, new = await nodes.start("seed", "a"), await nodes.start("new", "a")
        IMAGE.fill(seed.store)

        index = await new.exchange.index(IMAGE.index.image)
        await new.exchange.fetch(index, IMAGE.digests, Priority.BACKGROUND)

        assert index == IMAGE.index
        assert all(new.store.read(digest) == content for digest, content in IMAGE.content.items())


async def test_the_background_waits_for_a_start_and_what_a_container_demands_does_not(tmp_path: Path) -> None:
    now = 0.0
    calm = Calm(lambda: now, look=0.01)
    async with cluster(tmp_path) as nodes:
        seed, new = await nodes.start("seed", "a"), await nodes.start("new", "a", calm=calm)
        IMAGE.fill(seed.store)
        index = await new.exchange.index(IMAGE.index.image)
        calm.begin(IMAGE.index.image)
        rest = asyncio.create_task(new.exchange.fetch(index, IMAGE.digests, Priority.BACKGROUND))

        await new.exchange.fetch(index, IMAGE.digests[:1], Priority.DEMAND)

        assert new.store.missing(IMAGE.digests) == IMAGE.digests[1:]
        now = 10.0
        await rest
        assert new.store.missing(IMAGE.digests) == []


async def test_a_site_fetches_each_piece_from_outside_once(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await nodes.start("seed", "far")
        IMAGE.fill(seed.store)
        mates = [await nodes.start(f"n{n}", "edge") for n in range(5)]

        async def deploy(node: Node) -> None:
            index = await node.exchange.index(IMAGE.index.image)
            await node.exchange.fetch(index, IMAGE.digests, Priority.BACKGROUND)

        await asyncio.gather(*map(deploy, mates))

        assert all(mate.store.missing(IMAGE.digests) == [] for mate in mates)
        assert sum(mate.exchange.traffic.outside for mate in mates) <= 1.05 * IMAGE.size


class Registry:
    """An origin that counts how often it is asked."""

    def __init__(self, store: ObjectStore, *, index: bool = True) -> None:
        self.store = store
        self.index = index
        self.asked = 0

    async def derive(self, image: str) -> Index:
        self.asked += 1
        await asyncio.sleep(0.2)
        IMAGE.fill(self.store)
        return IMAGE.index


async def test_an_image_that_no_agent_has_is_derived_by_one_node_of_the_site(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        registries, mates = [], []
        for n in range(4):
            store = ObjectStore(tmp_path / f"n{n}" / "store")
            registries.append(Registry(store))
            mates.append(await nodes.start(f"n{n}", "edge", store=store, origin=registries[-1]))
        await asyncio.gather(*(connected(mate, 3) for mate in mates))

        async def deploy(node: Node) -> None:
            index = await node.exchange.index(IMAGE.index.image)
            await node.exchange.fetch(index, IMAGE.digests, Priority.BACKGROUND)

        await asyncio.gather(*map(deploy, mates))

        assert sum(registry.asked for registry in registries) == 1
        assert all(mate.store.missing(IMAGE.digests) == [] for mate in mates)


async def test_objects_that_agents_lost_come_from_the_origin_once(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        registries, mates = [], []
        for n in range(3):
            store = ObjectStore(tmp_path / f"n{n}" / "store")
            IMAGE.fill(store, IMAGE.digests[:100])
            registries.append(Registry(store))
            mates.append(await nodes.start(f"n{n}", "edge", store=store, origin=registries[-1]))
        await asyncio.gather(*(connected(mate, 2) for mate in mates))

        fetches = (mate.exchange.fetch(IMAGE.index, IMAGE.digests, Priority.DEMAND) for mate in mates)
        await asyncio.gather(*fetches)

        assert sum(registry.asked for registry in registries) == 1


async def test_a_reader_gets_a_range_of_a_big_file_long_before_the_file(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await nodes.start("seed", "far", upload=8e6)
        big = sample(10, 40 * CHUNK + 5, name="big")  # the second does not compress
        big.fill(seed.store)
        node = await nodes.start("new", "edge")
        index = await node.exchange.index(big.index.image)
        digest = max(index.objects, key=lambda one: one.size).digest
        fetching = asyncio.create_task(node.exchange.fetch(index, [digest], Priority.BACKGROUND))
        await asyncio.sleep(0.2)

        at = 35 * CHUNK - 10
        part = await node.exchange.read(index, digest, at, 20)

        assert part == big.content[digest][at : at + 20]
        assert not node.store.has(digest)
        assert await node.exchange.read(index, digest, 40 * CHUNK, 100) == big.content[digest][40 * CHUNK :]
        assert await node.exchange.read(index, digest, 41 * CHUNK, 100) == b""
        fetching.cancel()


class Profiles(dict):  # type: ignore[type-arg]
    def load(self, image: str) -> bytes | None:
        return self.get(image)

    def save(self, image: str, profile: bytes) -> None:
        self[image] = profile


async def test_a_profile_travels_with_the_index(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await nodes.start("seed", "far", profiles=Profiles({IMAGE.index.image: b"profile"}))
        IMAGE.fill(seed.store)
        mates = [await nodes.start(f"n{n}", "edge", profiles=Profiles()) for n in range(2)]
        await asyncio.gather(*(connected(mate, 2) for mate in mates))
        await asyncio.gather(*(mate.exchange.index(IMAGE.index.image) for mate in mates))
        assert [await mate.exchange.profile(IMAGE.index.image) for mate in mates] == [b"profile"] * 2


async def test_an_index_that_the_release_does_not_name_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await nodes.start("seed", "far")
        IMAGE.fill(seed.store)
        node = await nodes.start("new", "edge")
        with pytest.raises(NaruError):
            await node.exchange.index(IMAGE.index.image, pinned=b"x" * 32)
        assert await node.exchange.index(IMAGE.index.image, pinned=IMAGE.index.digest) == IMAGE.index


async def test_an_image_that_nobody_knows_is_not_found(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        await nodes.start("seed", "far")
        node = await nodes.start("new", "edge")
        await connected(node, 1)
        with pytest.raises(NotFound):
            await node.exchange.index("sha256:" + "ab" * 32)


async def test_a_node_alone_says_that_nobody_answers(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        node = await nodes.start("new", "edge")
        with pytest.raises(Unavailable):
            await node.exchange.index("sha256:" + "ab" * 32)


async def test_what_came_by_other_ways_is_given_to_mates(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        mate, node = await nodes.start("mate", "edge"), await nodes.start("new", "edge")
        mate.store.save_index(IMAGE.index)
        index = await node.exchange.index(IMAGE.index.image)
        fetching = asyncio.create_task(node.exchange.fetch(index, IMAGE.digests, Priority.BACKGROUND))
        await asyncio.sleep(0.1)
        IMAGE.fill(mate.store)
        await mate.exchange.refresh(index.image)
        await fetching
        assert node.store.missing(IMAGE.digests) == []


async def connected(node: Node, count: int) -> None:
    deadline = asyncio.get_running_loop().time() + 10
    while len(node.exchange.peers) < count:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
