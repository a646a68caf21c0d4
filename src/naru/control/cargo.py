"""What a volume holds, counted while its archive passes by: so it is known whether all has arrived."""

import asyncio
import hashlib
import queue
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from naru.oci.compression import Readable
from naru.oci.tar import Dialect, Kind, Member, TarStream

_DIALECT = Dialect(max_path=4096, names="surrogateescape", needs_mark=True)
_MOST_MEMBERS = 1 << 40
_ROOM = 16
"""Chunks that may wait to be counted."""
_GLANCE = 0.2
_NANOSECONDS = 10**9


@dataclass(frozen=True, slots=True)
class Cargo:
    """How many files, directories and links there are, the bytes in them, and a digest of all that is said of them.

    The digest (SHA-256, hexadecimal) is over names, kinds, modes, owners, times in seconds, extended attributes, links'
    targets and contents, in the order of the archive.
    """

    entries: int
    size: int
    digest: str


def cargo(archive: Readable) -> Cargo:
    """Count an archive; raises Invalid when it is damaged or cut off."""
    entries, size, whole = 0, 0, hashlib.sha256()
    stream = TarStream(archive, max_members=_MOST_MEMBERS, dialect=_DIALECT)
    for member in stream:
        content = hashlib.sha256()
        for chunk in stream.content():
            content.update(chunk)
            size += len(chunk)
        whole.update(_said_of(member).encode("utf-8", "surrogateescape"))
        whole.update(content.digest())
        entries += 1
    while archive.read(1 << 16):
        pass  # what follows the end mark is padding
    return Cargo(entries, size, whole.hexdigest())


async def counted(source: AsyncIterator[bytes]) -> Cargo:
    """Read an archive to its end and count it."""

    async def nowhere(archive: AsyncIterator[bytes]) -> None:
        async for _ in archive:
            pass

    return await shipped(source, nowhere)


async def shipped(source: AsyncIterator[bytes], deliver: Callable[[AsyncIterator[bytes]], Awaitable[None]]) -> Cargo:
    """Pass an archive on to `deliver`, and count it on the way. Never holds more than a few chunks."""
    pipe = _Pipe()
    counting = asyncio.create_task(asyncio.to_thread(_count, pipe))

    async def passing() -> AsyncIterator[bytes]:
        async for chunk in source:
            await pipe.put(chunk)
            yield chunk

    try:
        await deliver(passing())
        await pipe.put(b"")
        return await asyncio.shield(counting)
    finally:
        pipe.closed = True
        with suppress(Exception):
            await counting


class _Pipe:
    """Bytes on their way from the event loop to the thread that counts them; an empty chunk is the end."""

    def __init__(self) -> None:
        self.closed = False
        self._chunks: queue.Queue[bytes] = queue.Queue(_ROOM)
        self._rest = b""

    async def put(self, chunk: bytes) -> None:
        """Hand over a chunk once there is room; nothing once the other side has ended."""
        try:
            self._chunks.put_nowait(chunk)
        except queue.Full:
            await asyncio.to_thread(self._wait_and_put, chunk)

    def _wait_and_put(self, chunk: bytes) -> None:
        while not self.closed:
            try:
                self._chunks.put(chunk, timeout=_GLANCE)
            except queue.Full:
                continue
            return

    def read(self, size: int = -1) -> bytes:
        """See Readable."""
        while not self._rest:
            try:
                self._rest = self._chunks.get(timeout=_GLANCE)
            except queue.Empty:
                if self.closed:
                    return b""
                continue
            if not self._rest:
                self.closed = True
                return b""
        read, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return read


def _count(pipe: _Pipe) -> Cargo:
    try:
        return cargo(pipe)
    finally:
        pipe.closed = True


def _said_of(member: Member) -> str:
    told = member.attributes
    size = member.size if member.kind is Kind.FILE else 0
    seconds = told.mtime // _NANOSECONDS
    whose = (told.mode, told.uid, told.gid, seconds, told.device, told.xattrs)
    return repr((member.path, member.kind.value, size, member.target, whose))
