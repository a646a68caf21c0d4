"""Pieces as they are sent: as small as the link makes worth while."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock, local
from typing import Final

import zstandard

from naru.agent.exchange.frames import Packing
from naru.agent.exchange.packs import Packs
from naru.domain.errors import Invalid

_LEVELS: Final = {Packing.FAST: 1, Packing.SMALL: 6}
_SAMPLE: Final = 16 << 10
_LEAST: Final = 128
_WORTH: Final = 0.9
"""A piece is sent compressed when a sample of it, and then all of it, shrinks to this share or less."""
_KEPT: Final = 16 << 20


class Packer:
    """Compresses pieces, and keeps what is dear to make: the next asker wants the same. For several threads.

    What came compressed is kept too, as it came, so that it is passed on without work. `kept` bounds the bytes in
    memory; `packs` keep on the disk what was compressed for slow links, which costs most.
    """

    def __init__(self, kept: int = _KEPT, packs: Packs | None = None) -> None:
        self._most = kept
        self._packs = packs
        self._size = 0
        self._kept: OrderedDict[bytes, tuple[bytes, bool]] = OrderedDict()
        self._lock = Lock()
        self._own = _Compressors()

    def kept(self, digest: bytes, packing: Packing) -> bytes | None:
        """Return a piece that is here compressed. Any form will do, but for a slow link, which wants the smallest."""
        with self._lock:
            packed, small = self._kept.get(digest, (None, False))
            if packed is None or (packing is Packing.SMALL and not small):
                return None
            self._kept.move_to_end(digest)
            return packed

    def keep(self, digest: bytes, packed: bytes, *, small: bool) -> None:
        """Keep a compressed piece, for as long as there is room; `small` says that it was made for a slow link."""
        with self._lock:
            before, _ = self._kept.pop(digest, (b"", False))
            self._size += len(packed) - len(before)
            self._kept[digest] = packed, small
            while self._size > self._most:
                _, (gone, _) = self._kept.popitem(last=False)
                self._size -= len(gone)

    def pack(self, digest: bytes, packing: Packing, load: Callable[[], bytes]) -> tuple[bool, bytes]:
        """Return a piece as it is to be sent, and whether that is a Zstandard frame; `load` reads it, if it must be."""
        if kept := self.kept(digest, packing):
            return True, kept
        packs = self._packs if packing is Packing.SMALL else None
        packed = packs.load(digest) if packs else None
        if packed == b"":
            return False, load()
        if packed is None:
            content = load()
            packed = self._packed(content, packing)
            if packs:
                packs.save(digest, packed or b"")
            if packed is None:
                return False, content
        if packing is Packing.SMALL:
            self.keep(digest, packed, small=True)
        return True, packed

    def _packed(self, content: bytes, packing: Packing) -> bytes | None:
        """Compress a piece; None when that is not worth it."""
        if packing is Packing.PLAIN or len(content) < _LEAST:
            return None
        if len(content) > 2 * _SAMPLE:
            sample = self._own.level(1).compress(content[:_SAMPLE])
            if len(sample) > _WORTH * _SAMPLE:
                return None
        packed = self._own.level(_LEVELS[packing]).compress(content)
        return packed if len(packed) <= _WORTH * len(content) else None


def expanded(body: bytes | memoryview, size: int) -> bytes:
    """Decompress a Zstandard frame that must hold exactly `size` bytes; raise Invalid before it takes more memory."""
    try:
        if zstandard.get_frame_parameters(body).content_size != size:
            raise Invalid(f"a peer compressed something else than the {size} bytes of the piece")
        return _DECOMPRESSORS.one.decompress(body, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Invalid("a peer sent damaged Zstandard data") from error


class _Compressors(local):
    """Each thread's own: they are not for several, and to make one costs as much as a small piece."""

    def __init__(self) -> None:
        self._by: dict[int, zstandard.ZstdCompressor] = {}

    def level(self, level: int) -> zstandard.ZstdCompressor:
        if level not in self._by:
            self._by[level] = zstandard.ZstdCompressor(level=level, write_checksum=False)
        return self._by[level]


class _Decompressors(local):
    def __init__(self) -> None:
        self.one = zstandard.ZstdDecompressor()


_DECOMPRESSORS: Final = _Decompressors()
