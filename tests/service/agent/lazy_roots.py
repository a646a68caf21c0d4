"""Images, sources and programs for the tests of lazy root file systems."""

import asyncio
import hashlib
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from naru.agent.exchange.pieces import Pieces
from naru.agent.index.erofs import erofs_image
from naru.agent.index.index import CHUNK, Index, Object
from naru.agent.index.tree import Entry, Inode
from naru.agent.objects import ObjectStore
from naru.agent.source import Priority
from naru.domain.errors import NotFound


def digest_of(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def index_of(files: Mapping[str, bytes]) -> Index:
    """Make the index of an image that holds these files."""
    objects = {digest_of(content): content for content in files.values()}
    meta = _erofs(files)
    return Index(
        f"sha256:{hashlib.sha256(meta).hexdigest()}",
        meta,
        tuple(_object(digest, objects[digest]) for digest in sorted(objects)),
    )


def _object(digest: bytes, content: bytes) -> Object:
    chunks = [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)]
    return Object(digest, len(content), tuple(map(digest_of, chunks)) if len(chunks) > 1 else ())


def _erofs(files: Mapping[str, bytes]) -> bytes:
    root = Inode(mode=stat.S_IFDIR | 0o755)
    for name, content in files.items():
        *above, last = name.encode().split(b"/")
        directory = root
        for part in above:
            entry = directory.children.setdefault(part, Entry(Inode(mode=stat.S_IFDIR | 0o755), 1))
            directory = entry.inode
        digest = digest_of(content) if content else b""
        directory.children[last] = Entry(Inode(mode=stat.S_IFREG | 0o755, size=len(content), digest=digest), 1)
    return erofs_image(root)


@dataclass
class MemorySource:
    """Has the objects in memory. `open` is closed to hold everything back; `failures` raise; `lies` are put instead."""

    store: ObjectStore
    contents: dict[bytes, bytes]
    failures: dict[bytes, Exception] = field(default_factory=dict)
    lies: dict[bytes, bytes] = field(default_factory=dict)
    asked: list[tuple[bytes, Priority]] = field(default_factory=list)
    ranges: list[tuple[int, int]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, store: ObjectStore, *images: Mapping[str, bytes]) -> "MemorySource":
        source = cls(store, {digest_of(content): content for files in images for content in files.values()})
        source.open.set()
        return source

    async def fetch(self, index: Index, digests: Sequence[bytes], priority: Priority) -> None:
        for digest in digests:
            self.asked.append((digest, priority))
            content = await self._content(digest)
            self.store.put(digest, self.lies.get(digest, content))

    async def fetch_pieces(self, index: Index, numbers: Sequence[int], priority: Priority) -> None:
        pieces = Pieces(index)
        await self.fetch(index, [pieces.piece(number).object.digest for number in numbers], priority)

    async def read(self, index: Index, digest: bytes, offset: int, length: int) -> bytes:
        self.ranges.append((offset, length))
        content = self.lies.get(digest, await self._content(digest))
        return content[offset : offset + length]

    async def _content(self, digest: bytes) -> bytes:
        await self.open.wait()
        if failure := self.failures.get(digest):
            raise failure
        if digest not in self.contents:
            raise NotFound("nobody has it")
        return self.contents[digest]


async def content_of(path: Path) -> bytes:
    return await asyncio.to_thread(path.read_bytes)


async def until(seen: Callable[[], object], patience: float = 10.0) -> None:
    """Wait until `seen()` is true."""
    async with asyncio.timeout(patience):
        while not seen():  # noqa: ASYNC110 - what is seen lies in the kernel and in other processes
            await asyncio.sleep(0.005)
