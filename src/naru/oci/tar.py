"""A reader of tar streams that trusts nothing.

The standard library's tarfile serves trusted archives: it reads extended headers of any size into memory and
follows them wherever they lead. This reader takes ustar, GNU long names and pax records (POSIX.1-2017, pax, "ustar
Interchange Format"), bounds every header, touches no file system, and refuses the rest.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Final

from naru.domain.errors import Invalid
from naru.oci.compression import CHUNK, Readable

_BLOCK: Final = 512
_MAX_HEADER: Final = 64 * 1024
_MAX_SIZE: Final = 1 << 50
_MAX_EXTENDED: Final = 8
_MEND: Final = "save the image again with docker save"
_SECONDS: Final = re.compile(rb"-?[0-9]{1,12}(\.[0-9]{0,20})?")
_XATTR: Final = b"SCHILY.xattr."


class Kind(Enum):
    """What a member is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symbolic link"
    HARD_LINK = "hard link"
    CHARACTER = "character device"
    BLOCK = "block device"
    FIFO = "special file, a fifo"
    OTHER = "sparse or special file"


_KINDS: Final = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"1": Kind.HARD_LINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
    b"7": Kind.FILE,
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between archives: bounds of names in bytes, how names that are no UTF-8 are taken, and whether an
    archive may end without its mark because its digest is known."""

    max_path: int
    names: str
    needs_mark: bool


ARCHIVE: Final = Dialect(max_path=1024, names="strict", needs_mark=True)
"""An archive of unknown origin: names are UTF-8."""
LAYER: Final = Dialect(max_path=4096, names="surrogateescape", needs_mark=False)
"""A layer of an image, whose digest is known: names are any bytes, to be had back by os.fsencode."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a member says of its file besides content. `mtime` is in nanoseconds, `xattrs` are sorted by name."""

    mode: int
    uid: int
    gid: int
    mtime: int
    device: tuple[int, int]
    xattrs: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One entry: its path as written, the target of a link, and the size of a file in bytes."""

    path: str
    kind: Kind
    size: int
    target: str = ""
    header: bytes = field(default=b"", repr=False)
    extended: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)

    @property
    def attributes(self) -> Attributes:
        """Read the rest of the header; raise Invalid where it is damaged."""
        header, extended = self.header, self.extended
        return Attributes(
            mode=_number(header[100:108]) & 0o7777,
            uid=_decimal(extended[b"uid"]) if b"uid" in extended else _number(header[108:116]),
            gid=_decimal(extended[b"gid"]) if b"gid" in extended else _number(header[116:124]),
            mtime=_nanoseconds(extended[b"mtime"]) if b"mtime" in extended else _number(header[136:148]) * 10**9,
            device=(_number(header[329:337]), _number(header[337:345]))
            if self.kind in (Kind.CHARACTER, Kind.BLOCK)
            else (0, 0),
            xattrs=tuple(sorted((name[len(_XATTR) :], extended[name]) for name in extended if name.startswith(_XATTR))),
        )


class TarStream:
    """Yields the members of a tar stream in order. The content of a file is read before the next member."""

    def __init__(self, source: Readable, *, max_members: int, dialect: Dialect = ARCHIVE) -> None:
        self._source = source
        self._max_members = max_members
        self._dialect = dialect
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        """Yield every member; raise Invalid at whatever is broken, endless or cut off."""
        count = before = 0
        extended: dict[bytes, bytes] = {}
        while (header := self._header()) is not None:
            count += 1
            if count > self._max_members:
                raise Invalid(f"the archive has more than {self._max_members} members", "save fewer images at once")
            kind = header[156:157]
            size = _number(header[124:136])
            if kind in (b"x", b"g", b"L", b"K"):
                before += 1
                text = self._text(size)
                if before > _MAX_EXTENDED:
                    raise Invalid("the archive has too many extended headers in a row", _MEND)
                if kind == b"x":
                    extended |= _pax(text)
                elif kind != b"g":
                    extended[b"path" if kind == b"L" else b"linkpath"] = text.rstrip(b"\0")
                continue
            member = _member(header, kind, size, extended, self._dialect)
            extended, before = {}, 0
            self._left = member.size if member.kind is Kind.FILE else 0
            self._padding = -self._left % _BLOCK
            yield member
            for _ in self.content():
                pass
            self._exactly(self._padding)

    def content(self) -> Iterator[bytes]:
        """Yield what is left of the current file."""
        while self._left:
            chunk = self._source.read(min(self._left, CHUNK))
            if not chunk:
                raise _cut_off()
            self._left -= len(chunk)
            yield chunk

    def _header(self) -> bytes | None:
        """Return the next header, None at the end of the archive. An end without its mark is a cut-off archive."""
        block = self._exactly(_BLOCK, self._dialect.needs_mark)
        if block.count(0) == len(block):
            return None
        checksum = sum(block) - sum(block[148:156]) + 8 * ord(" ")
        if _number(block[148:156]) != checksum:
            raise Invalid("this is no tar archive, or a damaged one", _MEND)
        return block

    def _text(self, size: int) -> bytes:
        if size > _MAX_HEADER:
            raise Invalid(f"the archive has a header of {size} bytes", _MEND)
        text = self._exactly(size)
        self._exactly(-size % _BLOCK)
        return text

    def _exactly(self, size: int, needed: bool = True) -> bytes:
        """Read `size` bytes; nothing, unless it is `needed`, where the source ends just here."""
        if len(chunk := self._source.read(size)) == size:
            return chunk
        parts = bytearray(chunk)
        while len(parts) < size and (parts or needed):
            chunk = self._source.read(size - len(parts))
            if not chunk:
                raise _cut_off()
            parts += chunk
        return bytes(parts)


def _member(header: bytes, kind: bytes, size: int, extended: Mapping[bytes, bytes], dialect: Dialect) -> Member:
    # Where a long name follows, the short field holds its beginning, cut anywhere: it is not even looked at.
    written = extended[b"path"] if b"path" in extended else _short_path(header)
    linked = extended[b"linkpath"] if b"linkpath" in extended else _field(header[157:257])
    path, target = _decoded(written, dialect.names), _decoded(linked, dialect.names)
    if b"size" in extended:
        size = _decimal(extended[b"size"])
    if size > _MAX_SIZE or len(written) > dialect.max_path or len(linked) > dialect.max_path:
        raise Invalid(f"the archive's member {path!r:.80} is beyond all bounds", _MEND)
    if extended and any(name.startswith(b"GNU.sparse") for name in extended):
        return Member(path, Kind.OTHER, 0)
    known = _KINDS.get(kind, Kind.OTHER)
    if known is Kind.FILE and path.endswith("/"):
        known = Kind.DIRECTORY
    if known in (Kind.DIRECTORY, Kind.SYMLINK) and size:
        raise Invalid(f"the archive's member {path!r:.80} is no file but has content", _MEND)
    return Member(path, known, size, target, header, extended)


def _short_path(header: bytes) -> bytes:
    path = _field(header[0:100])
    prefix = _field(header[345:500]) if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + path if prefix else path


def _pax(text: bytes) -> dict[bytes, bytes]:
    """Read pax records, each `LENGTH NAME=VALUE` and a line feed, LENGTH in decimal and counting the whole record."""
    records: dict[bytes, bytes] = {}
    while text:
        digits, space, _ = text[:12].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        record = text[len(digits) + 1 : length]
        name, equals, value = record[:-1].partition(b"=")
        if length <= len(digits) + 1 or length > len(text) or not equals or record[-1:] != b"\n":
            raise Invalid("the archive has a damaged extended header", _MEND)
        records[name] = value
        text = text[length:]
    return records


def _number(field: bytes) -> int:
    """Read an octal number, or a base-256 one (GNU) that is not negative."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    try:
        if digits.isdigit():
            return int(digits, 8)
    except ValueError:
        pass
    raise Invalid("this is no tar archive, or a damaged one", _MEND)


def _decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 16:
        raise Invalid("the archive has an extended header whose number is none", _MEND)
    return int(digits)


def _nanoseconds(seconds: bytes) -> int:
    """Read a time as pax writes it: decimal seconds, maybe with a fraction, maybe before 1970."""
    if not _SECONDS.fullmatch(seconds):
        raise Invalid("the archive has an extended header whose time is none", _MEND)
    return int(Decimal(seconds.decode()) * 10**9)


def _field(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _decoded(text: bytes, errors: str) -> str:
    try:
        return text.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise Invalid("the archive has a name that is no UTF-8", _MEND) from error


def _cut_off() -> Invalid:
    return Invalid("the archive is cut off", "save and send the image again")
