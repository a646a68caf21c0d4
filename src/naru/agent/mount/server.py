"""Answers the kernel's questions on the tree of objects, and fetches what is opened and not there.

An object that is in the store is handed over: by passthrough the kernel reads the store's file itself, without asking
again. One that is missing is fetched, verified and committed first; a big one opens at once and is read range by range
until it is whole. A fetch that fails is EIO for that open alone, and the next open tries again. No answer is ever
short or made up: the kernel would show the rest as zeros.
"""

import asyncio
import errno
import logging
import os
from asyncio import AbstractEventLoop, Task
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from naru.agent.index.index import CHUNK, Index
from naru.agent.mount import fuse, passthrough
from naru.agent.mount.files import Files, Store, exactly
from naru.agent.mount.fuse import Header, Init, Interrupt, Lookup, Opcode, OpenFlag, Plain, Read
from naru.agent.mount.opens import Opens
from naru.agent.mount.tree import Ambiguous, Named, Tree, is_directory
from naru.agent.source import Priority, Source
from naru.domain.errors import NaruError, NotFound

_log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

BIG = CHUNK
"""Objects of more bytes open before they are whole: they have chunks, and of most a start touches only some."""
PATIENCE = 120.0
"""Seconds that a reader waits for an object before EIO."""
_WATCH = 0.2
"""Seconds between two looks at whether an interrupted reader was killed."""
_BURST = 32
"""Requests answered before other work of the loop gets its turn."""

_NO_PASSTHROUGH = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EPERM, errno.ELOOP, errno.EINVAL)


class Server:
    """Serves one /dev/fuse connection from the running event loop. `images` returns the index of an image."""

    def __init__(
        self,
        device: int,
        opens: Opens,
        tree: Tree,
        store: Store,
        source: Source,
        images: Callable[[str], Awaitable[Index]],
        *,
        passthrough: bool = True,
        patience: float = PATIENCE,
        touched: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self.passthrough = passthrough
        self.refused = 0
        """How many times EIO was answered."""
        self._device = device
        self._opens = opens
        self._tree = tree
        self._store = store
        self._source = source
        self._images = images
        self._patience = patience
        self._touched = touched
        self._loop: AbstractEventLoop | None = None
        self._welcomed = asyncio.Event()
        self._waiting: dict[int, tuple[Header, Task[None]]] = {}
        self._fetches: dict[tuple[bytes, Priority], Task[None]] = {}
        self._watches: set[Task[None]] = set()
        self._files = Files(store)

    def start(self, *, recovered: bool = False) -> None:
        """Begin to answer; `recovered`: the kernel knows us already, and repeats what a dead server left open.

        Raises OSError when the connection is gone.
        """
        os.set_blocking(self._device, False)
        if recovered:
            os.write(self._device, fuse.RESEND)
            self._welcomed.set()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._device, self._readable)

    async def welcomed(self, patience: float = 10.0) -> None:
        """Wait until the kernel has introduced itself: from then on it is known whether passthrough works."""
        async with asyncio.timeout(patience):
            await self._welcomed.wait()

    async def close(self) -> None:
        """Stop answering; whoever waits keeps waiting until another server takes over or the mount goes."""
        if self._loop:
            self._loop.remove_reader(self._device)
            self._loop = None
        tasks = [*self._watches, *(task for _, task in self._waiting.values()), *self._fetches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._files.close()

    @property
    def serving(self) -> bool:
        """Whether requests are answered: not before the start, nor when somebody has unmounted the tree."""
        return self._loop is not None

    @property
    def waiting(self) -> int:
        """How many requests wait for something to arrive."""
        return len(self._waiting)

    @property
    def watching(self) -> int:
        """How many of them were sent a signal meanwhile."""
        return len(self._watches)

    def _readable(self) -> None:
        for _ in range(_BURST):
            try:
                message = os.read(self._device, fuse.BUFFER)
            except BlockingIOError:
                return
            except InterruptedError:
                continue
            except OSError as error:
                if error.errno == errno.ENOENT:  # the one who asked is gone
                    continue
                self._gone(error)
                return
            self._take(message)

    def _gone(self, error: OSError) -> None:
        if error.errno != errno.ENODEV:
            _log.error("the FUSE connection fails: %s", error.strerror)
        if self._loop:
            self._loop.remove_reader(self._device)
            self._loop = None

    def _take(self, message: bytes) -> None:
        head, body = fuse.parse(message)
        try:
            answer = self._answer(head, body)
        except Ambiguous as error:
            answer = self._refuse(head, errno.EIO, str(error))
        except Exception:
            _log.exception("request %d on node %d failed", head.opcode, head.node)
            answer = self._refuse(head, errno.EIO, "")
        if answer:
            self._write(answer)

    def _answer(self, head: Header, body: fuse.Body) -> bytes:
        """Answer at once what needs no waiting; empty for what needs no answer, or gets it later."""
        match body:
            case Lookup(name):
                found = self._tree.lookup(head.node, name)
                # A name that is not there may come with the next index, so its absence is not cached.
                return fuse.answer(head.unique, fuse.entry(found)) if found else fuse.refusal(head.unique, errno.ENOENT)
            case Read(offset, size):
                return self._read(head, offset, size)
            case Interrupt(unique):
                self._interrupted(unique)
                return b""
            case Init():
                return self._welcome(head, body)
            case Plain():
                return self._plain(head)

    def _plain(self, head: Header) -> bytes:
        match head.opcode:
            case Opcode.OPEN:
                return self._open(head)
            case Opcode.RELEASE:
                self._release(head.node)
                return fuse.answer(head.unique)
            case Opcode.GETATTR:
                found = self._tree.attributes(head.node)
                return (
                    fuse.answer(head.unique, fuse.attributes(found)) if found else fuse.refusal(head.unique, errno.EIO)
                )
            case Opcode.STATFS:
                return fuse.answer(head.unique, fuse.statistics(len(self._tree)))
            case Opcode.FORGET | Opcode.BATCH_FORGET:
                return b""
            case Opcode.OPENDIR | Opcode.RELEASEDIR | Opcode.FLUSH | Opcode.DESTROY:
                return fuse.answer(head.unique, fuse.opened(OpenFlag(0)) if head.opcode == Opcode.OPENDIR else b"")
            case Opcode.READDIR:  # millions of names: look one up instead
                return fuse.refusal(head.unique, errno.EOPNOTSUPP)
            case _:
                return fuse.refusal(head.unique, errno.ENOSYS)

    def _welcome(self, head: Header, offer: Init) -> bytes:
        features = fuse.agreed(offer, passthrough=self.passthrough)
        self.passthrough = bool(features & fuse.Feature.PASSTHROUGH)
        self._welcomed.set()
        return fuse.answer(head.unique, fuse.welcome(offer, features))

    def _open(self, head: Header) -> bytes:
        if is_directory(head.node):
            return self._refuse(head, errno.EISDIR, "")
        named = self._tree.object(head.node)
        if named is None:
            return self._refuse(head, errno.EIO, f"node {head.node} belongs to no image here any more")
        self._touched(named.digest)
        if self._passed(head.node) or self._store.has(named.digest):
            return self._hand_over(head, named)
        if named.size > BIG:
            self._fetching(head.node, named, Priority.BACKGROUND)
            return self._opened(head, 0)
        self._later(head, self._open_when_whole(head, named))
        return b""

    async def _open_when_whole(self, head: Header, named: Named) -> bytes:
        await asyncio.shield(self._fetching(head.node, named, Priority.DEMAND))
        return self._hand_over(head, named)

    def _passed(self, node: int) -> bool:
        opened = self._opens.get(node)
        return opened is not None and opened.backing > 0

    def _hand_over(self, head: Header, named: Named) -> bytes:
        """Open an object of the store for the kernel: as others have it open, else by passthrough if that works."""
        if opened := self._opens.get(head.node):
            return self._opened(head, opened.backing)
        return self._opened(head, self._backing(named) if self.passthrough else 0)

    def _opened(self, head: Header, backing: int) -> bytes:
        self._opens.take(head.node, backing)
        flags = OpenFlag.PASSTHROUGH if backing else OpenFlag.KEEP_CACHE
        return fuse.answer(head.unique, fuse.opened(flags | OpenFlag.NOFLUSH, backing))

    def _backing(self, named: Named) -> int:
        """Register the store's file with the kernel; 0 when the kernel will not pass reads through to it."""
        file = self._files.open(named)
        try:
            return passthrough.back(self._device, file)
        except OSError as error:
            if error.errno not in _NO_PASSTHROUGH:
                raise
            _log.warning("no FUSE passthrough to the object store: %s; reads go through the agent", error.strerror)
            self.passthrough = False
            return 0
        finally:
            os.close(file)

    def _release(self, node: int) -> None:
        if backing := self._opens.drop(node):
            passthrough.unback(self._device, backing)

    def _read(self, head: Header, offset: int, size: int) -> bytes:
        named = self._tree.object(head.node)
        if named is None:
            return self._refuse(head, errno.EIO, f"node {head.node} belongs to no image here any more")
        length = max(0, min(size, named.size - offset))
        if not length:
            return fuse.answer(head.unique)
        if (file := self._files.get(named)) is not None:
            with suppress(BlockingIOError):  # not in the page cache: a thread waits for the disk
                self._reply(head, exactly(file, offset, length, os.RWF_NOWAIT))
                return b""
        self._later(head, self._range(head, named, offset, length))
        return b""

    async def _range(self, head: Header, named: Named, offset: int, length: int) -> bytes:
        if named.size <= BIG and not self._store.has(named.digest):  # evicted since it was opened
            await asyncio.shield(self._fetching(head.node, named, Priority.DEMAND))
        if (file := self._files.get(named)) is not None:
            copy = os.dup(file)  # the kept one may be closed while the thread reads
            try:
                content = await asyncio.to_thread(exactly, copy, offset, length)
            finally:
                os.close(copy)
        else:
            content = await self._first(head.node, lambda index: self._source.read(index, named.digest, offset, length))
        if len(content) != length:
            raise NotFound(f"{len(content)} bytes of {named.digest.hex()} came, not {length}")
        return fuse.answer(head.unique, content)

    def _fetching(self, node: int, named: Named, priority: Priority) -> Task[None]:
        """Return the one fetch of an object that is as urgent as this; all who want it share it."""
        for urgent in Priority:
            if urgent <= priority and (task := self._fetches.get((named.digest, urgent))):
                return task
        task = asyncio.ensure_future(self._fetch(node, named, priority))
        self._fetches[named.digest, priority] = task
        task.add_done_callback(lambda done: self._fetched(named, priority, done))
        return task

    async def _fetch(self, node: int, named: Named, priority: Priority) -> None:
        await self._first(node, lambda index: self._source.fetch(index, [named.digest], priority))
        if not self._store.has(named.digest):
            raise NotFound(f"{named.digest.hex()} was fetched and is not in the store")

    def _fetched(self, named: Named, priority: Priority, task: Task[None]) -> None:
        del self._fetches[named.digest, priority]
        if not task.cancelled() and (error := task.exception()):
            _log.warning("object %s cannot be had: %s", named.digest.hex(), error)

    async def _first(self, node: int, ask: Callable[[Index], Awaitable[Answer]]) -> Answer:
        """Ask for an object as part of each image that has it, until one way works."""
        failure: Exception = NotFound(f"no image here has node {node}")
        async with asyncio.timeout(self._patience):
            for image in self._tree.images(node):
                try:
                    return await ask(await self._images(image))
                except (NaruError, OSError) as error:
                    failure = error
        raise failure

    def _later(self, head: Header, answer: Awaitable[bytes]) -> None:
        """Answer a request when what it waits for has come."""
        task = asyncio.ensure_future(self._finish(head, answer))
        self._waiting[head.unique] = (head, task)
        task.add_done_callback(lambda _: self._waiting.pop(head.unique, None))

    async def _finish(self, head: Header, answer: Awaitable[bytes]) -> None:
        try:
            reply = await answer
        except (NaruError, OSError, TimeoutError, Ambiguous) as error:
            reply = self._refuse(head, errno.EIO, str(error))
        except Exception:
            _log.exception("request %d on node %d failed", head.opcode, head.node)
            reply = self._refuse(head, errno.EIO, "")
        self._write(reply)

    def _interrupted(self, unique: int) -> None:
        """Watch whether the signal kills the reader.

        Only then may the answer be EINTR: many programs take that from open(2) for a failure, and a page fault would
        turn it into SIGBUS. A killed one would hang until an answer comes.
        """
        if unique in self._waiting:
            watch = asyncio.ensure_future(self._watch(unique))
            self._watches.add(watch)
            watch.add_done_callback(self._watches.discard)

    async def _watch(self, unique: int) -> None:
        while unique in self._waiting:
            head, task = self._waiting[unique]
            if killed(head.pid):
                task.cancel()
                self._write(fuse.refusal(unique, errno.EINTR))
                return
            await asyncio.sleep(_WATCH)

    def _refuse(self, head: Header, number: int, why: str) -> bytes:
        if number == errno.EIO:
            self.refused += 1
            _log.warning("EIO for request %d on node %d: %s", head.opcode, head.node, why or "see above")
        return fuse.refusal(head.unique, number)

    def _reply(self, head: Header, content: bytes) -> None:
        try:
            os.writev(self._device, (fuse.head(head.unique, len(content)), content))
        except OSError as error:
            self._unwritten(error)

    def _write(self, answer: bytes) -> None:
        try:
            os.write(self._device, answer)
        except OSError as error:
            self._unwritten(error)

    def _unwritten(self, error: OSError) -> None:
        if error.errno not in (errno.ENOENT, errno.ENODEV):  # who asked is gone, or the mount is
            _log.error("the kernel does not take an answer: %s", error.strerror)


def killed(pid: int, proc: Path = Path("/proc")) -> bool:
    """Whether SIGKILL is pending for a thread, or it is gone; what another process namespace hides counts as alive."""
    if not pid:
        return False
    try:
        status = (proc / str(pid) / "status").read_text()
    except OSError:
        return True
    pending = next((line for line in status.splitlines() if line.startswith("SigPnd:")), "SigPnd:\t0")
    return bool(int(pending.split()[1], 16) & 1 << 8)
