"""Start-up profiles: which pieces of an image a container touches until its release is proven, first things first.

Several recordings are merged. What is fetched first on the next start is what earlier starts touched first. A piece is
a small object or one chunk of a big one (naru.agent.exchange.pieces): of a library of 36 MB a start touches a few MB.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from naru.agent.exchange.pieces import Pieces
from naru.agent.index.index import Index
from naru.domain.errors import Invalid

MAX_RECORDINGS = 16
"""More recordings count as this many, so that newer ones still change the profile."""
_RARE = 4
"""A piece that fewer than one in so many recordings touched is left out."""

_MAGIC = b"naru-profile-2\0\0"
_HEAD = Struct("<16s32sHxxI")
_TOUCH = Struct("<IHxx")


@dataclass(frozen=True, slots=True)
class Touched:
    """An object of which something was touched: that chunk, or None where nobody saw which."""

    digest: bytes
    chunk: int | None = None


@dataclass(frozen=True, slots=True)
class Touch:
    """A piece by its number, and how many recordings touched it."""

    number: int
    recordings: int = 1


@dataclass(frozen=True, slots=True)
class Profile:
    """What `recordings` starts of an image touched, first things first. `index` is the index's own digest."""

    index: bytes
    touches: tuple[Touch, ...]
    recordings: int = 1

    @classmethod
    def of(cls, index: Index, touched: Iterable[Touched], known: "Profile | None" = None) -> "Profile":
        """Make the profile of one recording; objects of other images are left out.

        Where nobody saw which chunks were touched, they are those that `known` has of the object, else all.
        """
        pieces = Pieces(index)
        listed = [one for one in touched if one.digest in index.numbers]
        seen = {one.digest for one in listed if one.chunk is not None}
        numbers: dict[int, None] = {}
        for one in listed:
            of_object = pieces.numbers(one.digest)
            if one.chunk is not None:
                numbers.update(dict.fromkeys(of_object[one.chunk : one.chunk + 1]))
            elif one.digest not in seen:
                before = [touch.number for touch in known.touches if touch.number in of_object] if known else []
                numbers.update(dict.fromkeys(before or of_object))
        return cls(index.digest, tuple(map(Touch, numbers)))

    def pieces(self, index: Index) -> tuple[int, ...]:
        """Return the numbers of the pieces to fetch, in their order; raise Invalid when it is another index's."""
        if self.index != index.digest:
            raise Invalid(f"this profile is not of {index.image}", "record it again")
        return tuple(touch.number for touch in self.touches)

    def encode(self) -> bytes:
        """Write it in 8 bytes a piece; `decode` gives an equal value."""
        touches = b"".join(_TOUCH.pack(touch.number, touch.recordings) for touch in self.touches)
        return _HEAD.pack(_MAGIC, self.index, self.recordings, len(self.touches)) + touches

    @classmethod
    def decode(cls, content: bytes, index: Index) -> "Profile":
        """Read what `encode` wrote; raise Invalid for everything else, and for another index's profile."""
        if len(content) < _HEAD.size:
            raise _broken("it is cut off")
        magic, digest, recordings, count = _HEAD.unpack_from(content)
        body = content[_HEAD.size :]
        if magic != _MAGIC or len(body) != count * _TOUCH.size:
            raise _broken("it has another form")
        if digest != index.digest:
            raise _broken(f"it is not of {index.image}")
        touches = tuple(Touch(*words) for words in _TOUCH.iter_unpack(body))
        numbers = {touch.number for touch in touches}
        if len(numbers) != count or max(numbers, default=0) >= max(1, Pieces(index).count):
            raise _broken("it names pieces twice, or ones that the index has not")
        if not 0 < recordings <= MAX_RECORDINGS or any(not 0 < one.recordings <= recordings for one in touches):
            raise _broken("it counts more recordings than it has")
        return cls(digest, touches, recordings)


def _broken(why: str) -> Invalid:
    return Invalid(f"this is no proper start-up profile: {why}", "record it again")


def merge(profiles: Sequence[Profile]) -> Profile:
    """Merge profiles of one index: what was touched early and often goes first, what was touched rarely goes.

    A piece's place is the mean of its relative places, weighted by recordings. Raises Invalid when they are of
    different indexes, or none.
    """
    if len({profile.index for profile in profiles}) != 1:
        raise Invalid("only profiles of one index can be merged", "merge those of each image for itself")
    hits: dict[int, int] = {}
    places: dict[int, float] = {}
    for profile in profiles:
        for place, touch in enumerate(profile.touches):
            hits[touch.number] = hits.get(touch.number, 0) + touch.recordings
            weight = touch.recordings * place / len(profile.touches)
            places[touch.number] = places.get(touch.number, 0.0) + weight
    total = sum(profile.recordings for profile in profiles)
    often = [number for number, count in hits.items() if count * _RARE >= total]
    often.sort(key=lambda number: (places[number] / hits[number], number))
    shrink = max(1.0, total / MAX_RECORDINGS)
    touches = tuple(Touch(number, max(1, int(hits[number] / shrink))) for number in often)
    return Profile(profiles[0].index, touches, int(total / shrink))


class Profiles:
    """The profiles that a node has, in files by image."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def load(self, image: str) -> bytes | None:
        """Return an image's profile, encoded; None when there is none."""
        try:
            return self._path(image).read_bytes()
        except FileNotFoundError:
            return None

    def save(self, image: str, profile: bytes) -> None:
        """Keep an encoded profile in the place of what was there. Whoever uses it decodes and so checks it."""
        path = self._path(image)
        new = path.with_suffix(f".{os.getpid()}")
        new.write_bytes(profile)
        new.replace(path)

    def find(self, index: Index) -> Profile | None:
        """Return the profile of an index; none when there is no proper one."""
        content = self.load(index.image)
        try:
            return Profile.decode(content, index) if content else None
        except Invalid:
            return None

    def add(self, index: Index, touched: Iterable[Touched]) -> Profile:
        """Merge a new recording in, keep the result and return it."""
        known = self.find(index)
        recorded = Profile.of(index, touched, known)
        merged = merge([known, recorded]) if known else recorded
        self.save(index.image, merged.encode())
        return merged

    def remove(self, image: str) -> None:
        """Forget an image's profile."""
        self._path(image).unlink(missing_ok=True)

    def _path(self, image: str) -> Path:
        return self._root / image.removeprefix("sha256:").replace("/", "_")
