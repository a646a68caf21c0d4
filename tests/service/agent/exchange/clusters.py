"""A cluster of exchanges in one process, on loopback with mutual TLS, and images made of random files."""

import hashlib
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from naru.agent.exchange.authority import Authority
from naru.agent.exchange.discover import Seen, StaticPeers
from naru.agent.exchange.exchange import Exchange
from naru.agent.exchange.identity import Identity
from naru.agent.exchange.join import found
from naru.agent.exchange.orders import Rules
from naru.agent.index.index import CHUNK, Index, Object
from naru.agent.objects import ObjectStore

SWIFT = Rules(grace=0.5, patience=2.0, stall=1.5, quiet=0.1)


@dataclass(frozen=True)
class Sample:
    """An image's index, and the content of its objects."""

    index: Index
    content: Mapping[bytes, bytes]

    @property
    def digests(self) -> list[bytes]:
        return [one.digest for one in self.index.objects]

    @property
    def size(self) -> int:
        return sum(map(len, self.content.values()))

    def fill(self, store: ObjectStore, digests: Sequence[bytes] | None = None, *, index: bool = True) -> None:
        store.put_many((digest, self.content[digest]) for digest in (self.digests if digests is None else digests))
        if index:
            store.save_index(self.index)


def sample(*sizes: int, seed: int = 1, name: str = "image") -> Sample:
    """An image with files of these sizes; one in three compresses well."""
    rng = random.Random(seed)
    content = {}
    for at, size in enumerate(sizes):
        block = rng.randbytes(size) if at % 3 else (rng.randbytes(64) * (size // 64 + 1))[:size]
        content[hashlib.sha256(block).digest()] = block
    objects = tuple(
        Object(digest, len(block), chunks(block) if len(block) > CHUNK else ())
        for digest, block in sorted(content.items())
    )
    return Sample(Index("sha256:" + hashlib.sha256(name.encode()).hexdigest(), b"meta" * 100, objects), content)


def chunks(block: bytes) -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(block[at : at + CHUNK]).digest() for at in range(0, len(block), CHUNK))


@dataclass
class Node:
    exchange: Exchange
    store: ObjectStore
    seen: Seen


@dataclass
class Cluster:
    """Nodes by name, which find each other through one list."""

    directory: Path
    rules: Rules = SWIFT
    list_: StaticPeers = field(default_factory=StaticPeers)
    nodes: dict[str, Node] = field(default_factory=dict)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def __post_init__(self) -> None:
        self.authority = Authority.create(self.directory / "authority", "test", datetime.now(UTC))

    def identity(self, node: str, site: str) -> Identity:
        return found(self.directory / node / "identity", self.authority, node, site)

    async def start(self, node: str, site: str, *, store: ObjectStore | None = None, **options: object) -> Node:
        """Start an exchange, which all others then know."""
        store = store or ObjectStore(self.directory / node / "store")
        exchange = Exchange(
            store,
            self.identity(node, site),
            discovery=self.list_,
            host="127.0.0.1",
            port=0,
            rules=self.rules,
            **options,  # type: ignore[arg-type]
        )
        await self.stack.enter_async_context(exchange)
        seen = Seen(node, site, "127.0.0.1", exchange.port)
        self.list_.seen.append(seen)
        for other in self.nodes.values():
            other.exchange._contacts.meet(seen)
            exchange._contacts.meet(other.seen)
        self.nodes[node] = Node(exchange, store, seen)
        return self.nodes[node]


@asynccontextmanager
async def cluster(directory: Path, rules: Rules = SWIFT) -> AsyncIterator[Cluster]:
    made = Cluster(directory, rules)
    async with made.stack:
        yield made
