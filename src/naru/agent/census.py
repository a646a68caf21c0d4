"""How much of each image a node has, without reading an index again whose image and objects are as they were."""

from collections.abc import Sequence
from dataclasses import dataclass

from naru.agent.exchange.pieces import Pieces
from naru.agent.index.index import Index, Object
from naru.agent.objects import ObjectStore
from naru.agent.profile import Profiles


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
class _Listed:
    """What an index lists, without its metadata. `state` is that of the store when `count` was made."""

    used: int
    profile: bytes | None
    index: str
    objects: tuple[tuple[bytes, int], ...]
    hot: tuple[tuple[bytes, int], ...]
    """The pieces of a start, each as its object and its own bytes."""
    state: tuple[int, int]
    count: Count


class Census:
    """Counts what `store` has of images; blobs, which are indexes without metadata, are none. Blocking."""

    def __init__(self, store: ObjectStore, profiles: Profiles) -> None:
        self._store = store
        self._profiles = profiles
        self._listed: dict[str, _Listed] = {}
        self._blobs: dict[str, int] = {}

    def take(self) -> dict[str, Count]:
        """Count, by image."""
        used = self._store.used()
        counts: dict[str, Count] = {}
        listed: dict[str, _Listed] = {}
        for image, at in used.items():
            if self._blobs.get(image) == at:
                continue
            one = self._counted(image, at)
            if one is None:
                self._blobs[image] = at
            else:
                listed[image], counts[image] = one, one.count
        self._listed = listed
        self._blobs = {image: at for image, at in self._blobs.items() if image in used}
        return counts

    def _counted(self, image: str, used: int) -> _Listed | None:
        # Taken before counting: what arrives meanwhile is counted the next time.
        state, profile = self._store.changes, self._profiles.load(image)
        known = self._listed.get(image)
        if known and known.used == used and known.profile == profile:
            # What was whole stays so until something is removed.
            whole = known.count.present == known.count.objects
            if known.state == state or (whole and known.state[1] == state[1]):
                return known
            index, objects, hot = known.index, known.objects, known.hot
        else:
            read = self._store.index(image)
            if read is None or not read.meta:
                return None
            index = f"sha256:{read.digest.hex()}"
            objects, hot = _sizes(read.objects), self._hot(read)
        present, present_size = self._here(objects)
        _, hot_present = self._here(hot)
        count = Count(index, len(objects), present, _total(objects), present_size, _total(hot), hot_present)
        return _Listed(used, profile, index, objects, hot, state, count)

    def _hot(self, index: Index) -> tuple[tuple[bytes, int], ...]:
        profile, pieces = self._profiles.find(index), Pieces(index)
        hot = (pieces.piece(number) for number in profile.pieces(index)) if profile else ()
        return tuple((one.object.digest, one.size) for one in hot)

    def _here(self, objects: Sequence[tuple[bytes, int]]) -> tuple[int, int]:
        sizes = [size for digest, size in objects if self._store.has(digest)]
        return len(sizes), sum(sizes)


def _sizes(objects: Sequence[Object]) -> tuple[tuple[bytes, int], ...]:
    return tuple((one.digest, one.size) for one in objects)


def _total(objects: Sequence[tuple[bytes, int]]) -> int:
    return sum(size for _, size in objects)
