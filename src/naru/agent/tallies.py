"""How much of an image is here, known without looking: counted once, then told of everything that comes and goes."""

from array import array
from collections.abc import Collection, Iterator
from typing import Final

from naru.agent.index.index import Index

_DIGEST: Final = 32


class Tally:
    """Counts of one index and of what is here of it, in objects and in their bytes. For one thread at a time.

    `index` is the digest of the index as text; `is_image` is false for a blob. Takes 40 bytes an object, and some 150
    more for each that is lacking.
    """

    def __init__(self, index: Index, lacking: Collection[bytes]) -> None:
        self.index = f"sha256:{index.digest.hex()}"
        self.is_image = bool(index.meta)
        self.objects = len(index.objects)
        self.size = index.size
        self._digests = b"".join(one.digest for one in index.objects)
        self._sizes = array("Q", (one.size for one in index.objects))
        self._lacking: dict[bytes, int] = {}
        self._lacking_size = 0
        self.correct(lacking)

    @property
    def present(self) -> int:
        """Objects that are here."""
        return self.objects - len(self._lacking)

    @property
    def present_size(self) -> int:
        """Their bytes."""
        return self.size - self._lacking_size

    def lacks(self, digest: bytes) -> bool:
        """Whether the index lists the object and it is not here."""
        return digest in self._lacking

    def digests(self) -> Iterator[bytes]:
        """Yield what the index lists, in its order."""
        return (self._digests[at : at + _DIGEST] for at in range(0, len(self._digests), _DIGEST))

    def sizes(self) -> Iterator[tuple[bytes, int]]:
        """Yield the same with the bytes of each."""
        return zip(self.digests(), self._sizes, strict=True)

    def came(self, digest: bytes) -> None:
        """An object is here."""
        self._lacking_size -= self._lacking.pop(digest, 0)

    def went(self, digest: bytes) -> None:
        """An object is not here any more."""
        size = self._size(digest)
        if size and digest not in self._lacking:
            self._lacking[digest] = size
            self._lacking_size += size

    def correct(self, lacking: Collection[bytes]) -> bool:
        """Take these as the ones that are lacking; say whether that is news."""
        if lacking == self._lacking.keys():
            return False
        self._lacking = {digest: self._size(digest) for digest in lacking}
        self._lacking_size = sum(self._lacking.values())
        return True

    def _size(self, digest: bytes) -> int:
        """Return the bytes of a listed object, 0 for others."""
        low, high = 0, self.objects
        while low < high:
            middle = (low + high) // 2
            if self._at(middle) < digest:
                low = middle + 1
            else:
                high = middle
        return self._sizes[low] if low < self.objects and self._at(low) == digest else 0

    def _at(self, number: int) -> bytes:
        return self._digests[number * _DIGEST : (number + 1) * _DIGEST]
