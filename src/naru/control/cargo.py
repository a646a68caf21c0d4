"""What a volume holds, counted while its archive passes by: so it is known whether all has arrived."""

import asyncio
import hashlib
import queue
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import cast

from naru.oci.compression import Readable
from naru.oci.tar import Dialect, Kind, Member, TarStream

_DIALECT = Dialect(max_path=4096, names="surrogateescape", needs_mark=True)
_MOST_MEMBERS = 1 << 40
_ROOM = 16
"""Chunks that may wait, to be counted and to be delivered."""
_NANOSECONDS = 10**9
_MODULUS = 1 << 256


@dataclass(frozen=True, slots=True)
class Cargo:
    """How many files, directories and links there are, the bytes in them, and a digest of all that is said of them.

    The digest is over names, kinds, modes, owners, times in seconds, extended attributes, links' targets and contents.
    Archives of the same files have the same one, whatever their order and whichever of several hard links comes first:
    it is the sum of the entries' SHA-256 modulo 2^256, hexadecimal, which notices every accident.
    """

    entries: int
    size: int
    digest: str


def cargo(archive: Readable) -> Cargo:
    """Count an archive; raises Invalid when it is damaged or cut off.

    Keeps some hundred bytes of each file, as a later entry may be a hard link to it.
    """
    entries, size, whole = 0, 0, 0
    contents: dict[bytes, bytes] = {}
    stream = TarStream(archive, max_members=_MOST_MEMBERS, dialect=_DIALECT)
    for member in stream:
        content = hashlib.sha256()
        for chunk in stream.content():
            content.update(chunk)
            size += len(chunk)
        what = content.digest()
        if member.kind is Kind.FILE:
            contents[_key(member.path)] = what
        elif member.kind is Kind.HARD_LINK:
            what = contents.get(_key(member.target), what)
        said = hashlib.sha256(_said_of(member).encode("utf-8", "surrogateescape") + what)
        whole = (whole + int.from_bytes(said.digest(), "big")) % _MODULUS
        entries += 1
    while archive.read(1 << 16):
        pass  # what follows the end mark is padding
    return Cargo(entries, size, f"{whole:064x}")


async def counted(source: AsyncIterator[bytes]) -> Cargo:
    """Read an archive to its end and count it."""

    async def nowhere(archive: AsyncIterator[bytes]) -> None:
        async for _ in archive:
            pass

    return await shipped(source, nowhere)


async def shipped(source: AsyncIterator[bytes], deliver: Callable[[AsyncIterator[bytes]], Awaitable[None]]) -> Cargo:
    """Pass an archive on to `deliver`, and count it on the way. Never holds more than a few chunks.

    Where the source fails, its own error is raised, whatever `deliver` makes of it. The source is closed at the end.
    """
    with ThreadPoolExecutor(1, "cargo") as thread:  # the shared ones would run dry where many wait for bytes at once
        pipe = _Pipe(asyncio.get_running_loop())
        counting = asyncio.wrap_future(thread.submit(_count, pipe))
        passing: asyncio.Queue[bytes] = asyncio.Queue(_ROOM)
        pumping = asyncio.create_task(_pump(source, pipe, passing))
        try:
            await deliver(_drawn(passing, pumping))
            async for _ in _drawn(passing, pumping):
                pass  # padding that nobody asked for
            return await counting
        except Exception:
            if pumping.done() and not pumping.cancelled() and (cause := pumping.exception()):
                raise cause from None
            raise
        finally:
            pumping.cancel()
            pipe.end()  # before anything is waited for: the thread must end even when that is cancelled
            await asyncio.wait([pumping])
            with suppress(Exception):
                await counting


async def _pump(source: AsyncIterator[bytes], pipe: "_Pipe", passing: asyncio.Queue[bytes]) -> None:
    """Give every chunk to both sides; an empty one is the end. Alone touches the source, and closes it."""
    # Every engine writes its streams as generators; the Protocol promises only what callers need.
    try:
        async with aclosing(cast("AsyncGenerator[bytes]", source)) as chunks:
            async for chunk in chunks:
                if chunk:
                    await pipe.put(chunk)
                    await passing.put(chunk)
    finally:
        pipe.end()
    await passing.put(b"")


async def _drawn(passing: asyncio.Queue[bytes], pumping: "asyncio.Task[None]") -> AsyncIterator[bytes]:
    """Yield what is pumped until its end, or raise why there is no more."""
    while not (pumping.done() and passing.empty()):
        if passing.empty():  # a task for each chunk would cost more than the chunk
            coming = asyncio.ensure_future(passing.get())
            try:
                await asyncio.wait([coming, pumping], return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    continue
                chunk = coming.result()
            finally:
                coming.cancel()
        else:
            chunk = passing.get_nowait()
        if not chunk:
            return
        yield chunk
    await pumping


class _Pipe:
    """Bytes on their way from the event loop to the thread that counts them; an empty chunk is the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._room = asyncio.Semaphore(_ROOM)
        self._chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._rest = b""
        self._ended = False

    async def put(self, chunk: bytes) -> None:
        """Hand over a chunk once there is room."""
        await self._room.acquire()
        self._chunks.put(chunk)

    def end(self) -> None:
        """Hand over the end."""
        self._chunks.put(b"")

    def read(self, size: int = -1) -> bytes:
        """See Readable. For the thread."""
        if not self._rest and not self._ended:
            self._rest = self._chunks.get()
            self._ended = not self._rest
            self._loop.call_soon_threadsafe(self._room.release)
        read, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return read


def _count(pipe: _Pipe) -> Cargo:
    try:
        return cargo(pipe)
    finally:
        while pipe.read():
            pass  # whoever brings the rest of a damaged archive does not wait for room


def _said_of(member: Member) -> str:
    """Say what an entry is, in the same words for a file and for a hard link to one."""
    told, linked = member.attributes, member.kind is Kind.HARD_LINK
    kind = Kind.FILE if linked else member.kind
    seconds = told.mtime // _NANOSECONDS
    whose = (told.mode, told.uid, told.gid, seconds, told.device, told.xattrs)
    return repr((_plain(member.path), kind.value, "" if linked else member.target, whose))


def _key(path: str) -> bytes:
    return hashlib.blake2b(_plain(path).encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _plain(path: str) -> str:
    """Write a path as it is from the volume's root: archives begin with `./`, or do not."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))
