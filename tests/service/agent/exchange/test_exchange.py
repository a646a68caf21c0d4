import asyncio
from pathlib import Path

from tests.service.agent.exchange.clusters import cluster, sample

from naru.agent.index.index import CHUNK
from naru.agent.source import Priority

IMAGE = sample(*[700 + 37 * n for n in range(300)], 90_000, 300_000, CHUNK, CHUNK + 1, 3 * CHUNK + 77)


async def test_a_node_gets_an_image_from_another_with_nothing_but_its_digest(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed, new = await nodes.start("seed", "a"), await nodes.start("new", "a")
        IMAGE.fill(seed.store)

        index = await new.exchange.index(IMAGE.index.image)
        await new.exchange.fetch(index, IMAGE.digests, Priority.BACKGROUND)

        assert index == IMAGE.index
        assert all(new.store.read(digest) == content for digest, content in IMAGE.content.items())


async def test_a_site_fetches_each_piece_from_outside_once(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await nodes.start("seed", "far")
        IMAGE.fill(seed.store)
        mates = [await nodes.start(f"n{n}", "edge") for n in range(5)]

        async def deploy(node):
            index = await node.exchange.index(IMAGE.index.image)
            await node.exchange.fetch(index, IMAGE.digests, Priority.BACKGROUND)

        await asyncio.gather(*map(deploy, mates))

        assert all(mate.store.missing(IMAGE.digests) == [] for mate in mates)
        assert sum(mate.exchange.traffic.outside for mate in mates) <= 1.05 * IMAGE.size
