"""What is compressed, read bounded.

gzip and Zstandard are told by their first bytes. A stream that grows far beyond what came in is a decompression bomb
and is refused before it fills memory or disk.
"""

import io
import zlib
from collections.abc import Iterator
from typing import Final, Protocol

import zstandard

from naru.domain.errors import Invalid

CHUNK: Final = 1024 * 1024
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_INPUT: Final = 256 * 1024
_WINDOW: Final = 128 * 1024 * 1024
_RATIO: Final = 200
_UNSUSPECTED: Final = 64 * 1024 * 1024


class Readable(Protocol):
    """A stream of bytes; an empty answer means its end."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, fewer only at the end or when fewer are there."""


def compression(start: bytes) -> str:
    """Name the compression of content that begins with `start`: gzip, zstd or nothing."""
    return "gzip" if start.startswith(_GZIP) else "zstd" if start.startswith(_ZSTD) else ""


class Decompressed:
    """Reads `source`, decompressed when it is gzip or Zstandard, up to `limit` bytes.

    Raises Invalid when more come out, when more than 200 times the input comes out (after the first 64 MiB), or when
    the compressed data is broken. `what` names the stream in errors.
    """

    def __init__(self, source: Readable, what: str, limit: int = 1 << 50) -> None:
        self._source = _Counted(source)
        self._what = what
        self._limit = limit
        self._out = 0
        match compression(self._source.peek(4)):
            case "gzip":
                self._plain: Readable = _Gunzipped(self._source)
            case "zstd":
                reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
                self._plain = reader.stream_reader(
                    io.BufferedReader(_Raw(self._source), CHUNK), read_across_frames=True
                )
            case _:
                self._plain = self._source

    def read(self, size: int) -> bytes:
        """Return at most `size` decompressed bytes, empty at the end."""
        try:
            chunk = self._plain.read(min(size, CHUNK))
        except (EOFError, zlib.error, zstandard.ZstdError) as error:
            raise Invalid(f"{self._what} is cut off or damaged", "save the image again and compare sizes") from error
        self._out += len(chunk)
        if self._out > self._limit:
            raise Invalid(f"{self._what} unpacks to more than {self._limit} bytes", "use a smaller image")
        if self._out > _UNSUSPECTED and self._out > _RATIO * self._source.count:
            raise Invalid(
                f"{self._what} unpacks to more than {_RATIO} times its size", "do not trust where it comes from"
            )
        return chunk

    def chunks(self) -> Iterator[bytes]:
        """Yield everything that is left."""
        while chunk := self.read(CHUNK):
            yield chunk


class _Counted:
    """Counts what is read; lets the first bytes be seen before they are read."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._ahead = b""
        self.count = 0

    def peek(self, size: int) -> bytes:
        while len(self._ahead) < size and (more := self._source.read(size - len(self._ahead))):
            self._ahead += more
        return self._ahead

    def read(self, size: int) -> bytes:
        if self._ahead:
            chunk, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            chunk = self._source.read(size)
        self.count += len(chunk)
        return chunk


class _Gunzipped:
    """Reads gzip members one after another (RFC 1952, section 2.2), zeros after the last one left out.

    The standard library's GzipFile takes 8 KiB at a time: with other threads at work, each of its many small calls
    waits for the interpreter.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._input = b""

    def read(self, size: int) -> bytes:
        while size:
            if self._member.eof:
                rest = self._member.unused_data.lstrip(b"\0")
                while not rest and (more := self._source.read(_INPUT)):
                    rest = more.lstrip(b"\0")
                if not rest:
                    return b""
                self._member, self._input = zlib.decompressobj(zlib.MAX_WBITS | 16), rest
            elif not self._input:
                self._input = self._source.read(_INPUT)
                if not self._input:
                    raise EOFError
            plain = self._member.decompress(self._input, size)
            self._input = self._member.unconsumed_tail
            if plain:
                return plain
        return b""


class _Raw(io.RawIOBase):
    """Lets the standard library read a Readable."""

    def __init__(self, source: Readable) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        chunk = self._source.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)
