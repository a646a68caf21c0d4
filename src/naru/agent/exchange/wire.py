"""The bytes of frames.

A frame is a length (4 bytes, big-endian, of what follows the kind), a kind (1 byte) and a body. Everything that
arrives is refused with Invalid unless it is exactly what `encode` makes: lengths, counts and numbers are bounded before
memory is taken.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final, assert_never

from naru.agent.exchange.frames import (
    Blob,
    Bundle,
    Cancel,
    Close,
    Coming,
    Document,
    Enrol,
    Enrolled,
    Frame,
    Get,
    Have,
    Hello,
    Missing,
    More,
    Open,
    Packing,
    Part,
    Piece,
    Ping,
    Pong,
    Reason,
    Refused,
    Revoked,
    Unknown,
    Want,
)
from naru.agent.index.index import CHUNK
from naru.agent.source import Priority
from naru.domain.errors import Invalid

MAGIC: Final = b"naru"
HEADER: Final = struct.Struct(">IB")
LARGEST: Final = CHUNK + 4096
"""Bytes of the longest body: one plain chunk and what names it."""
MOST_PIECES: Final = 1 << 22
"""Pieces that an index may have on the wire; a bitmap of them is half a mebibyte."""
SLICE: Final = 64 << 10
"""Bytes of a piece that are sent in one go, so that a piece somebody waits for passes between them."""
LONGEST_BLOB: Final = 64 << 20
"""Bytes of an index or profile."""

_OTHER: Final = "run the same version on all nodes"
_DATA: Final = struct.Struct(">HIBII")  # handle, number, zstd, offset, total
_BLOB: Final = struct.Struct(">HBII")
_ENTRY: Final = struct.Struct(">IBI")


def encode(frame: Frame) -> bytes:
    """Return the frame's bytes."""
    kind, parts = _body(frame)
    length = sum(map(len, parts))
    if length > LARGEST:
        raise ValueError(f"a frame of {length} bytes")
    return b"".join((HEADER.pack(length, kind), *parts))


def _body(frame: Frame) -> tuple[int, Sequence[bytes | memoryview]]:
    match frame:
        case Hello(node, site, port, version):
            return 1, (MAGIC, struct.pack(">HH", version, port), _text(node), _text(site))
        case Open(handle, image, grant):
            return 2, (_handle(handle), image, _long(grant))
        case Close(handle):
            return 3, (_handle(handle),)
        case Want(handle, priority, relay, packing, numbers, again):
            return 4, (_handle(handle), bytes((priority, relay, packing, again)), _numbers(numbers))
        case Cancel(handle, numbers):
            return 5, (_handle(handle), _numbers(numbers))
        case Get(handle, document, relay):
            return 6, (_handle(handle), bytes((document, relay)))
        case Have(handle, count, bits):
            return 7, (_handle(handle), count.to_bytes(4, "big"), bits.to_bytes((count + 7) // 8, "little"))
        case More(handle, numbers):
            return 8, (_handle(handle), _numbers(numbers))
        case Coming(handle, numbers):
            return 9, (_handle(handle), _numbers(numbers))
        case Missing(handle, reason, numbers):
            return 10, (_handle(handle), bytes((reason,)), _numbers(numbers))
        case Unknown(handle, reason, document, interested):
            return 11, (_handle(handle), bytes((reason, document or 0, interested)))
        case Bundle(handle, pieces):
            parts: list[bytes | memoryview] = [_handle(handle)]
            for piece in pieces:
                parts += (_ENTRY.pack(piece.number, piece.zstd, len(piece.body)), piece.body)
            return 12, parts
        case Part(handle, number, zstd, offset, total, body):
            return 13, (_DATA.pack(handle, number, zstd, offset, total), body)
        case Blob(handle, document, offset, total, body):
            return 14, (_BLOB.pack(handle, document, offset, total), body)
        case Ping(token):
            return 15, (token.to_bytes(8, "big"),)
        case Pong(token):
            return 16, (token.to_bytes(8, "big"),)
        case Enrol(secret, site, request):
            return 17, (_text(secret), _text(site), _long(request))
        case Enrolled(certificate, authority):
            return 18, (_long(certificate), _long(authority))
        case Refused(cause):
            return 19, (_long(cause.encode()[:2000]),)
        case Revoked(encoded):
            return 20, (_long(encoded),)
        case _:
            assert_never(frame)


def header(start: bytes | memoryview) -> tuple[int, int]:
    """Return the length and the kind that a frame's first bytes announce; raise Invalid when it is too long."""
    length, kind = HEADER.unpack(start)
    if length > LARGEST or kind not in _READERS:
        raise Invalid(f"a peer announced a frame of kind {kind} with {length} bytes", _OTHER)
    return length, kind


def decode(kind: int, body: bytes | memoryview) -> Frame:
    """Return the frame; raise Invalid unless the body is exactly one that `encode` makes. Contents are views of it."""
    reader = _Reader(body)
    try:
        frame = _READERS[kind](reader)
    except (KeyError, ValueError, IndexError, struct.error) as error:
        raise Invalid(f"a peer sent a damaged frame of kind {kind}", _OTHER) from error
    if reader.left:
        raise Invalid(f"a peer sent a frame of kind {kind} with {reader.left} bytes too many")
    return frame


def _handle(handle: int) -> bytes:
    return handle.to_bytes(2, "big")


def _text(text: str) -> bytes:
    encoded = text.encode()
    return bytes((len(encoded),)) + encoded


def _long(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def _numbers(numbers: Iterable[int]) -> bytes:
    """Runs in order: signed distance from the end of the run before (zigzag), then length less one, as varints."""
    out = bytearray()
    first = after = 0
    end = -1
    for number in (*numbers, -1):
        if number == end and number >= 0:
            end += 1
            continue
        if end >= 0:
            distance = first - after
            _varint(out, distance << 1 if distance >= 0 else (-distance << 1) - 1)
            _varint(out, end - first - 1)
            after = end
        first, end = number, number + 1
    return bytes(out)


def _varint(out: bytearray, value: int) -> None:
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


class _Reader:
    """Takes a body apart, raising ValueError or IndexError where it is too short."""

    def __init__(self, body: bytes | memoryview) -> None:
        self._body = body
        self._view = memoryview(body)
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._body) - self._at

    def take(self, count: int) -> memoryview:
        if count > self.left:
            raise ValueError("too short")
        self._at += count
        return self._view[self._at - count : self._at]

    def rest(self) -> memoryview:
        return self.take(self.left)

    def unsigned(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def handle(self) -> int:
        return self.unsigned(2)

    def flag(self, most: int = 1) -> int:
        value = self.unsigned(1)
        if value > most:
            raise ValueError("no such flag")
        return value

    def text(self) -> str:
        return bytes(self.take(self.unsigned(1))).decode()

    def long(self) -> bytes:
        return bytes(self.take(self.unsigned(4)))

    def varint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.unsigned(1)
            value |= (byte & 127) << shift
            if byte < 128:
                if not byte and shift:
                    raise ValueError("a number written too long")
                return value
        raise ValueError("too large")

    def numbers(self) -> tuple[int, ...]:
        found: list[int] = []
        after = -1
        while self.left:
            coded = self.varint()
            if coded == 0 and after >= 0:
                raise ValueError("a run that was to be joined to the one before")
            first = max(after, 0) + (coded >> 1 if not coded & 1 else -(coded + 1 >> 1))
            count = self.varint() + 1
            if first < 0 or first + count > MOST_PIECES or len(found) + count > MOST_PIECES:
                raise ValueError("no such piece")
            found.extend(range(first, first + count))
            after = first + count
        return tuple(found)


def _read_hello(r: _Reader) -> Hello:
    if bytes(r.take(4)) != MAGIC:
        raise ValueError("not an agent")
    version, port = r.unsigned(2), r.unsigned(2)
    return Hello(r.text(), r.text(), port, version)


def _read_want(r: _Reader) -> Want:
    handle, priority, relay = r.handle(), Priority(r.unsigned(1)), bool(r.flag())
    packing, again = Packing(r.unsigned(1)), bool(r.flag())
    return Want(handle, priority, relay, packing, r.numbers(), again)


def _read_have(r: _Reader) -> Have:
    handle, count = r.handle(), r.unsigned(4)
    if count > MOST_PIECES:
        raise ValueError("too many pieces")
    found = int.from_bytes(r.take((count + 7) // 8), "little")
    if found >> count:
        raise ValueError("no such piece")
    return Have(handle, count, found)


def _read_unknown(r: _Reader) -> Unknown:
    handle, reason, document = r.handle(), Reason(r.unsigned(1)), r.unsigned(1)
    return Unknown(handle, reason, Document(document) if document else None, bool(r.flag()))


def _read_bundle(r: _Reader) -> Bundle:
    handle = r.handle()
    pieces: list[Piece] = []
    while r.left:
        number, zstd, length = _ENTRY.unpack(r.take(_ENTRY.size))
        if number >= MOST_PIECES or zstd > 1:
            raise ValueError("no such piece")
        pieces.append(Piece(number, bool(zstd), r.take(length)))
    return Bundle(handle, tuple(pieces))


def _read_part(r: _Reader) -> Part:
    handle, number, zstd, offset, total = _DATA.unpack(r.take(_DATA.size))
    body = r.rest()
    if number >= MOST_PIECES or zstd > 1 or total > CHUNK or not body or offset + len(body) > total:
        raise ValueError("no such part")
    return Part(handle, number, bool(zstd), offset, total, body)


def _read_blob(r: _Reader) -> Blob:
    handle, document, offset, total = _BLOB.unpack(r.take(_BLOB.size))
    body = r.rest()
    if total > LONGEST_BLOB or offset + len(body) > total:
        raise ValueError("no such document")
    return Blob(handle, Document(document), offset, total, body)


_READERS: Final[dict[int, Callable[[_Reader], Frame]]] = {
    1: _read_hello,
    2: lambda r: Open(r.handle(), bytes(r.take(32)), r.long()),
    3: lambda r: Close(r.handle()),
    4: _read_want,
    5: lambda r: Cancel(r.handle(), r.numbers()),
    6: lambda r: Get(r.handle(), Document(r.unsigned(1)), bool(r.flag())),
    7: _read_have,
    8: lambda r: More(r.handle(), r.numbers()),
    9: lambda r: Coming(r.handle(), r.numbers()),
    10: lambda r: Missing(r.handle(), Reason(r.unsigned(1)), r.numbers()),
    11: _read_unknown,
    12: _read_bundle,
    13: _read_part,
    14: _read_blob,
    15: lambda r: Ping(r.unsigned(8)),
    16: lambda r: Pong(r.unsigned(8)),
    17: lambda r: Enrol(r.text(), r.text(), r.long()),
    18: lambda r: Enrolled(r.long(), r.long()),
    19: lambda r: Refused(r.long().decode()),
    20: lambda r: Revoked(r.long()),
}
