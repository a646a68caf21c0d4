"""Room in an object store: what may come in, and what goes for it."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Final

from naru.agent.catalogue import Catalogue
from naru.agent.disk import disk_errors
from naru.agent.files import Files
from naru.agent.index.index import MAX_SIZE
from naru.agent.partials import Partials
from naru.agent.tallies import Tally
from naru.domain.errors import Unavailable

_SPARE: Final = 16
"""When space is made, so much of the budget more is freed, so that not every object makes space again: a 16th."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the store holds, in bytes of objects.

    `named` counts what the indexes list, present or not, once for every index, and `distinct` each object once: the
    difference is what sharing between images saves. `pinned` is what pinned images list, `partial` what has come of
    objects that nobody fetches now. `budget` is None when the disk alone limits the store.
    """

    objects: int
    size: int
    named: int
    distinct: int
    pinned: int
    partial: int
    indexes: int
    budget: int | None

    @property
    def saved(self) -> int:
        """Bytes that sharing of equal files between images saves."""
        return self.named - self.distinct


@dataclass(frozen=True, slots=True)
class Freed:
    """How many objects went, whole or in part, and their bytes."""

    objects: int
    size: int


class Room:
    """Keeps the bytes of objects, of those that arrive and of parts that were left within `budget`, if there is one.

    What no index names goes first, then what was used longest ago; never what a pinned image needs, nor what is being
    gathered. Blocking; `lock` is the store's.
    """

    def __init__(self, catalogue: Catalogue, files: Files, partials: Partials, budget: int | None, lock: RLock) -> None:
        self.budget = budget
        self.reserved = 0
        """Bytes of what arrives."""
        self._catalogue = catalogue
        self._files = files
        self._partials = partials
        self._lock = lock
        self._gathering = 0
        self._gathered: set[bytes] = set()
        self._listed: tuple[tuple[frozenset[str], frozenset[str]] | None, int, int, int] = (None, 0, 0, 0)

    def reserve(self, size: int) -> None:
        """Make room for so many bytes; raise Unavailable when everything here is needed."""
        with self._lock:
            if self.budget is not None and self._excess(size) > 0:
                self.evict(self._excess(size) + self.budget // _SPARE)
                if self._excess(size) > 0:
                    raise Unavailable(
                        f"the object store's budget of {self.budget} bytes is full of what pinned images need",
                        "give the agent a larger budget, or stop containers",
                        retry_after=60,
                    )
            self.reserved += size

    def release(self, size: int) -> None:
        """Give back what was reserved."""
        with self._lock:
            self.reserved -= size

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Let everything stay that `gathered` is told of meanwhile."""
        with self._lock:
            self._gathering += 1
        try:
            yield
        finally:
            with self._lock:
                self._gathering -= 1
                if not self._gathering:
                    self._gathered.clear()

    def gathered(self, digest: bytes) -> None:
        """Let an object stay while something is gathered."""
        with self._lock:
            if self._gathering:
                self._gathered.add(digest)

    def evict(self, size: int) -> Freed:
        """Free at least `size` bytes where that is possible."""
        with self._lock:
            last_use = {digest: use for use, image in enumerate(self._images()) for digest in self._listed_by(image)}
            kept = self._kept()
            held = sorted((last_use.get(digest, -1), digest) for digest in self._held())
            return self._drop((digest for _, digest in held if digest not in kept), size)

    def collect(self) -> Freed:
        """Free what no index names."""
        with self._lock:
            named = {digest for image in self._images() for digest in self._listed_by(image)} | self._kept()
            return self._drop([digest for digest in self._held() if digest not in named], MAX_SIZE)

    def usage(self) -> Usage:
        """Count what is here; cheap as long as images and pins stay the same."""
        with self._lock:
            images, pins = self._images(), self._pins()
            key = frozenset(images), frozenset(pins)
            if self._listed[0] != key:
                self._listed = key, *self._list(images, pins)
            _, named, distinct, pinned = self._listed
            files, partial = self._files, self._partials.size
            return Usage(files.count, files.size, named, distinct, pinned, partial, len(images), self.budget)

    def tally(self, image: str) -> Tally | None:
        """Return the counts of an image, which are kept from now on; None without its index."""
        with self._lock, self._disk():
            if (known := self._files.tallied(image)) is not None and self._catalogue.has(image):
                return known
            index = self._catalogue.load(image)
            if index is None:
                self.changed(image)
                return None
            return self._files.tally(index)

    def changed(self, image: str) -> None:
        """The index of an image is another, or gone."""
        with self._lock:
            self._files.untally(image)
            self._listed = None, 0, 0, 0

    def _excess(self, size: int) -> int:
        """How many bytes more than the budget there would be with `size` more."""
        return self._files.size + self._partials.size + self.reserved + size - (self.budget or 0)

    def _list(self, images: Collection[str], pins: Collection[str]) -> tuple[int, int, int]:
        """Return the bytes that images list: each for itself, all together, and the pinned ones together."""
        tallies = {image: tally for image in images if (tally := self.tally(image)) is not None}
        named = sum(tally.size for tally in tallies.values())
        pinned = dict(each for image in tallies.keys() & set(pins) for each in tallies[image].sizes())
        if len(tallies) < 2:
            return named, named, sum(pinned.values())
        distinct = dict(each for tally in tallies.values() for each in tally.sizes())
        return named, sum(distinct.values()), sum(pinned.values())

    def _drop(self, candidates: Iterable[bytes], wanted: int) -> Freed:
        objects = freed = 0
        for digest in candidates:
            if freed >= wanted:
                break
            with self._disk():
                size = self._files.remove(digest) or self._partials.remove(digest)
            if size:
                objects, freed = objects + 1, freed + size
        return Freed(objects, freed)

    def _held(self) -> Iterator[bytes]:
        """Yield every object that is here, and those of which a part is."""
        yield from self._files.held()
        yield from self._partials.left()

    def _kept(self) -> set[bytes]:
        """What must stay: whatever pinned images need, and what is being gathered."""
        kept = set(self._gathered)
        for image in self._pins():
            tally = self.tally(image)
            if tally is None:
                raise Unavailable(f"the index of pinned image {image} is damaged", "fetch the image again")
            kept.update(tally.digests())
        return kept

    def _listed_by(self, image: str) -> Iterator[bytes]:
        tally = self.tally(image)
        return tally.digests() if tally is not None else iter(())

    def _images(self) -> list[str]:
        with self._disk():
            return list(self._catalogue.used())

    def _pins(self) -> Collection[str]:
        with self._disk():
            return self._catalogue.pins().keys()

    def _disk(self) -> AbstractContextManager[None]:
        return disk_errors(self._files.directory.parent)
