"""What one agent serves, what a site costs the outside, and how long ten thousand simulated nodes take."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime
from pathlib import Path

from bench.agents import Cluster, Sample, Seed, sample, seed
from bench.figures import Figure, measured
from naru.agent.exchange.channel import connect
from naru.agent.exchange.discover import Seen, StaticPeers
from naru.agent.exchange.exchange import Exchange
from naru.agent.exchange.frames import Bundle, Have, Hello, Open, Packing, Part, Want
from naru.agent.exchange.identity import Identity
from naru.agent.exchange.pieces import Pieces
from naru.agent.exchange.plan import Plan
from naru.agent.exchange.simulate import simulate
from naru.agent.source import Priority

REPEATS = 5
NODES = 8
SMALL = (16 << 10,) * 20_000
BIG = (8 << 20,) * 60
MIXED = (*(4000 + 31 * n for n in range(1500)), *(3 << 20,) * 6)
SITES = Plan(sites=500, nodes=20, pieces=(1 << 20,) * 180, hot=20, engine=0.5)


def measure() -> Iterator[Figure]:
    """Serve over mutual TLS on loopback; the seed is a process that stays on one processor."""
    day = datetime.now(UTC).date()
    yield from _served(day)
    ratios = [asyncio.run(_egress()) for _ in range(REPEATS)]
    yield measured(
        "exchange-egress",
        f"bytes from outside for each unique byte that a site lacked, {NODES} nodes at once",
        ratios,
        unit="×",
        goal=1.05,
        better="lower",
        day=day,
        against="the image's own bytes",
    )
    began = time.process_time()
    outcome = simulate(SITES)
    yield measured(
        "exchange-simulated",
        "processor time to simulate 10,000 nodes that fetch 180 MiB each, with the real scheduler",
        [time.process_time() - began],
        unit="s",
        goal=300,
        better="lower",
        day=day,
    )
    yield measured(
        "exchange-simulated-makespan",
        "until all 10,000 simulated nodes of 500 sites are complete, against the least that their links allow",
        [outcome.makespan / (sum(SITES.pieces) / SITES.uplink)],
        unit="×",
        goal=1.25,
        better="lower",
        day=day,
        against="max(F/U) of the site model",
    )


def _served(day: date) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="naru-bench-") as scratch:
        cluster = Cluster(Path(scratch))
        cluster.identity("seed", "edge")
        asker = cluster.identity("asker", "edge")
        images = {"small": sample(SMALL), "big": sample(BIG)}
        store = cluster.store("seed")
        for image in images.values():
            image.fill(store)
        store.close()
        with seed(Path(scratch) / "seed", 0) as server:
            rates = {name: [_rate(server, asker, one) for _ in range(REPEATS)] for name, one in images.items()}
            memory = server.resident
    yield measured(
        "exchange-served",
        "8-MiB files served over mutual TLS, per second of one processor",
        [rate * images["big"].size * 8 / 1e9 for rate in rates["big"]],
        unit="Gbit/s",
        goal=1.0,
        better="higher",
        day=day,
    )
    yield measured(
        "exchange-served-small",
        "16-KiB files served over mutual TLS, per second of one processor",
        [rate * len(SMALL) for rate in rates["small"]],
        unit="files/s",
        goal=None,
        better="higher",
        day=day,
    )
    yield measured(
        "exchange-memory",
        "resident memory of the agent that served them",
        [memory],
        unit="MiB",
        goal=100,
        better="lower",
        day=day,
    )


def _rate(server: Seed, asker: Identity, image: Sample) -> float:
    """Return how often a second of the server's processor time sends all of the image."""
    before = server.cpu
    asyncio.run(_ask(server.port, asker, image))
    return 1 / (server.cpu - before)


async def _ask(port: int, asker: Identity, image: Sample) -> None:
    """Want everything in one request, as fast links do: not compressed; throw away what comes."""
    channel = await connect("127.0.0.1", port, asker.client())
    await channel.greet(Hello(asker.member.node, asker.member.site, 0), asker.member)
    channel.write(Open(1, bytes.fromhex(image.index.image.removeprefix("sha256:"))))
    while not isinstance(await channel.read(), Have):
        pass
    channel.write(Want(1, Priority.BACKGROUND, False, Packing.PLAIN, tuple(range(Pieces(image.index).count))))
    left = image.size
    while left:
        match await channel.read():
            case Bundle(_, pieces):
                left -= sum(len(piece.body) for piece in pieces)
            case Part() as part:
                left -= len(part.body)
    await channel.close()


async def _egress() -> float:
    """Deploy an image that only an agent outside has on all nodes of a site at once."""
    with tempfile.TemporaryDirectory(prefix="naru-bench-") as scratch:
        cluster, image, known = Cluster(Path(scratch)), sample(MIXED), StaticPeers()
        async with AsyncExitStack() as stack:

            async def start(node: str, site: str) -> Exchange:
                exchange = Exchange(
                    cluster.store(node), cluster.identity(node, site), discovery=known, host="127.0.0.1", port=0
                )
                await stack.enter_async_context(exchange)
                known.seen.append(Seen(node, site, "127.0.0.1", exchange.port))
                return exchange

            image.fill(cluster.store("seed"))
            await start("seed", "outside")
            nodes = [await start(f"n{n}", "edge") for n in range(NODES)]
            while any(len(node.peers) < NODES for node in nodes):
                await asyncio.sleep(0.05)

            async def deploy(node: Exchange) -> None:
                index = await node.index(image.index.image)
                await node.fetch(index, [one.digest for one in index.objects], Priority.BACKGROUND)

            await asyncio.gather(*map(deploy, nodes))
            return sum(node.traffic.outside for node in nodes) / image.size
