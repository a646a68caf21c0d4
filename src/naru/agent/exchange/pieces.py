"""The pieces of an image, numbered: what agents ask each other for.

A piece is a whole object of at most CHUNK bytes, or one chunk of a bigger one. Numbers follow the index: object by
object, chunk by chunk. So every piece has a digest that verifies it alone.
"""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final

from naru.agent.index.index import CHUNK, Index, Object
from naru.domain.errors import Invalid, NotFound

SMALL: Final = 64 << 10
"""Objects up to this many bytes share a lead with the others whose digests begin with the same byte."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes `offset` to `offset + size` of an object; `digest` is the sha256 of exactly those."""

    number: int
    object: Object
    offset: int
    size: int
    digest: bytes

    @property
    def whole(self) -> bool:
        """Whether it is all of its object."""
        return self.size == self.object.size

    def check(self, body: bytes | memoryview) -> None:
        """Raise Invalid unless these are the piece's bytes."""
        if len(body) != self.size or sha256(body).digest() != self.digest:
            raise Invalid(f"piece {self.number} arrived with other bytes than {self.digest.hex()[:12]} names")


class Pieces:
    """All pieces of an index."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._first: list[int] = []
        count = 0
        for one in index.objects:
            self._first.append(count)
            count += max(1, len(one.chunks))
        self.count = count
        self._of = {one.digest: at for at, one in enumerate(index.objects)}

    def piece(self, number: int) -> Piece:
        """Return a piece by its number, which must be below `count`."""
        at = bisect_right(self._first, number) - 1
        one = self.index.objects[at]
        if not one.chunks:
            return Piece(number, one, 0, one.size, one.digest)
        chunk = number - self._first[at]
        offset = chunk * CHUNK
        return Piece(number, one, offset, min(CHUNK, one.size - offset), one.chunks[chunk])

    def object(self, digest: bytes) -> Object:
        """Return the object of that digest; raise NotFound when the index has none."""
        try:
            return self.index.objects[self._of[digest]]
        except KeyError:
            raise NotFound(f"the image {self.index.image} has no object {digest.hex()}") from None

    def numbers(self, digest: bytes) -> range:
        """Return the numbers of an object's pieces."""
        one = self.object(digest)
        first = self._first[self._of[digest]]
        return range(first, first + max(1, len(one.chunks)))

    def covering(self, digest: bytes, offset: int, length: int) -> list[Piece]:
        """Return the pieces of an object that these bytes lie in, as far as the object goes."""
        end = min(offset + length, self.object(digest).size)
        numbers = self.numbers(digest)
        return (
            [self.piece(numbers[chunk]) for chunk in range(offset // CHUNK, -(-end // CHUNK))] if offset < end else []
        )

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The bytes of every piece."""
        sizes: list[int] = []
        for one in self.index.objects:
            whole = len(one.chunks) - 1
            sizes += [one.size] if whole < 1 else [CHUNK] * whole + [one.size - whole * CHUNK]
        return tuple(sizes)

    @cached_property
    def keys(self) -> tuple[bytes, ...]:
        """What decides the lead of every piece: small objects have one in common, the others their digest."""
        keys: list[bytes] = []
        for one in self.index.objects:
            keys += one.chunks or [one.digest[:1] if one.size <= SMALL else one.digest]
        return tuple(keys)
