"""How much of each image a node has, and of what a start of it touches."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from naru.agent.exchange.pieces import Pieces
from naru.agent.objects import ObjectStore
from naru.agent.profile import Profiles
from naru.agent.tallies import Tally


@dataclass(frozen=True, slots=True)
class Count:
    """Objects that an image lists and those that are here, their bytes, and the bytes of what a start touches.

    `index` is the digest of the index, as text.
    """

    index: str
    objects: int
    present: int
    size: int
    present_size: int
    hot: int
    hot_present: int


@dataclass(frozen=True, slots=True)
class _Hot:
    """What a start touches by a profile: the bytes of each object's pieces. `index` is the one that names them."""

    index: str
    profile: bytes
    sizes: Mapping[bytes, int]


class Census:
    """Counts what `store` has of images; blobs, which are indexes without metadata, are none. Blocking.

    Costs a look at each image, at none of its files.
    """

    def __init__(self, store: ObjectStore, profiles: Profiles) -> None:
        self._store = store
        self._profiles = profiles
        self._hot: dict[str, _Hot] = {}

    def take(self) -> dict[str, Count]:
        """Count, by image."""
        tallies = {image: self._store.tally(image) for image in self._store.indexes()}
        counts = {image: self._count(image, tally) for image, tally in tallies.items() if tally and tally.is_image}
        self._hot = {image: hot for image, hot in self._hot.items() if image in counts}
        return counts

    def _count(self, image: str, tally: Tally) -> Count:
        sizes = self._touched(image, tally.index)
        lacking = sum(size for digest, size in sizes.items() if tally.lacks(digest))
        hot = sum(sizes.values())
        return Count(tally.index, tally.objects, tally.present, tally.size, tally.present_size, hot, hot - lacking)

    def _touched(self, image: str, index: str) -> Mapping[bytes, int]:
        encoded = self._profiles.load(image)
        if encoded is None:
            return {}
        known = self._hot.get(image)
        if known is None or (known.index, known.profile) != (index, encoded):
            known = self._hot[image] = _Hot(index, encoded, self._read(image))
        return known.sizes

    def _read(self, image: str) -> Mapping[bytes, int]:
        index = self._store.index(image)
        profile = self._profiles.find(index) if index else None
        if index is None or profile is None:
            return {}
        pieces, sizes = Pieces(index), Counter[bytes]()
        for number in profile.pieces(index):
            piece = pieces.piece(number)
            sizes[piece.object.digest] += piece.size
        return sizes
