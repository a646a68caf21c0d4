"""The index as a value."""

from dataclasses import dataclass

CHUNK = 1 << 20
"""Bytes of a chunk: objects larger than this are verified chunk by chunk."""


@dataclass(frozen=True, slots=True)
class Object:
    """The content of a regular file: its sha256 (32 bytes), its size in bytes, and each chunk's when it is big."""

    digest: bytes
    size: int
    chunks: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Index:
    """One image's files. `image` is its platform's manifest digest, `meta` an EROFS image, `objects` rise by digest."""

    image: str
    meta: bytes
    objects: tuple[Object, ...]
