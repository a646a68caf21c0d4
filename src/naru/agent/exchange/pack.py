"""Pieces as they are sent: as small as the link makes worth while."""

from collections import OrderedDict
from threading import Lock
from typing import Final

import zstandard

from naru.agent.exchange.frames import Packing

_LEVELS: Final = {Packing.FAST: 1, Packing.SMALL: 6}
_SAMPLE: Final = 16 << 10
_LEAST: Final = 128
_WORTH: Final = 0.9
"""A piece is sent compressed when a sample of it, and then all of it, shrinks to this share or less."""
_KEPT: Final = 8 << 20


class Packer:
    """Compresses pieces; keeps what it compressed slowly last, because the next asker wants the same. For threads."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._most = kept
        self._size = 0
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = Lock()

    def kept(self, digest: bytes, packing: Packing) -> bytes | None:
        """Return a piece that was compressed lately."""
        if packing is not Packing.SMALL:
            return None
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
            return self._kept.get(digest)

    def pack(self, digest: bytes, content: bytes, packing: Packing) -> tuple[bool, bytes]:
        """Return a piece as it is to be sent, and whether that is a Zstandard frame."""
        if packing is Packing.PLAIN or len(content) < _LEAST:
            return False, content
        # A compressor of its own for each call: they are not for several threads.
        if len(content) > 2 * _SAMPLE:
            sample = zstandard.ZstdCompressor(level=1).compress(content[:_SAMPLE])
            if len(sample) > _WORTH * _SAMPLE:
                return False, content
        packed = zstandard.ZstdCompressor(level=_LEVELS[packing], write_checksum=False).compress(content)
        if len(packed) > _WORTH * len(content):
            return False, content
        if packing is Packing.SMALL:
            self._keep(digest, packed)
        return True, packed

    def _keep(self, digest: bytes, packed: bytes) -> None:
        with self._lock:
            self._size += len(packed) - len(self._kept.pop(digest, b""))
            self._kept[digest] = packed
            while self._size > self._most:
                _, gone = self._kept.popitem(last=False)
                self._size -= len(gone)
