"""The index as a value, and as bytes.

One value has one encoding and one encoding one value, so an index has a digest that any two agents agree on, whatever
their versions of Zstandard: the digest is taken before compression.

The metadata image names every object by a path of 66 bytes that no compression shortens much. The encoding leaves
these paths out and says where they were and which object they name; what costs space is then 32 bytes for an object
and little more.

The form, numbers little-endian, lists column by column:

    magic 8 | image 32 | objects u32 | chunks u32 | holes u32 | length of meta u64
    digest 32 of each object, in the order of the holes that name them first, the rest by digest
    size u64 of each object; digest 32 of each chunk of each object larger than CHUNK
    gap u32 before each hole; u32 of each hole: 0 for the next unnamed object, n + 1 for object n again
    the metadata image without its holes
"""

import hashlib
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from operator import attrgetter
from typing import Final, Self

import zstandard

from naru.domain.errors import Invalid
from naru.oci.reference import Digest

CHUNK: Final = 1 << 20
"""Bytes of a chunk: objects larger than this are verified chunk by chunk."""

MAX_OBJECTS: Final = 1 << 19
MAX_SIZE: Final = 1 << 43
MAX_META: Final = 256 << 20
MAX_ENCODED: Final = 64 << 20
"""Bytes of an encoding; a larger one is refused unread."""

_MAGIC: Final = b"NARUIDX\x01"
_HEAD: Final = struct.Struct("<8s32sIIIQ")
_MAX_CHUNKS: Final = 1 << 23
_PATH: Final = re.compile(rb"/[0-9a-f]{2}/[0-9a-f]{62}")
_LENGTH: Final = 66
_LEVEL: Final = 12
_RATIO: Final = 200
_UNSUSPECTED: Final = 1 << 20
_UNLISTED: Final = "it names an object that it does not list"


@dataclass(frozen=True, slots=True)
class Object:
    """The content of a regular file: its sha256 (32 bytes), its size in bytes, and each chunk's when it is big."""

    digest: bytes
    size: int
    chunks: tuple[bytes, ...] = ()

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """The sha256 of every CHUNK of the object, the object's own when it has only one."""
        return self.chunks or (self.digest,)


@dataclass(frozen=True)
class Index:
    """One image's files.

    `image` is the digest of its platform's manifest ("sha256:…"), `meta` an EROFS image of the whole root file system
    without content, `objects` rise by digest. An object's number is its position in `objects`.
    """

    image: str
    meta: bytes
    objects: tuple[Object, ...]

    def __post_init__(self) -> None:
        Digest.parse(self.image)
        digests = [obj.digest for obj in self.objects]
        if any(left >= right for left, right in pairwise(digests)):
            raise _broken("its objects are not in order")
        for obj in self.objects:
            if len(obj.digest) != 32 or not 0 < obj.size <= MAX_SIZE or len(obj.chunks) != chunk_count(obj.size):
                raise _broken(f"object {obj.digest.hex()} has the wrong form")

    @cached_property
    def digest(self) -> bytes:
        """The index's own sha256: equal for equal values, and what a release pins."""
        return hashlib.sha256(self._plain).digest()

    @cached_property
    def numbers(self) -> Mapping[bytes, int]:
        """The number of each object by its digest."""
        return {obj.digest: number for number, obj in enumerate(self.objects)}

    @cached_property
    def size(self) -> int:
        """Bytes of all objects together."""
        return sum(obj.size for obj in self.objects)

    def find(self, digest: bytes) -> Object:
        """Return the object of that digest; raise Invalid when the image has none."""
        try:
            return self.objects[self.numbers[digest]]
        except KeyError:
            raise Invalid(
                f"image {self.image} has no object {digest.hex()}", "ask for one that its index lists"
            ) from None

    def encode(self) -> bytes:
        """Write the index, compressed; `decode` gives an equal value."""
        return self._encoded

    @cached_property
    def _encoded(self) -> bytes:
        return zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress(self._plain)

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Read what `encode` wrote; raise Invalid for everything else, before it can cost much memory."""
        plain = _decompressed(content)
        index = cls._read(plain)
        # What is known already need not be made again: compressing alone takes longer than all the rest.
        vars(index).update(digest=hashlib.sha256(plain).digest(), _encoded=content)
        return index

    @property
    def _plain(self) -> bytes:
        holes, gaps, rest, end = [], [], [], 0
        for match in _PATH.finditer(self.meta):
            digest = bytes.fromhex(match[0].replace(b"/", b"").decode())
            if digest in self.numbers:
                holes.append(digest)
                gaps.append(match.start() - end)
                rest.append(self.meta[end : match.start()])
                end = match.end()
        rest.append(self.meta[end:])
        order = {digest: place for place, digest in enumerate(dict.fromkeys(holes))}
        objects = [self.objects[self.numbers[digest]] for digest in order]
        objects += [obj for obj in self.objects if obj.digest not in order]
        chunks = b"".join(chunk for obj in objects for chunk in obj.chunks)
        image = bytes.fromhex(self.image.removeprefix("sha256:"))
        return b"".join(
            (
                _HEAD.pack(_MAGIC, image, len(objects), len(chunks) // 32, len(holes), len(self.meta)),
                *(obj.digest for obj in objects),
                struct.pack(f"<{len(objects)}Q", *(obj.size for obj in objects)),
                chunks,
                struct.pack(f"<{len(gaps)}I", *gaps),
                struct.pack(f"<{len(holes)}I", *_references(holes, order)),
                *rest,
            )
        )

    @classmethod
    def _read(cls, plain: bytes) -> Self:
        if len(plain) < _HEAD.size or not plain.startswith(_MAGIC):
            raise _broken("it is none, or of a newer Naru")
        _, image, objects, chunks, holes, length = _HEAD.unpack_from(plain)
        rest = len(plain) - _HEAD.size - objects * 40 - chunks * 32 - holes * 8
        if objects > MAX_OBJECTS or chunks > _MAX_CHUNKS or length > MAX_META or rest + holes * _LENGTH != length:
            raise _broken("its lengths contradict one another")
        reader = _Reader(plain)
        digests = reader.digests(objects)
        sizes = reader.numbers("Q", objects)
        parts = reader.digests(chunks)
        counts = [chunk_count(size) for size in sizes]
        if sum(counts) != chunks:
            raise _broken("its lengths contradict one another")
        listed = tuple(map(Object, digests, sizes, _divided(parts, counts)))
        gaps, references = reader.numbers("I", holes), reader.numbers("I", holes)
        places, named = _places(references, objects)
        if any(left >= right for left, right in pairwise(digests[named:])):
            raise _broken("it could have been written shorter")
        paths = [object_path(digest).encode() for digest in digests]
        meta = _filled(plain, gaps, [paths[place] for place in places])
        # Who writes it leaves out every path of an object, so there are no others.
        known, found, end = frozenset(paths), [], 0
        for match in _PATH.finditer(meta):
            if match[0] in known:
                found.append(match.start() - end)
                end = match.end()
        if tuple(found) != gaps:
            raise _broken("it could have been written shorter")
        return cls(f"sha256:{image.hex()}", meta, tuple(sorted(listed, key=attrgetter("digest"))))


def object_path(digest: bytes) -> str:
    """Return where an object lies below a store's objects, from there: `/ab/cdef…`."""
    name = digest.hex()
    return f"/{name[:2]}/{name[2:]}"


def chunk_count(size: int) -> int:
    """Say how many chunks an object of `size` bytes lists: none when it is one chunk itself."""
    return 0 if size <= CHUNK else -(-size // CHUNK)


class _Reader:
    """Reads columns one after another; their lengths were checked before."""

    def __init__(self, plain: bytes) -> None:
        self._plain = plain
        self._at = _HEAD.size

    def digests(self, count: int) -> list[bytes]:
        start, self._at = self._at, self._at + 32 * count
        return [self._plain[at : at + 32] for at in range(start, self._at, 32)]

    def numbers(self, form: str, count: int) -> tuple[int, ...]:
        column = struct.Struct(f"<{count}{form}")
        start, self._at = self._at, self._at + column.size
        return column.unpack_from(self._plain, start)


def _references(holes: list[bytes], order: Mapping[bytes, int]) -> Iterator[int]:
    """Yield 0 where a hole names the next unnamed object, else one more than the object's place."""
    named = 0
    for digest in holes:
        if order[digest] == named:
            named += 1
            yield 0
        else:
            yield order[digest] + 1


def _places(references: tuple[int, ...], objects: int) -> tuple[list[int], int]:
    """Return the place of the object that each hole names, and how many objects holes name."""
    places, named = [], 0
    for reference in references:
        if reference > named:
            raise _broken("it could have been written shorter" if reference <= objects else _UNLISTED)
        places.append(reference - 1 if reference else named)
        named += not reference
    if named > objects:
        raise _broken(_UNLISTED)
    return places, named


def _divided(parts: list[bytes], counts: list[int]) -> Iterator[tuple[bytes, ...]]:
    """Yield the chunks of each object."""
    at = 0
    for count in counts:
        yield tuple(parts[at : at + count]) if count else ()
        at += count


def _filled(plain: bytes, gaps: tuple[int, ...], paths: list[bytes]) -> bytes:
    """Return the metadata image, its holes filled with the paths of objects."""
    at = len(plain) - _rest_length(plain)
    filled: list[bytes] = []
    for gap, path in zip(gaps, paths, strict=True):
        if at + gap > len(plain):
            raise _broken("a hole lies outside of it")
        filled += (plain[at : at + gap], path)
        at += gap
    return b"".join((*filled, plain[at:]))


def _rest_length(plain: bytes) -> int:
    _, _, _, _, holes, length = _HEAD.unpack_from(plain)
    return int(length - holes * _LENGTH)


def _decompressed(content: bytes) -> bytes:
    if len(content) > MAX_ENCODED:
        raise Invalid(f"the index has {len(content)} bytes", f"at most {MAX_ENCODED} are read")
    most = _HEAD.size + MAX_OBJECTS * 56 + _MAX_CHUNKS * 32 + MAX_META
    try:
        told = zstandard.get_frame_parameters(content).content_size
        if told > most or told > max(_UNSUSPECTED, len(content) * _RATIO):
            raise _broken(f"it would unpack to {told} bytes")
        return zstandard.ZstdDecompressor(max_window_size=128 << 20).decompress(content, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise _broken("its compression is damaged") from error


def _broken(why: str) -> Invalid:
    return Invalid(f"this is no proper index: {why}", "derive it again from the image")
