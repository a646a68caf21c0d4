"""Records what is touched below a root file system: which objects are opened, and which chunks of big ones are read.

The FUSE server sees only what the store lacks. What the store has overlayfs opens itself, where nobody sees it but
fanotify(7), which tells of every open in the overlay, in whichever mount namespace. An overlay shows the inode numbers
of its metadata, so an open is traced to its object by a walk through the mounted metadata when the recording ends.
Which parts of big objects are touched the page cache tells (naru.agent.mount.pages).
"""

import asyncio
import ctypes
import logging
import os
import select
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread

from naru.agent.index.index import CHUNK, Index
from naru.agent.mount import kernel
from naru.agent.mount.pages import Pages
from naru.agent.profile import Touched

_log = logging.getLogger(__name__)
_LIBC = ctypes.CDLL(None, use_errno=True)

_CLOEXEC, _NONBLOCK, _UNLIMITED_QUEUE = 0x1, 0x2, 0x10
_MARK_ADD, _MARK_FILESYSTEM = 0x1, 0x100
_OPEN = 0x20
_AT_FDCWD = -100
_EVENT = struct.Struct("=IBBHQii")
_REDIRECT = "trusted.overlay.redirect"
_AHEAD = 64 << 10
"""Bytes around a page that the kernel reads with it: half of its usual readahead."""


class Recording:
    """What is touched of one image, from its making until `stop`."""

    def __init__(self, index: Index, meta: Path, end: Callable[["Recording"], None]) -> None:
        self._index = index
        self._meta = meta
        self._end = end
        self._seen: dict[Touched | int, None] = {}
        self._lock = Lock()
        self._threads: list[Thread] = []
        self._stopped = Event()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def miss(self, digest: bytes) -> None:
        """Note an object that the FUSE server was asked for."""
        with self._lock:
            self._seen.setdefault(Touched(digest))

    def follow_pages(self, pages: Pages, objects: Mapping[int, bytes]) -> None:
        """Note which chunks are touched of objects, given by the inode numbers that `pages` tells of."""
        self._run(self._follow_pages, "pages", pages, objects)

    async def attach(self, where: Path) -> bool:
        """Note opens in the overlay mounted at `where` too; False where the kernel does not tell."""
        watch = await asyncio.to_thread(_watch, where)
        if watch is None:
            return False
        if self._stopped.is_set():
            os.close(watch)
            return False
        self._start(watch)
        return True

    async def attach_to(self, upper: Path, patience: float = 60.0) -> bool:
        """Attach to every overlay with the upper layer `upper` that somebody mounts; False if nobody does in time.

        Returns at the first. Others follow until `stop`: engines mount a root file system briefly to look into it, and
        again to run on it.
        """
        loop = asyncio.get_running_loop()
        first: asyncio.Future[bool] = loop.create_future()

        def tell(found: bool) -> None:
            if not first.done():
                first.set_result(found)

        def told(found: bool) -> None:
            with suppress(RuntimeError):  # the loop has ended before us
                loop.call_soon_threadsafe(tell, found)

        self._run(self._follow, "mounts", upper, patience, told)
        return await first

    async def stop(self) -> tuple[Touched, ...]:
        """End the recording and return what it saw, in the order of first touch."""
        self._end(self)
        if not self._stopped.is_set():
            self._stopped.set()
            os.eventfd_write(self._wake, 1)
            for thread in self._threads:
                await asyncio.to_thread(thread.join, 5)
            os.close(self._wake)
        with self._lock:
            seen = list(self._seen)
        numbers = await asyncio.to_thread(objects_of, self._meta) if any(isinstance(one, int) for one in seen) else {}
        touched = (one if isinstance(one, Touched) else Touched(numbers.get(one, b"")) for one in seen)
        return tuple(dict.fromkeys(one for one in touched if one.digest in self._index.numbers))

    def _follow(self, upper: Path, patience: float, told: Callable[[bool], None]) -> None:
        attached: set[Path] = set()
        for now in kernel.changes(patience, self._wake):
            places = {one.where for one in now if one.type == "overlay" and kernel.upper(one) == upper}
            attached &= places
            for where in places - attached:
                watch = _watch(where)
                if watch is not None:
                    attached.add(where)
                    self._start(watch)
                    told(True)
        told(False)

    def _start(self, watch: int) -> None:
        self._run(self._listen, "recording", watch)

    def _run(self, work: Callable[..., None], name: str, *arguments: object) -> None:
        thread = Thread(target=work, args=arguments, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _follow_pages(self, pages: Pages, objects: Mapping[int, bytes]) -> None:
        try:
            for _ in self._until_stopped(pages.descriptor):
                for inode, first, last in pages.read():
                    if digest := objects.get(inode):
                        end = min(last + _AHEAD, self._index.find(digest).size - 1)
                        chunks = range(max(0, first - _AHEAD) // CHUNK, end // CHUNK + 1)
                        with self._lock:
                            self._seen.update(dict.fromkeys(Touched(digest, chunk) for chunk in chunks))
        except OSError as error:
            _log.warning("the recording of pages of %s ends early: %s", self._index.image, error.strerror)
        finally:
            pages.close()

    def _until_stopped(self, descriptor: int) -> Iterator[None]:
        """Yield whenever a descriptor has something to read, until the recording ends and nothing is left."""
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        waiting.register(self._wake, select.POLLIN)
        while True:
            ready = dict(waiting.poll())
            if descriptor in ready:
                yield
            elif self._wake in ready:
                return

    def _listen(self, watch: int) -> None:
        """Read events until told to stop. Reading opens each file once more, which the event loop may have to serve:
        so this is a thread, and one that the end of the program does not wait for."""
        try:
            for _ in self._until_stopped(watch):
                for inode in _inodes(watch):
                    with self._lock:
                        self._seen.setdefault(inode)
        except OSError as error:
            _log.warning("the recording of %s ends early: %s", self._index.image, error.strerror)
        finally:
            os.close(watch)


def _watch(where: Path) -> int | None:
    watch = _LIBC.fanotify_init(_CLOEXEC | _NONBLOCK | _UNLIMITED_QUEUE, os.O_RDONLY | os.O_CLOEXEC)
    if watch >= 0:
        marked = ctypes.c_uint64(_OPEN)
        if not _LIBC.fanotify_mark(watch, _MARK_ADD | _MARK_FILESYSTEM, marked, _AT_FDCWD, os.fsencode(where)):
            return int(watch)
        os.close(watch)
    _log.warning("opens in %s are not recorded: %s", where, os.strerror(ctypes.get_errno()))
    return None


def _inodes(watch: int) -> Iterator[int]:
    """Yield the inode numbers of the files that the waiting events are about."""
    try:
        events = os.read(watch, 1 << 16)
    except BlockingIOError:
        return
    offset = 0
    while offset < len(events):
        length, _, _, _, _, file, _ = _EVENT.unpack_from(events, offset)
        offset += length
        if file >= 0:
            try:
                yield os.fstat(file).st_ino
            finally:
                os.close(file)


def objects_of(meta: Path) -> dict[int, bytes]:
    """Return the digests of a mounted EROFS image's files by their inode numbers."""
    found = {}
    directories = [os.fspath(meta)]
    while directories:
        with os.scandir(directories.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and (digest := _digest(entry.path)):
                    found[entry.inode()] = digest
    return found


def _digest(path: str) -> bytes:
    try:
        return bytes.fromhex(os.getxattr(path, _REDIRECT, follow_symlinks=False).replace(b"/", b"").decode())
    except (OSError, ValueError):  # an empty file
        return b""
