"""The FUSE protocol as bytes: requests of the kernel parsed into values, answers to them encoded.

Only what a read-only tree needs, in the layout of include/uapi/linux/fuse.h, protocol 7.40 (passthrough; Linux 6.9).
Nothing here does input or output.
"""

import sys
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from struct import Struct

from naru.domain.errors import Invalid

MAJOR, MINOR = 7, 40
ROOT = 1
"""The node of the tree's root."""
BUFFER = 1 << 16
"""Bytes offered for one request. The kernel asks for 8 KiB at least; long FORGET batches fill the rest."""
FOREVER = 1 << 40
"""Seconds that names and attributes stay true: an object never changes."""


class Opcode(IntEnum):
    """The requests that a read-only tree sees; any other gets ENOSYS."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    OPEN = 14
    READ = 15
    STATFS = 17
    RELEASE = 18
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42


class Feature(IntFlag):
    """What kernel and server agree on in INIT."""

    ASYNC_READ = 1 << 0
    PARALLEL_DIROPS = 1 << 18
    MAX_PAGES = 1 << 22
    EXTENDED = 1 << 30
    PASSTHROUGH = 1 << 37
    HAS_RESEND = 1 << 39


class OpenFlag(IntFlag):
    """How the kernel treats an open file."""

    KEEP_CACHE = 1 << 1
    NOFLUSH = 1 << 5
    PASSTHROUGH = 1 << 7


@dataclass(frozen=True, slots=True)
class Header:
    """What every request carries: its number, the node it is about, and the thread that waits (0 when unknown)."""

    opcode: int
    unique: int
    node: int
    pid: int


@dataclass(frozen=True, slots=True)
class Init:
    """The kernel introduces itself."""

    major: int
    minor: int
    readahead: int
    features: int


@dataclass(frozen=True, slots=True)
class Lookup:
    """Which node is `name` in the directory of the header?"""

    name: bytes


@dataclass(frozen=True, slots=True)
class Read:
    """`size` bytes from `offset`."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Somebody sent a signal to the one who waits for request `unique`."""

    unique: int


@dataclass(frozen=True, slots=True)
class Plain:
    """A request whose header says everything that we need."""


Body = Init | Lookup | Read | Interrupt | Plain

_HEADER = Struct("=IIQQIIIHH")
_INIT_IN = Struct("=IIII")
_READ_IN = Struct("=QQII")
_OUT = Struct("=IiQ")
_ATTR = Struct("=QQQQQQIIIIIIIIII")
_ENTRY_OUT = Struct("=QQQQII")
_ATTR_OUT = Struct("=QII")
_OPEN_OUT = Struct("=QIi")
_STATFS_OUT = Struct("=QQQQQIIII24x")
_INIT_OUT = Struct("=IIIIHHIIHHIIH22x")

_PLAIN = Plain()
HEADER_SIZE = _HEADER.size
OUT_SIZE = _OUT.size


def parse(message: bytes | memoryview) -> tuple[Header, Body]:
    """Read one request as the kernel hands it over; Invalid when it is none."""
    if len(message) < HEADER_SIZE:
        raise Invalid(f"a FUSE request has at least {HEADER_SIZE} bytes, not {len(message)}")
    length, opcode, unique, node, _uid, _gid, pid, extensions, _ = _HEADER.unpack_from(message)
    body = message[HEADER_SIZE : length - 8 * extensions]
    if length != len(message) or len(body) < _SHORTEST.get(opcode, 0):
        raise Invalid(f"FUSE request {opcode} says {length} bytes and has {len(message)}")
    return Header(opcode, unique, node, pid), _body(opcode, body)


def _body(opcode: int, body: bytes | memoryview) -> Body:
    match opcode:
        case Opcode.LOOKUP:
            return Lookup(bytes(body).rstrip(b"\0"))
        case Opcode.READ:
            _fh, offset, size, _flags = _READ_IN.unpack_from(body)
            return Read(offset, size)
        case Opcode.INTERRUPT:
            return Interrupt(int.from_bytes(body[:8], sys.byteorder))
        case Opcode.INIT:
            major, minor, readahead, low = _INIT_IN.unpack_from(body)
            high = int.from_bytes(body[16:20], sys.byteorder) if low & Feature.EXTENDED else 0
            return Init(major, minor, readahead, low | high << 32)
        case _:
            return _PLAIN


_SHORTEST = {Opcode.READ: _READ_IN.size, Opcode.INTERRUPT: 8, Opcode.INIT: 16}


def request(header: Header, body: Body = _PLAIN) -> bytes:
    """Encode a request as the kernel would: what a test sends to a server."""
    match body:
        case Lookup(name):
            content = name + b"\0"
        case Read(offset, size):
            content = _READ_IN.pack(0, offset, size, 0) + bytes(16)
        case Interrupt(unique):
            content = unique.to_bytes(8, sys.byteorder)
        case Init(major, minor, readahead, features):
            content = _INIT_IN.pack(major, minor, readahead, features & 0xFFFFFFFF)
            content += (features >> 32).to_bytes(4, sys.byteorder) + bytes(44)
        case Plain():
            content = b""
    length = HEADER_SIZE + len(content)
    return _HEADER.pack(length, header.opcode, header.unique, header.node, 0, 0, header.pid, 0, 0) + content


def answer(unique: int, body: bytes = b"") -> bytes:
    """Answer a request with what it asked for."""
    return _OUT.pack(_OUT.size + len(body), 0, unique) + body


def head(unique: int, length: int) -> bytes:
    """Return what goes before `length` bytes of content, for writing both without a copy."""
    return _OUT.pack(_OUT.size + length, 0, unique)


def refusal(unique: int, number: int) -> bytes:
    """Refuse a request with an errno."""
    return _OUT.pack(_OUT.size, -number, unique)


RESEND = _OUT.pack(_OUT.size, 7, 0)
"""Asks the kernel for all requests that a dead server had read and not answered (FUSE_NOTIFY_RESEND, Linux 6.9)."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """A node: a directory, or a file of `size` bytes. Only root sees it; overlayfs shows the image's own modes."""

    node: int
    size: int = 0
    directory: bool = False


def entry(found: Attributes) -> bytes:
    """The body that answers LOOKUP."""
    return _ENTRY_OUT.pack(found.node, 0, FOREVER, FOREVER, 0, 0) + _attr(found)


def attributes(found: Attributes) -> bytes:
    """The body that answers GETATTR."""
    return _ATTR_OUT.pack(FOREVER, 0, 0) + _attr(found)


def _attr(found: Attributes) -> bytes:
    mode, links = (0o040555, 2) if found.directory else (0o100444, 1)
    blocks = -(-found.size // 512)
    return _ATTR.pack(found.node, found.size, blocks, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0, 4096, 0)


def opened(flags: OpenFlag, backing: int = 0) -> bytes:
    """The body that answers OPEN; `backing` is the number of the file that the kernel reads instead of asking."""
    return _OPEN_OUT.pack(0, flags, backing)


def statistics(names: int) -> bytes:
    """The body that answers STATFS: a tree of `names` files that can hold no more."""
    return _STATFS_OUT.pack(0, 0, 0, names, 0, 4096, 255, 4096, 0)


WANTED = Feature.ASYNC_READ | Feature.PARALLEL_DIROPS | Feature.MAX_PAGES | Feature.HAS_RESEND


def agreed(offer: Init, *, passthrough: bool) -> Feature:
    """Decide which of the kernel's features to use."""
    wanted = WANTED | Feature.PASSTHROUGH if passthrough else WANTED
    return Feature(offer.features & (wanted | Feature.EXTENDED))


def welcome(offer: Init, features: Feature) -> bytes:
    """The body that answers INIT.

    256 pages (1 MiB) a read; up to 512 background reads at once. The stack depth of 1 admits backing files of plain
    file systems and still leaves room for one overlay above (the kernel allows two levels).
    """
    if offer.major != MAJOR:
        raise Invalid(f"the kernel speaks FUSE {offer.major}, not {MAJOR}", "run the agent on Linux 6.5 or later")
    depth = 1 if features & Feature.PASSTHROUGH else 0
    low, high = features & 0xFFFFFFFF, features >> 32
    minor = min(MINOR, offer.minor)
    return _INIT_OUT.pack(MAJOR, minor, 1 << 20, low, 512, 384, 4096, 1, 256, 0, high, depth, 0)
