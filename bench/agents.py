"""Agents for measures: a cluster in a scratch directory, images of random files, and a seed in a process of its own.

`python -m bench.agents DIRECTORY CPU` is that seed: it serves what is in DIRECTORY until its standard input ends.
"""

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from bench.stand import resident
from naru.agent.exchange.authority import Authority
from naru.agent.exchange.discover import StaticPeers
from naru.agent.exchange.exchange import Exchange
from naru.agent.exchange.identity import Identity
from naru.agent.exchange.join import found
from naru.agent.index.index import CHUNK, Index, Object
from naru.agent.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Sample:
    """An image of random files."""

    index: Index
    content: dict[bytes, bytes]

    def fill(self, store: ObjectStore) -> None:
        """Put all of it into a store."""
        store.put_many(self.content.items())
        store.save_index(self.index)

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return self.index.size


def sample(sizes: Sequence[int]) -> Sample:
    """Make an image with files of these sizes, in bytes, that do not compress."""
    random = Random(1)
    content = {hashlib.sha256(block).digest(): block for block in map(random.randbytes, sizes)}
    objects = tuple(Object(digest, len(block), _chunks(block)) for digest, block in sorted(content.items()))
    image = "sha256:" + hashlib.sha256(repr(sizes).encode()).hexdigest()
    return Sample(Index(image, b"", objects), content)


class Cluster:
    """An authority, and members with their stores, below `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._authority = Authority.create(directory / "authority", "bench", datetime.now(UTC))

    def identity(self, node: str, site: str) -> Identity:
        """Make a member."""
        return found(self.directory / node / "identity", self._authority, node, site)

    def store(self, node: str) -> ObjectStore:
        """Open a member's store."""
        return ObjectStore(self.directory / node / "store")


@dataclass(frozen=True, slots=True)
class Seed:
    """A running seed."""

    port: int
    pid: int

    @property
    def cpu(self) -> float:
        """Seconds of processor time that it used so far, from /proc/PID/stat (proc(5))."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident(self) -> float:
        """Its resident memory, in MiB."""
        return resident(self.pid)


@contextmanager
def seed(directory: Path, cpu: int) -> Iterator[Seed]:
    """Serve a member's directory from a process that stays on one processor."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.agents", str(directory), str(cpu)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Seed(int(process.stdout.readline()) if process.stdout else 0, process.pid)
    finally:
        process.terminate()
        process.wait(20)


async def _serve(directory: Path) -> None:
    exchange = Exchange(
        ObjectStore(directory / "store"),
        Identity.load(directory / "identity"),
        discovery=StaticPeers(),
        host="127.0.0.1",
        port=0,
    )
    async with exchange:
        print(exchange.port, flush=True)
        await asyncio.Event().wait()


def _chunks(block: bytes) -> tuple[bytes, ...]:
    whole = range(0, len(block), CHUNK)
    return tuple(hashlib.sha256(block[at : at + CHUNK]).digest() for at in whole) if len(block) > CHUNK else ()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[2])})
    asyncio.run(_serve(Path(sys.argv[1])))
