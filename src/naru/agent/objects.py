"""A node's object store: the contents of images' files by their digest, each once.

    objects/ab/cdef…   plain files, so that overlayfs opens them natively as a data-only lower
    indexes/, pins/    which images there are, and which are needed (naru.agent.catalogue)
    incoming/          what is being written, in a directory of each process
    boot               the boot of the kernel in which this store was last opened

Objects are verified before they are committed, always. naru.agent.files says how they survive crashes.
"""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import RLock
from typing import Final

from naru.agent.catalogue import Catalogue
from naru.agent.disk import disk_errors, open_private, write_all
from naru.agent.files import Files, Scrubbed
from naru.agent.incoming import Incoming
from naru.agent.index.index import CHUNK, MAX_SIZE, Index, Object, chunk_count
from naru.domain.errors import Conflict, Invalid, NotFound, Unavailable
from naru.oci.staging import Staging, sweep

_SPARE: Final = 16
"""When space is made, so much of the budget more is freed, so that not every object makes space again: a 16th."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the store holds, in bytes of objects.

    `named` counts what the indexes list, present or not, once for every index, and `distinct` each object once: the
    difference is what sharing between images saves. `pinned` is what pinned images list. `budget` is None when the
    disk alone limits the store.
    """

    objects: int
    size: int
    named: int
    distinct: int
    pinned: int
    indexes: int
    budget: int | None

    @property
    def saved(self) -> int:
        """Bytes that sharing of equal files between images saves."""
        return self.named - self.distinct


@dataclass(frozen=True, slots=True)
class Freed:
    """How many objects went, and their bytes."""

    objects: int
    size: int


class ObjectStore:
    """The store below `root`, which is made when it is missing. Blocking; for several threads and processes.

    `budget` bounds the bytes of objects: what was used longest ago goes first, and what a pinned image needs never.
    Every method raises Unavailable when the disk is full or refuses.
    """

    def __init__(self, root: Path, *, budget: int | None = None) -> None:
        self.root = root
        self.budget = budget
        self._lock = RLock()
        self._names = count()
        self._gathering = 0
        self._gathered: set[bytes] = set()
        self._listed: tuple[tuple[frozenset[str], frozenset[str]] | None, int, int, int] = (None, 0, 0, 0)
        self._receiving: dict[bytes, Incoming] = {}
        self._reserved = 0
        with self._disk():
            (root / "incoming").mkdir(parents=True, exist_ok=True)
            sweep(root / "incoming")
            self._staging = Staging(root / "incoming")
            self._catalogue = Catalogue(root)
            self._files = Files(root, Path(self._staged()))
        self.objects = self._files.directory

    def close(self) -> None:
        """Make everything durable and end what is still arriving."""
        for incoming in list(self._receiving.values()):
            incoming.abort()
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
                    self._reserve(len(chunk))
                    came += len(chunk)
                    whole.update(chunk)
                    digests.append(hashlib.sha256(chunk).digest())
                    write_all(file.fileno(), chunk)
                if came != size:
                    raise _other_size(came, size)
        except BaseException:
            self._release(came)
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

        Raises Conflict when it is being received already.
        """
        if size <= 0 or len(chunks) not in (0, chunk_count(size)):
            raise Invalid(f"object {digest.hex()} of {size} bytes cannot have {len(chunks)} chunks", "derive it again")
        with self._lock:
            if digest in self._receiving:
                raise Conflict(f"object {digest.hex()} is being received already", "wait for it")
            self._reserve(size)
            staged = self._staged()

            def end(commit: bool) -> None:
                try:
                    if commit:
                        self._commit(digest, staged, size)
                    else:
                        self._release(size)
                finally:  # not before: a reader finds the one or the other
                    with self._lock:
                        del self._receiving[digest]

            try:
                with self._disk():
                    incoming = Incoming(Object(digest, size, chunks), Path(staged), end, self._disk)
            except BaseException:
                self._release(size)
                raise
            self._receiving[digest] = incoming
            return incoming

    def incoming(self, digest: bytes) -> Incoming | None:
        """Return the object that is being received, if it is."""
        return self._receiving.get(digest)

    def sync(self) -> int:
        """Make every committed object durable; return how many were not before. Slow: call it in a thread."""
        return self._files.sync()

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Keep whatever is put or found meanwhile, although no index names it yet."""
        with self._lock:
            self._gathering += 1
        try:
            yield
        finally:
            with self._lock:
                self._gathering -= 1
                if not self._gathering:
                    self._gathered.clear()

    def save_index(self, index: Index) -> None:
        """Remember an index, durably; it counts as used now."""
        with self._disk():
            self._listed = None, 0, 0, 0
            self._catalogue.save(index, Path(self._staged()))

    def index(self, image: str) -> Index | None:
        """Return the index of an image, by its manifest's digest, or None when it is not here or has rotted."""
        with self._disk():
            return self._catalogue.load(image)

    def forget(self, image: str) -> None:
        """Forget the index of an image, of which its objects stay until room is needed."""
        with self._lock, self._disk():
            self._listed = None, 0, 0, 0
            self._catalogue.forget(image)

    def used(self) -> dict[str, int]:
        """Return the images whose indexes are here and when each was used last, in ns; the oldest first."""
        with self._disk():
            return self._catalogue.used()

    def indexes(self) -> list[str]:
        """List the images whose indexes are here, the one used longest ago first."""
        return list(self.used())

    @property
    def changes(self) -> tuple[int, int]:
        """How many objects came, and went, since the store was opened: equal as long as it is the same."""
        with self._lock:
            return self._files.count + self._files.removed, self._files.removed

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
        with self._lock:
            images, pins = self.indexes(), self.pins()
            key = frozenset(images), frozenset(pins)
            if self._listed[0] != key:
                self._listed = key, *self._list(images, pins)
            _, named, distinct, pinned = self._listed
            return Usage(self._files.count, self._files.size, named, distinct, pinned, len(images), self.budget)

    def evict(self, size: int) -> Freed:
        """Free at least `size` bytes where that is possible: what no index names first, then what was used longest ago.

        What a pinned image needs, and what is being gathered, stays.
        """
        with self._lock:
            last_use = {obj.digest: use for use, image in enumerate(self.indexes()) for obj in self._objects_of(image)}
            kept = self._kept()
            held = [(last_use.get(digest, -1), digest) for digest, _ in self._files.scan()]
            return self._drop((digest for _, digest in sorted(held) if digest not in kept), size)

    def gc(self, keep: Collection[str] | None = None) -> Freed:
        """Free objects that no index names; with `keep`, first forget the images that are neither kept nor pinned."""
        with self._lock:
            images = self.indexes()
            if keep is not None:
                pinned = self.pins()
                for image in images:
                    if image not in keep and image not in pinned:
                        self._catalogue.forget(image)
            named = {obj.digest for image in self.indexes() for obj in self._objects_of(image)} | self._kept()
            gone = [digest for digest, _ in self._files.scan() if digest not in named]
            return self._drop(iter(gone), MAX_SIZE)

    def held(self) -> list[bytes]:
        """List the digests of all committed objects, in order."""
        return self._files.held()

    def scrub(self, among: Collection[bytes] | None = None) -> Scrubbed:
        """Read objects again, all or some, from the disk where the kernel lets us; drop and report what has rotted."""
        return self._files.scrub(among)

    def _keep(self, digest: bytes) -> bool:
        """Whether the object is here, and stays while something is gathered."""
        with self._lock:
            if self._gathering:
                self._gathered.add(digest)
            return self.has(digest)

    def _take(self, digest: bytes, content: bytes) -> None:
        """Commit content whose digest is known to be right."""
        if self._keep(digest):
            return
        self._reserve(len(content))
        staged = self._staged()
        try:
            with self._disk():
                file = open_private(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
                try:
                    write_all(file, content)
                finally:
                    os.close(file)
        except BaseException:
            self._release(len(content))
            with suppress(FileNotFoundError):
                os.unlink(staged)
            raise
        self._commit(digest, staged, len(content))

    def _reserve(self, size: int) -> None:
        with self._lock:
            if self.budget is not None and self._excess(size) > 0:
                self.evict(self._excess(size) + self.budget // _SPARE)
                if self._excess(size) > 0:
                    raise Unavailable(
                        f"the object store's budget of {self.budget} bytes is full of what pinned images need",
                        "give the agent a larger budget, or stop containers",
                        retry_after=60,
                    )
            self._reserved += size

    def _excess(self, size: int) -> int:
        """How many bytes more than the budget there would be with `size` more."""
        return self._files.size + self._reserved + size - (self.budget or 0)

    def _release(self, size: int) -> None:
        with self._lock:
            self._reserved -= size

    def _commit(self, digest: bytes, staged: str, size: int) -> None:
        with self._lock:
            self._reserved -= size
            if self._gathering:
                self._gathered.add(digest)
            self._files.commit(digest, staged, size)

    def _list(self, images: Collection[str], pins: Collection[str]) -> tuple[int, int, int]:
        """Return the bytes that images list: each for itself, all together, and the pinned ones together."""
        named, sizes, pinned = 0, dict[bytes, int](), dict[bytes, int]()
        for image in images:
            listed = {obj.digest: obj.size for obj in self._objects_of(image)}
            named += sum(listed.values())
            sizes |= listed
            if image in pins:
                pinned |= listed
        return named, sum(sizes.values()), sum(pinned.values())

    def _drop(self, candidates: Iterator[bytes], wanted: int) -> Freed:
        objects = freed = 0
        for digest in candidates:
            if freed >= wanted:
                break
            if size := self._files.remove(digest):
                objects, freed = objects + 1, freed + size
        return Freed(objects, freed)

    def _kept(self) -> set[bytes]:
        """What must stay: whatever pinned images need, and what is being gathered."""
        kept = set(self._gathered)
        for image in self.pins():
            index = self.index(image)
            if index is None:
                raise Unavailable(f"the index of pinned image {image} is damaged", "fetch the image again")
            kept.update(index.numbers)
        return kept

    def _objects_of(self, image: str) -> tuple[Object, ...]:
        index = self.index(image)
        return index.objects if index is not None else ()

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
