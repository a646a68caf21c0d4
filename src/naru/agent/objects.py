"""A node's object store: the contents of images' files by their digest, each once.

    objects/ab/cdef…   plain files, so that overlayfs opens them natively as a data-only lower
    partial/HEX        big objects of which a part has come (naru.agent.partials)
    indexes/, pins/    which images there are, and which are needed (naru.agent.catalogue)
    incoming/          what is being written, in a directory of each process
    boot               the boot of the kernel in which this store was last opened

Objects are verified before they are committed, always. naru.agent.files says how they survive crashes, naru.agent.room
what goes when there is no room.
"""

import hashlib
import os
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from itertools import count
from pathlib import Path
from threading import RLock

from naru.agent.catalogue import Catalogue
from naru.agent.disk import disk_errors, open_private, write_all
from naru.agent.files import Files, Scrubbed
from naru.agent.incoming import End, Incoming
from naru.agent.index.index import CHUNK, Index, Object, chunk_count
from naru.agent.partials import Partials
from naru.agent.room import Freed, Room, Usage
from naru.agent.tallies import Tally
from naru.domain.errors import Conflict, Invalid, NotFound
from naru.oci.staging import Staging, sweep


class ObjectStore:
    """The store below `root`, which is made when it is missing. Blocking; for several threads and processes.

    `budget` bounds the bytes of objects: what was used longest ago goes first, and what a pinned image needs never.
    Every method raises Unavailable when the disk is full or refuses.
    """

    def __init__(self, root: Path, *, budget: int | None = None) -> None:
        self.root = root
        self._lock = RLock()
        self._names = count()
        self._receiving: dict[bytes, Incoming] = {}
        with self._disk():
            (root / "incoming").mkdir(parents=True, exist_ok=True)
            sweep(root / "incoming")
            self._staging = Staging(root / "incoming")
            self._catalogue = Catalogue(root)
            self._files = Files(root, Path(self._staged()))
            self._partials = Partials(root, time.time())
        self._room = Room(self._catalogue, self._files, self._partials, budget, self._lock)
        self.objects = self._files.directory

    def close(self) -> None:
        """Make everything durable and end what is still arriving; what is verified of it stays."""
        for incoming in list(self._receiving.values()):
            incoming.leave()
        self.sync()
        self._staging.close()

    def path(self, digest: bytes) -> Path:
        """Return where the object is when it is committed."""
        return Path(self._files.path(digest))

    def has(self, digest: bytes) -> bool:
        """Whether the object is committed."""
        return self._files.has(digest)

    def missing(self, digests: Iterable[bytes]) -> list[bytes]:
        """Return those that are not committed, in the same order."""
        return self._files.missing(digests)

    def read(self, digest: bytes) -> bytes:
        """Return a committed object; raise NotFound."""
        try:
            with open(self._files.path(digest), "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise _absent(digest) from None

    def put(self, digest: bytes, content: bytes) -> None:
        """Commit an object; raise Invalid when the bytes have another digest."""
        if hashlib.sha256(content).digest() != digest:
            raise Invalid(f"what came as object {digest.hex()} has another digest", "do not trust where it comes from")
        self._take(digest, content)

    def add(self, parts: Iterable[bytes], size: int) -> Object:
        """Commit content of `size` bytes and return the object that it is, with the digests of its chunks.

        Raises Invalid when another number of bytes comes; what `parts` raises passes on.
        """
        if size <= CHUNK:
            content = b"".join(parts)
            if len(content) != size:
                raise _other_size(len(content), size)
            digest = hashlib.sha256(content).digest()
            self._take(digest, content)
            return Object(digest, size)
        return self._add_large(parts, size)

    def _add_large(self, parts: Iterable[bytes], size: int) -> Object:
        staged, whole, came = self._staged(), hashlib.sha256(), 0
        digests: list[bytes] = []
        try:
            with self._disk(), open(staged, "xb", buffering=0, opener=open_private) as file:
                for chunk in _regular(parts):
                    self._room.reserve(len(chunk))
                    came += len(chunk)
                    whole.update(chunk)
                    digests.append(hashlib.sha256(chunk).digest())
                    write_all(file.fileno(), chunk)
                if came != size:
                    raise _other_size(came, size)
        except BaseException:
            self._room.release(came)
            with suppress(FileNotFoundError):
                os.unlink(staged)
            raise
        self._commit(whole.digest(), staged, size)
        return Object(whole.digest(), size, tuple(digests))

    def put_many(self, objects: Iterable[tuple[bytes, bytes]]) -> None:
        """Commit objects one after another; those before one that fails stay."""
        for digest, content in objects:
            self.put(digest, content)

    def receive(self, digest: bytes, size: int, chunks: tuple[bytes, ...] = ()) -> Incoming:
        """Take an object in piece by piece; readable before its end where `chunks` lists each chunk's digest.

        It then begins with the chunks that came before, also before this store was opened. Raises Conflict when it is
        being received already.
        """
        if size <= 0 or len(chunks) not in (0, chunk_count(size)):
            raise Invalid(f"object {digest.hex()} of {size} bytes cannot have {len(chunks)} chunks", "derive it again")
        with self._lock:
            if digest in self._receiving:
                raise Conflict(f"object {digest.hex()} is being received already", "wait for it")
            with self._disk():
                path, file = self._place(digest, chunks)
            reserved = 0

            def end(how: End) -> None:
                try:
                    self._end(digest, path, file, size, how, reserved)
                finally:  # not before: a reader finds the one or the other
                    with self._lock:
                        self._receiving.pop(digest, None)

            try:
                self._room.reserve(size)
                reserved = size
            except BaseException:
                end(End.LEFT)
                os.close(file)
                raise
            incoming = self._receiving[digest] = Incoming(Object(digest, size, chunks), file, end, self._disk)
        incoming.resume()
        return incoming

    def left(self) -> list[bytes]:
        """List the objects that are not here, of which a part came that nobody adds to now."""
        with self._lock:
            return self._partials.left()

    def incoming(self, digest: bytes) -> Incoming | None:
        """Return the object that is being received, if it is."""
        return self._receiving.get(digest)

    @property
    def pending(self) -> int:
        """How many committed objects are not durable yet."""
        return self._files.pending

    def sync(self) -> int:
        """Make every committed object durable; return how many were not before. Slow: call it in a thread."""
        return self._files.sync()

    def gathering(self) -> AbstractContextManager[None]:
        """Keep whatever is put or found meanwhile, although no index names it yet."""
        return self._room.gathering()

    def save_index(self, index: Index) -> None:
        """Remember an index, durably; it counts as used now."""
        with self._disk():
            self._catalogue.save(index, Path(self._staged()))
        self._room.changed(index.image)

    def index(self, image: str) -> Index | None:
        """Return the index of an image, by its manifest's digest, or None when it is not here or has rotted."""
        with self._disk():
            return self._catalogue.load(image)

    def forget(self, image: str) -> None:
        """Forget the index of an image, of which its objects stay until room is needed."""
        with self._lock, self._disk():
            self._catalogue.forget(image)
            self._room.changed(image)

    def used(self) -> dict[str, int]:
        """Return the images whose indexes are here and when each was used last, in ns; the oldest first."""
        with self._disk():
            return self._catalogue.used()

    def indexes(self) -> list[str]:
        """List the images whose indexes are here, the one used longest ago first."""
        return list(self.used())

    def tally(self, image: str) -> Tally | None:
        """Return the counts of an image's objects, kept from now on without looking at files; None without its index.

        They are as right as what happened through this store; `recount` and `scrub` look again.
        """
        return self._room.tally(image)

    def pin(self, image: str, holder: str) -> None:
        """Keep what the image needs until `holder` lets go; survives a restart. Raise NotFound without its index."""
        with self._lock, self._disk():
            self._catalogue.pin(image, holder)

    def unpin(self, image: str, holder: str) -> None:
        """Let go; nothing happens when it was not held."""
        with self._lock, self._disk():
            self._catalogue.unpin(image, holder)

    def pins(self) -> dict[str, tuple[str, ...]]:
        """Return who holds which image."""
        with self._disk():
            return self._catalogue.pins()

    def usage(self) -> Usage:
        """Count what is here; cheap, as long as images and pins stay the same."""
        return self._room.usage()

    def evict(self, size: int) -> Freed:
        """Free at least `size` bytes where that is possible: what no index names first, then what was used longest ago.

        What a pinned image needs, and what is being gathered, stays.
        """
        return self._room.evict(size)

    def gc(self, keep: Collection[str] | None = None) -> Freed:
        """Free what no index names; with `keep`, first forget the images that are neither kept nor pinned."""
        with self._lock:
            if keep is not None:
                for image in set(self.indexes()) - set(keep) - self.pins().keys():
                    self.forget(image)
            return self._room.collect()

    def held(self) -> list[bytes]:
        """List the digests of all committed objects, in order."""
        return self._files.held()

    def scrub(self, among: Collection[bytes] | None = None) -> Scrubbed:
        """Read objects again, all or some, from the disk where the kernel lets us; drop and report what has rotted.

        When it has read all of them it counts them again too.
        """
        read = self._files.scrub(among)
        if among is None:
            self.recount()
        return read

    def recount(self) -> bool:
        """Count again what is here, by looking; say whether it had been counted otherwise."""
        with self._disk():
            return self._files.recount()

    def _place(self, digest: bytes, chunks: tuple[bytes, ...]) -> tuple[str, int]:
        """Open where an object arrives: with the part of it that came before, where chunks tell what of it is right."""
        if chunks and (part := self._partials.take(digest)) is not None:
            return self._partials.path(digest), part
        path = self._staged()
        return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def _end(self, digest: bytes, path: str, file: int, size: int, how: End, reserved: int) -> None:
        with self._lock, self._disk():
            if how is End.COMMITTED:
                self._commit(digest, path, size)
                return
            self._room.release(reserved)
            if how is End.LEFT and path == self._partials.path(digest):
                self._partials.leave(digest, file, size)
            else:
                Path(path).unlink(missing_ok=True)

    def _take(self, digest: bytes, content: bytes) -> None:
        """Commit content whose digest is known to be right."""
        with self._lock:
            self._room.gathered(digest)
            if self.has(digest):
                return
        self._room.reserve(len(content))
        staged = self._staged()
        try:
            with self._disk():
                file = open_private(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
                try:
                    write_all(file, content)
                finally:
                    os.close(file)
        except BaseException:
            self._room.release(len(content))
            with suppress(FileNotFoundError):
                os.unlink(staged)
            raise
        self._commit(digest, staged, len(content))

    def _commit(self, digest: bytes, staged: str, size: int) -> None:
        with self._lock:
            self._room.release(size)
            self._room.gathered(digest)
            self._files.commit(digest, staged, size)
            self._partials.remove(digest)  # it came whole, by another way

    def _staged(self) -> str:
        return f"{self._staging.directory}/{next(self._names)}"

    def _disk(self) -> AbstractContextManager[None]:
        return disk_errors(self.root)


def _absent(digest: bytes) -> NotFound:
    return NotFound(f"the object store has no object {digest.hex()}", "fetch it first")


def _other_size(came: int, size: int) -> Invalid:
    return Invalid(f"{came} bytes came where {size} belong", "fetch them again")


def _regular(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream into chunks of CHUNK bytes, and a shorter one at the end."""
    pending = bytearray()
    for part in parts:
        if not pending and len(part) == CHUNK:
            yield part
            continue
        pending += part
        while len(pending) >= CHUNK:
            yield bytes(pending[:CHUNK])
            del pending[:CHUNK]
    if pending:
        yield bytes(pending)
