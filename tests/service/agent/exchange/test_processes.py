"""Agents as processes, which are killed."""

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.service.agent.exchange.clusters import Cluster, cluster, sample

from naru.agent.index.index import CHUNK
from naru.agent.objects import ObjectStore

IMAGE = sample(*[20_000 + n for n in range(150)], 2_500_000)
LARGE = sample(100, 12 * CHUNK + 5000, seed=3, name="large")
ROOT = Path(__file__).parents[4]


@contextmanager
def agent(directory: Path, *, upload: float = 0, peers: str = "", image: str = "") -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.service.agent.exchange.agent", str(directory), str(upload), peers, image]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def objects(store: Path) -> int:
    return sum(1 for path in (store / "objects").glob("*/*")) if store.exists() else 0


def test_a_killed_agent_goes_on_from_what_it_committed(tmp_path: Path) -> None:
    nodes = Cluster(tmp_path)
    nodes.identity("seed", "far")
    nodes.identity("n1", "edge")
    IMAGE.fill(ObjectStore(tmp_path / "seed" / "store"))
    with agent(tmp_path / "seed", upload=3e6) as seed:
        options = {"peers": f"seed,far,{line(seed)}", "image": IMAGE.index.image}
        with agent(tmp_path / "n1", **options) as node:
            deadline = time.monotonic() + 30
            while objects(tmp_path / "n1" / "store") < 40:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            node.kill()
        before = objects(tmp_path / "n1" / "store")

        with agent(tmp_path / "n1", **options) as node:
            assert line(node).isdigit()
            done, received = line(node).split()

    store = ObjectStore(tmp_path / "n1" / "store")
    assert done == "done"
    assert all(store.read(digest) == content for digest, content in IMAGE.content.items())
    assert int(received) <= IMAGE.size - before * 19_000
    store.close()


def whole_chunks(store: Path) -> int:
    """Chunks of the one big object that lie in a store with their digests while it is no object yet."""
    (big,) = [one for one in LARGE.index.objects if one.chunks]
    parts = list(store.glob(f"partial/{big.digest.hex()}"))
    content = parts[0].read_bytes() if parts else b""
    return sum(
        hashlib.sha256(content[at * CHUNK : (at + 1) * CHUNK]).digest() == digest
        for at, digest in enumerate(big.chunks)
    )


async def test_a_killed_agent_goes_on_within_a_big_file(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await nodes.start("seed", "far", upload=4e6)
        nodes.identity("n1", "edge")
        LARGE.fill(seed.store)
        options = {"peers": f"seed,far,{seed.seen.port}", "image": LARGE.index.image}
        with agent(tmp_path / "n1", **options) as node:
            async with asyncio.timeout(60):
                while await asyncio.to_thread(whole_chunks, tmp_path / "n1/store") < 4:  # noqa: ASYNC110 - a file
                    await asyncio.sleep(0.02)
            node.kill()
            node.wait()
        before = await asyncio.to_thread(whole_chunks, tmp_path / "n1/store")

        with agent(tmp_path / "n1", **options) as node:
            async with asyncio.timeout(60):
                assert (await asyncio.to_thread(line, node)).isdigit()
                done, received = (await asyncio.to_thread(line, node)).split()

        assert done == "done"
        assert 4 <= before < 13
        # Of what was there nothing came again, and at most the chunk that was on its way came twice.
        assert int(received) < LARGE.size - before * CHUNK + 10_000
        assert seed.exchange.traffic.sent < LARGE.size + CHUNK + 10_000
    store = ObjectStore(tmp_path / "n1" / "store")
    assert all(store.read(digest) == content for digest, content in LARGE.content.items())
    assert store.left() == []
    store.close()


def test_a_killed_mate_costs_the_others_nothing_but_time(tmp_path: Path) -> None:
    nodes = Cluster(tmp_path)
    for name, site in (("seed", "far"), ("n1", "edge"), ("n2", "edge")):
        nodes.identity(name, site)
    IMAGE.fill(ObjectStore(tmp_path / "seed" / "store"))
    with agent(tmp_path / "seed", upload=3e6) as seed:
        outside = f"seed,far,{line(seed)}"
        with agent(tmp_path / "n1", peers=outside, image=IMAGE.index.image) as first:
            peers = f"{outside};n1,edge,{line(first)}"
            with agent(tmp_path / "n2", peers=peers, image=IMAGE.index.image) as second:
                line(second)
                deadline = time.monotonic() + 30
                while objects(tmp_path / "n2" / "store") < 20:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                first.kill()
                assert line(second).startswith("done")
    store = ObjectStore(tmp_path / "n2" / "store")
    assert all(store.read(digest) == content for digest, content in IMAGE.content.items())
    store.close()
