"""An object while its bytes arrive.

Bytes may come in any order and from several peers. Each chunk is verified when it is whole, and only verified chunks
are read; the object is committed when all of it has its digest.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from enum import Enum
from threading import RLock
from typing import Final

from naru.agent.index.index import CHUNK, Object
from naru.domain.errors import Conflict, Invalid

_LIAR: Final = "ask somebody else for it"


class End(Enum):
    """What becomes of an object's file."""

    COMMITTED = "all of it is verified, and it may take its place"
    LEFT = "chunks of it are verified, and who receives it next goes on from there"
    DISCARDED = "it goes"


class Incoming:
    """Takes one object in, into an open file which is its own from now on. Blocking, for several threads.

    End it with `commit`, `leave` or `abort`: `end` is told before the file is closed. `disk` names the disk's errors.
    An object larger than CHUNK that lists no chunks can be read only after its commit.
    """

    def __init__(
        self, obj: Object, file: int, end: Callable[[End], None], disk: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self.object = obj
        self._end = end
        self._disk = disk
        self._file = file
        self._open = True
        self._lock = RLock()
        self._whole = bytearray(-(-obj.size // CHUNK))
        self._arrived: dict[int, list[tuple[int, int]]] = {}
        self._sha256 = hashlib.sha256()
        self._hashed = 0

    def resume(self) -> None:
        """Take every listed chunk for whole that is in the file with its digest; abort when the disk refuses."""
        with self._lock:
            try:
                with self._disk():
                    self._take_what_is_there()
            except BaseException:
                self.abort()
                raise

    def write(self, content: bytes | bytearray | memoryview, offset: int) -> None:
        """Take bytes that belong at `offset`; bytes of whole chunks are ignored.

        Raises Invalid when a chunk became whole and has another digest, or when the bytes lie outside the object. The
        chunk is then empty again; the rest stays.
        """
        view = memoryview(content)
        if offset < 0 or offset + len(view) > self.object.size:
            raise Invalid(f"bytes beyond the end of object {self.object.digest.hex()} came", _LIAR)
        with self._lock:
            self._check_open()
            while view:
                chunk, start = divmod(offset, CHUNK)
                part = view[: CHUNK - start]
                if not self._whole[chunk]:
                    self._write(chunk, start, part)
                view, offset = view[len(part) :], offset + len(part)

    def has(self, offset: int, length: int) -> bool:
        """Whether all these bytes, as far as the object goes, are here and verified."""
        end = min(offset + length, self.object.size)
        known = bool(self.object.chunks) or self.object.size <= CHUNK
        return known and all(self._whole[offset // CHUNK : -(-end // CHUNK)])

    def read(self, offset: int, length: int) -> bytes:
        """Return verified bytes, fewer only at the end of the object; raise Conflict when they are not here yet."""
        with self._lock:
            self._check_open()
            if not self.has(offset, length):
                raise Conflict(f"these bytes of object {self.object.digest.hex()} have not arrived", "wait for them")
            return os.pread(self._file, max(0, min(length, self.object.size - offset)), offset)

    def peek(self, offset: int, length: int) -> bytes:
        """Return bytes that have arrived although nothing verifies them yet; fewer where some are lacking.

        For those alone who verify the whole before they rely on a part.
        """
        with self._lock:
            self._check_open()
            end = offset
            while end < min(offset + length, self.object.size) and self._whole[end // CHUNK]:
                end = min((end // CHUNK + 1) * CHUNK, offset + length, self.object.size)
            return os.pread(self._file, end - offset, offset)

    def lacking(self) -> Iterator[tuple[int, int]]:
        """Yield offset and length of every chunk that is not whole."""
        for chunk, whole in enumerate(self._whole):
            if not whole:
                yield chunk * CHUNK, self._length(chunk)

    def commit(self) -> None:
        """Put the object into the store; raise Invalid when bytes are lacking or all of them have another digest."""
        with self._lock:
            self._check_open()
            try:
                if not all(self._whole):
                    raise Invalid(
                        f"object {self.object.digest.hex()} has not arrived completely", "fetch the rest first"
                    )
                with self._disk():
                    while part := os.pread(self._file, CHUNK, self._hashed):
                        self._sha256.update(part)
                        self._hashed += len(part)
                if self._sha256.digest() != self.object.digest:
                    raise Invalid(f"what came as object {self.object.digest.hex()} has another digest", _LIAR)
            except BaseException:
                self.abort()
                raise
            self._close(End.COMMITTED)

    def leave(self) -> None:
        """Stop here, and let who receives the object next go on. Does nothing after the end."""
        with self._lock:
            if self._open:
                self._close(End.LEFT if self.object.chunks and any(self._whole) else End.DISCARDED)

    def abort(self) -> None:
        """Forget what came. Does nothing after the end."""
        with self._lock:
            if self._open:
                self._close(End.DISCARDED)

    def _take_what_is_there(self) -> None:
        if os.fstat(self._file).st_size > self.object.size:
            os.ftruncate(self._file, self.object.size)
        for chunk, digest in enumerate(self.object.chunks):
            start, length = chunk * CHUNK, self._length(chunk)
            if self._whole[chunk] or self._data(start) >= start + length:
                continue
            content = os.pread(self._file, length, start)
            if hashlib.sha256(content).digest() == digest:
                self._accept(chunk, content)

    def _data(self, offset: int) -> int:
        """Return where the file has data from `offset` on: what was never written is not read."""
        try:
            return os.lseek(self._file, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return self.object.size

    def _write(self, chunk: int, start: int, part: memoryview) -> None:
        length = self._length(chunk)
        whole = len(part) == length
        if whole:
            self._verify(chunk, part)
        self._store(part, chunk * CHUNK + start)
        spans = _merged([*self._arrived.get(chunk, ()), (start, start + len(part))])
        if spans != [(0, length)]:
            self._arrived[chunk] = spans
            return
        self._arrived.pop(chunk, None)
        content = part if whole else memoryview(os.pread(self._file, length, chunk * CHUNK))
        if not whole:
            self._verify(chunk, content)
        self._accept(chunk, content)

    def _accept(self, chunk: int, content: bytes | memoryview) -> None:
        """Take a verified chunk for whole."""
        if self._hashed == chunk * CHUNK:
            self._sha256.update(content)
            self._hashed += len(content)
        self._whole[chunk] = 1

    def _store(self, part: memoryview, offset: int) -> None:
        with self._disk():
            while part:
                written = os.pwrite(self._file, part, offset)
                part, offset = part[written:], offset + written

    def _verify(self, chunk: int, content: memoryview) -> None:
        known = self.object.size <= CHUNK or self.object.chunks
        if known and hashlib.sha256(content).digest() != self.object.pieces[chunk]:
            raise Invalid(f"chunk {chunk} of object {self.object.digest.hex()} came with other bytes", _LIAR)

    def _length(self, chunk: int) -> int:
        return min(CHUNK, self.object.size - chunk * CHUNK)

    def _check_open(self) -> None:
        if not self._open:
            raise Conflict(f"object {self.object.digest.hex()} is no longer being received", "receive it again")

    def _close(self, end: End) -> None:
        self._open = False
        try:
            self._end(end)  # while the file is open, so locked: nobody else takes it for a part that was left
        finally:
            os.close(self._file)


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    spans.sort()
    merged = spans[:1]
    for start, end in spans[1:]:
        if start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged
