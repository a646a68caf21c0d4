"""Whatever peers and networks do, nodes get right bytes or an error."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.service.agent.exchange import hostile
from tests.service.agent.exchange.clusters import Cluster, Node, Sample, cluster, sample

from naru.agent.exchange.channel import Channel, connect, within
from naru.agent.exchange.frames import Bundle, Cancel, Hello, More, Open, Packing, Part, Piece, Want
from naru.agent.exchange.orders import Fault, Rules
from naru.agent.index.index import CHUNK
from naru.agent.objects import ObjectStore
from naru.agent.source import Priority
from naru.domain.errors import NotFound, Unavailable

IMAGE = sample(*[5000 + 37 * n for n in range(120)], 300_000, 2_333_333)
IMPATIENT = Rules(grace=0.3, patience=10.0, stall=0.5, quiet=0.1)
SOME = [one.digest for one in IMAGE.index.objects[:60]]


async def deploy(node: Node, image: Sample = IMAGE, priority: Priority = Priority.BACKGROUND) -> None:
    index = await node.exchange.index(image.index.image)
    await node.exchange.fetch(index, image.digests, priority)


def right(node: Node, image: Sample = IMAGE) -> bool:
    """Whether all that the node's store holds are the image's bytes."""
    return all(node.store.read(d) == content for d, content in image.content.items() if node.store.has(d))


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def cut_off(channel: Channel) -> None:
    """Read what the other side says until it ends the connection."""
    while True:
        await within(channel.read(), 5, "the connection goes on")


async def slow_seed(nodes: Cluster, name: str = "seed", site: str = "far", rate: float = 4e6) -> Node:
    seed = await nodes.start(name, site, upload=rate)
    IMAGE.fill(seed.store)
    return seed


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (hostile.wrong, Fault.LYING),
        (hostile.short, Fault.LYING),
        (hostile.endless, Fault.LYING),
        (hostile.never_whole, Fault.LYING),
        (hostile.bomb, Fault.LYING),
        (hostile.silent, Fault.SLOW),
        (hostile.stale, Fault.STALE),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_peer_that_cheats_is_dropped_with_its_reason_and_the_bytes_come_from_others(
    tmp_path: Path, answer: hostile.Answer, fault: Fault
) -> None:
    async with cluster(tmp_path, IMPATIENT) as nodes:
        async with hostile.liar(nodes.identity("liar", "a"), IMAGE, answer) as seen:
            nodes.list_.seen.append(seen)
            node = await nodes.start("new", "a")
            await until(lambda: "liar" in node.exchange.peers)
            fetching = asyncio.create_task(node.exchange.fetch(IMAGE.index, IMAGE.digests, Priority.BACKGROUND))
            await until(lambda: any(view.fault for view in node.exchange.views()))
            good = await nodes.start("good", "a")
            IMAGE.fill(good.store)
            await fetching

        faults = {view.seen.node: view.fault for view in node.exchange.views()}
        assert faults == {"liar": fault.value, "good": ""}
        assert node.store.missing(IMAGE.digests) == []
        assert right(node)


async def test_when_outside_goes_away_in_the_middle_what_arrived_stays_and_the_rest_comes_later(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await slow_seed(nodes)
        mates = [await nodes.start(f"n{n}", "edge") for n in range(3)]
        fetching = [asyncio.create_task(deploy(mate)) for mate in mates]
        await until(lambda: sum(len(IMAGE.digests) - len(mate.store.missing(IMAGE.digests)) for mate in mates) > 20)
        await seed.exchange.__aexit__(None, None, None)

        results = await asyncio.gather(*fetching, return_exceptions=True)

        assert all(isinstance(result, NotFound | Unavailable) for result in results)
        assert all(right(mate) for mate in mates)
        arrived = {digest for mate in mates for digest in IMAGE.digests if mate.store.has(digest)}
        assert len(arrived) > 20

        again = await nodes.start("again", "far")
        IMAGE.fill(again.store)
        await until(lambda: all("again" in mate.exchange.peers for mate in mates))
        await asyncio.gather(*map(deploy, mates))
        assert all(mate.store.missing(IMAGE.digests) == [] and right(mate) for mate in mates)


async def test_when_half_of_the_peers_die_the_others_finish(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        await slow_seed(nodes)
        mates = [await nodes.start(f"n{n}", "edge") for n in range(4)]
        fetching = {mate.seen.node: asyncio.create_task(deploy(mate)) for mate in mates}
        await until(lambda: any(len(mate.store.missing(IMAGE.digests)) < 110 for mate in mates))
        for mate in mates[:2]:
            fetching[mate.seen.node].cancel()
            await mate.exchange.__aexit__(None, None, None)

        await asyncio.gather(*(fetching[mate.seen.node] for mate in mates[2:]))

        assert all(mate.store.missing(IMAGE.digests) == [] and right(mate) for mate in mates[2:])
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*(fetching[mate.seen.node] for mate in mates[:2]))


async def test_a_partition_between_sites_leaves_each_site_working_with_what_it_has(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await slow_seed(nodes)
        first, second = await nodes.start("n1", "edge"), await nodes.start("n2", "edge")
        index = await first.exchange.index(IMAGE.index.image)
        await first.exchange.fetch(index, SOME, Priority.BACKGROUND)
        await seed.exchange.__aexit__(None, None, None)

        assert await second.exchange.index(IMAGE.index.image) == index
        await second.exchange.fetch(index, SOME, Priority.DEMAND)
        with pytest.raises((NotFound, Unavailable)):
            await second.exchange.fetch(index, IMAGE.digests, Priority.DEMAND)
        assert second.store.missing(SOME) == []


async def test_a_cut_that_nobody_is_told_of_is_noticed(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await nodes.start("seed", "far", upload=1e6)
        IMAGE.fill(seed.store)
        pipe = Pipe(seed.seen.port)
        async with pipe:
            nodes.list_.seen[:] = []
            nodes.nodes.clear()
            nodes.list_.seen.append(seed.seen.__class__("seed", "far", "127.0.0.1", pipe.port))
            node = await nodes.start("new", "edge")
            fetching = asyncio.create_task(deploy(node))
            await until(lambda: len(node.store.missing(IMAGE.digests)) < 110)
            pipe.cut = True
            with pytest.raises((NotFound, Unavailable)):
                await fetching
            assert right(node)


class Pipe:
    """Carries bytes to a port until it is cut; then it stays open and silent."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.cut = False
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Pipe":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.cut:
            writer.transport.abort()
            return
        there, away = await asyncio.open_connection("127.0.0.1", self.to)
        for source, sink in ((reader, away), (there, writer)):
            self._tasks.add(asyncio.create_task(self._carry(source, sink)))

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while some := await source.read(65536):
                if not self.cut:
                    sink.write(some)
                    await sink.drain()
        sink.transport.abort()


class Full(ObjectStore):
    """A store on a disk with room for so many objects more."""

    room = 30

    def put(self, digest: bytes, content: bytes) -> None:
        if self.room <= 0:
            raise Unavailable("the disk of the object store is full", "make room")
        self.room -= 1
        super().put(digest, content)


async def test_a_full_disk_fails_the_fetch_blames_nobody_and_keeps_serving(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await nodes.start("seed", "a")
        IMAGE.fill(seed.store)
        store = Full(tmp_path / "full")
        node = await nodes.start("new", "a", store=store)
        with pytest.raises(Unavailable, match="full"):
            await deploy(node)
        assert not any(view.fault for view in node.exchange.views())
        assert right(node)

        store.room = 10_000
        await deploy(node)
        assert store.missing(IMAGE.digests) == []


async def test_what_was_evicted_is_told_and_got_elsewhere(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed, mate = await nodes.start("seed", "far"), await nodes.start("mate", "edge")
        IMAGE.fill(seed.store)
        await deploy(mate)
        for digest in SOME:
            mate.store.path(digest).unlink()

        node = await nodes.start("new", "edge")
        await deploy(node)
        assert right(node)
        assert node.store.missing(IMAGE.digests) == []


async def test_an_asker_that_breaks_the_rules_is_cut_off_and_others_are_served(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await nodes.start("seed", "a")
        IMAGE.fill(seed.store)
        rude = nodes.identity("rude", "a")
        for frames in (
            [Want(9, Priority.DEMAND, False, Packing.PLAIN, (1,))],
            [Open(1, bytes.fromhex(IMAGE.index.image[7:]))] * 2,
            [Bundle(1, (Piece(1, False, b"x"),))],
            [More(1, (1,))],
        ):
            channel = await connect("127.0.0.1", seed.exchange.port, rude.client())
            await channel.greet(Hello("rude", "a", 0), rude.member)
            for frame in frames:
                channel.write(frame)
            with pytest.raises(Unavailable, match="ended"):
                await cut_off(channel)
            await channel.close()
        await deploy(await nodes.start("new", "a"))


async def test_a_reader_who_takes_nothing_costs_little_memory_and_no_other_reader_anything(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await nodes.start("seed", "a")
        IMAGE.fill(seed.store)
        lazy = nodes.identity("lazy", "a")
        channel = await connect("127.0.0.1", seed.exchange.port, lazy.client())
        await channel.greet(Hello("lazy", "a", 0), lazy.member)
        channel.write(Open(1, bytes.fromhex(IMAGE.index.image[7:])))
        channel.write(Want(1, Priority.DEMAND, False, Packing.PLAIN, tuple(range(len(IMAGE.digests)))))
        await deploy(await nodes.start("new", "a"))
        channel.abort()


async def test_what_is_fetched_for_nobody_any_more_is_cancelled(tmp_path: Path) -> None:
    async with cluster(tmp_path, Rules(patience=30)) as nodes:
        seed = await slow_seed(nodes, site="edge", rate=1e6)
        node = await nodes.start("new", "edge")
        fetching = asyncio.create_task(deploy(node))
        await until(lambda: len(node.store.missing(IMAGE.digests)) < 110)
        fetching.cancel()
        with suppress(asyncio.CancelledError):
            await fetching
        await asyncio.sleep(0.5)
        sent = seed.exchange.traffic.sent
        await asyncio.sleep(0.5)
        assert seed.exchange.traffic.sent == sent


async def test_a_piece_whose_priority_rises_while_it_is_sent_is_sent_once_and_in_order(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await nodes.start("seed", "a", upload=8e6)
        big = sample(4 * CHUNK, name="big")
        big.fill(seed.store)
        asker = nodes.identity("asker", "b")
        channel = await connect("127.0.0.1", seed.exchange.port, asker.client())
        await channel.greet(Hello("asker", "b", 0), asker.member)
        channel.write(Open(1, bytes.fromhex(big.index.image[7:])))
        channel.write(Want(1, Priority.BACKGROUND, False, Packing.PLAIN, (0, 1, 2, 3)))
        gathered = {number: bytearray() for number in range(4)}
        ended: list[int] = []
        while len(ended) < 4:
            match await within(channel.read(), 10, "it stopped"):
                case Part(_, number, _, offset, total, body):
                    assert offset == len(gathered[number])
                    gathered[number] += body
                    if len(gathered[number]) == total:
                        ended.append(number)
                    elif offset == 0 and not ended and not any(gathered[other] for other in {0, 1, 2, 3} - {number}):
                        channel.write(Want(1, Priority.PROFILE, False, Packing.PLAIN, (number,)))
                        channel.write(Cancel(1, (3,)))
                        channel.write(Want(1, Priority.DEMAND, False, Packing.PLAIN, (3,)))
        await channel.close()

        assert b"".join(gathered.values()) == b"".join(big.content.values())
        assert ended.index(3) < 3


async def test_demands_alone_are_served_in_ranges_and_given_up_in_the_middle(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await nodes.start("seed", "far", upload=20e6)
        big = sample(12 * CHUNK + 5, 300_000, 90_000, name="big")
        big.fill(seed.store)
        node = await nodes.start("new", "edge")
        index = await node.exchange.index(big.index.image)
        largest = max(index.objects, key=lambda one: one.size).digest
        for at in (11, 3, 7, 3, 0):
            reading = [
                asyncio.create_task(node.exchange.read(index, largest, (at + more) * CHUNK, 4096)) for more in range(3)
            ]
            await asyncio.sleep(0.02)
            for task in reading[1:]:
                task.cancel()
            assert await reading[0] == big.content[largest][at * CHUNK : at * CHUNK + 4096]
            await asyncio.gather(*reading, return_exceptions=True)
        await node.exchange.fetch(index, big.digests, Priority.DEMAND)
        assert right(node, big)
        assert not any(view.fault for view in node.exchange.views())
