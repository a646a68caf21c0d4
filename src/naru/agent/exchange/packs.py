"""Compressed pieces on the disk, so that a node which serves slow links compresses each of them once.

A cache in two generations, `packed/0` and `packed/1`: pieces are appended to the younger one; when that is full the
elder is emptied and becomes the younger. Nothing is synced: what a crash tears has another checksum and is not used.
"""

import logging
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

from naru.agent.index.index import CHUNK

_LOG = logging.getLogger(__name__)

MOST_PACKED: Final = 4 << 30
"""Bytes that are worth keeping at most."""

_HEAD: Final = struct.Struct("<32sII")
"""The piece's digest, the length of its compressed form, and the CRC-32 of the two and the form."""


class _Place(NamedTuple):
    file: int
    offset: int
    length: int
    check: int


class Packs:
    """See the module. `most` bounds bytes on the disk, whose errors cost only speed. Blocking, for several threads."""

    def __init__(self, directory: Path, most: int = MOST_PACKED) -> None:
        self._directory = directory
        self._most = most // 2
        self._lock = Lock()
        self._files: list[int] = []
        self._ends = [0, 0]
        self._young = 0
        self._places: dict[bytes, _Place] = {}
        self._closed = False

    def load(self, digest: bytes) -> bytes | None:
        """Return the compressed form of a piece; empty bytes say that it is not worth compressing, None nothing."""
        with self._lock:
            self._open()
            place = self._places.get(digest)
            if place is None:
                return None
            with suppress(OSError):
                body = os.pread(self._files[place.file], place.length, place.offset)
                if len(body) == place.length and _check(digest, body) == place.check:
                    return body
            del self._places[digest]
            return None

    def save(self, digest: bytes, body: bytes) -> None:
        """Keep the compressed form of a piece, or that it is not worth it, while the disk takes it."""
        with self._lock:
            self._open()
            if digest in self._places or not self._files:
                return
            size = _HEAD.size + len(body)
            if size > self._most:
                return
            if self._ends[self._young] + size > self._most:
                self._turn()
            end, check = self._ends[self._young], _check(digest, body)
            try:
                written = os.pwritev(self._files[self._young], (_HEAD.pack(digest, len(body), check), body), end)
            except OSError as error:
                _LOG.warning("compressed pieces are not kept in %s: %s", self._directory, error.strerror)
                return
            if written == size:  # of a disk that fills up, the next one is written over what it took
                self._places[digest] = _Place(self._young, end + _HEAD.size, len(body), check)
                self._ends[self._young] = end + size

    def close(self) -> None:
        """Close the files; nothing is found or kept after that."""
        with self._lock:
            self._closed = True
            for file in self._files:
                os.close(file)
            self._files = []
            self._places.clear()

    def _open(self) -> None:
        if self._files or self._closed:
            return
        opened: list[int] = []
        try:
            self._directory.mkdir(exist_ok=True)
            for number in range(2):
                opened.append(os.open(self._directory / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            changed = [os.fstat(file).st_mtime_ns for file in opened]
            for file in opened:
                if os.fstat(file).st_size > self._most:  # it was allowed more before
                    os.ftruncate(file, 0)
        except OSError as error:
            _LOG.warning("there are no compressed pieces in %s: %s", self._directory, error.strerror)
            for file in opened:
                os.close(file)
            return
        self._files, self._young = opened, int(changed[1] > changed[0])
        for number, file in enumerate(opened):
            for digest, place in _read(number, file):
                self._places[digest] = place
                self._ends[number] = place.offset + place.length

    def _turn(self) -> None:
        self._young = 1 - self._young
        self._places = {digest: place for digest, place in self._places.items() if place.file != self._young}
        self._ends[self._young] = 0
        with suppress(OSError):
            os.ftruncate(self._files[self._young], 0)


def _read(number: int, file: int) -> Iterator[tuple[bytes, _Place]]:
    """Yield what a file lists, until its end or the first entry that cannot be one."""
    at, end = 0, os.fstat(file).st_size
    while len(head := os.pread(file, _HEAD.size, at)) == _HEAD.size:
        digest, length, check = _HEAD.unpack(head)
        at += _HEAD.size
        if length > CHUNK or at + length > end or (not length and check != _check(digest, b"")):
            return
        yield digest, _Place(number, at, length, check)
        at += length


def _check(digest: bytes, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(len(body).to_bytes(4, "little"), zlib.crc32(digest)))
