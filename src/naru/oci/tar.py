"""A reader of tar streams that trusts nothing.

The standard library's tarfile serves trusted archives: it reads extended headers of any size into memory and
follows them wherever they lead. This reader takes ustar, GNU long names and pax paths and sizes (POSIX.1-2017, pax,
"ustar Interchange Format"), bounds every header, touches no file system, and refuses the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from naru.domain.errors import Invalid
from naru.oci.compression import CHUNK, Readable

MAX_PATH: Final = 1024
_BLOCK: Final = 512
_MAX_HEADER: Final = 64 * 1024
_MAX_SIZE: Final = 1 << 50
_MEND: Final = "save the image again with docker save"


class Kind(Enum):
    """What a member is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symbolic link"
    OTHER = "hard link, device or another special file"


_KINDS: Final = {b"0": Kind.FILE, b"\0": Kind.FILE, b"7": Kind.FILE, b"5": Kind.DIRECTORY, b"2": Kind.SYMLINK}


@dataclass(frozen=True, slots=True)
class Member:
    """One entry: its path as written, the target of a link, and the size of a file in bytes."""

    path: str
    kind: Kind
    size: int
    target: str = ""


class TarStream:
    """Yields the members of a tar stream in order. The content of a file is read before the next member."""

    def __init__(self, source: Readable, *, max_members: int) -> None:
        self._source = source
        self._max_members = max_members
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        """Yield every member; raise Invalid at whatever is broken, endless or cut off."""
        count = 0
        extended: dict[str, str] = {}
        while (header := self._header()) is not None:
            count += 1
            if count > self._max_members:
                raise Invalid(f"the archive has more than {self._max_members} members", "save fewer images at once")
            kind = header[156:157]
            size = _number(header[124:136])
            if kind in (b"x", b"g", b"L", b"K"):
                text = self._text(size)
                if kind == b"x":
                    extended |= _pax(text)
                elif kind != b"g":
                    extended["path" if kind == b"L" else "linkpath"] = _decoded(text.rstrip(b"\0"))
                continue
            member = _member(header, kind, size, extended)
            extended = {}
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
        block = self._exactly(_BLOCK)
        if block.count(0) == _BLOCK:
            return None
        checksum = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
        if _number(block[148:156]) != checksum:
            raise Invalid("this is no tar archive, or a damaged one", _MEND)
        return block

    def _text(self, size: int) -> bytes:
        if size > _MAX_HEADER:
            raise Invalid(f"the archive has a header of {size} bytes", _MEND)
        text = self._exactly(size)
        self._exactly(-size % _BLOCK)
        return text

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            chunk = self._source.read(size - len(parts))
            if not chunk:
                raise _cut_off()
            parts += chunk
        return bytes(parts)


def _member(header: bytes, kind: bytes, size: int, extended: dict[str, str]) -> Member:
    # Where a long name follows, the short field holds its beginning, cut anywhere: it is not even looked at.
    path = extended["path"] if "path" in extended else _short_path(header)
    target = extended["linkpath"] if "linkpath" in extended else _field(header[157:257])
    if (named := extended.get("size")) is not None:
        if not (named.isascii() and named.isdecimal() and len(named) <= 16):
            raise Invalid(f"the archive's member {path!r:.80} has no proper size", _MEND)
        size = int(named)
    if size > _MAX_SIZE or len(path) > MAX_PATH or len(target) > MAX_PATH:
        raise Invalid(f"the archive's member {path!r:.80} is beyond all bounds", _MEND)
    if any(name.startswith("GNU.sparse") for name in extended):
        return Member(path, Kind.OTHER, 0)
    known = _KINDS.get(kind, Kind.OTHER)
    if known is Kind.FILE and path.endswith("/"):
        known = Kind.DIRECTORY
    if known in (Kind.DIRECTORY, Kind.SYMLINK) and size:
        raise Invalid(f"the archive's member {path!r:.80} is no file but has content", _MEND)
    return Member(path, known, size, target)


def _short_path(header: bytes) -> str:
    path = _field(header[0:100])
    prefix = _field(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}/{path}" if prefix else path


def _pax(text: bytes) -> dict[str, str]:
    """Read pax records, each `LENGTH NAME=VALUE` and a line feed, LENGTH in decimal and counting the whole record."""
    records: dict[str, str] = {}
    while text:
        digits, space, _ = text[:12].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        record = text[len(digits) + 1 : length]
        name, equals, value = record[:-1].partition(b"=")
        if length <= len(digits) + 1 or length > len(text) or not equals or record[-1:] != b"\n":
            raise Invalid("the archive has a damaged extended header", _MEND)
        if name in (b"path", b"linkpath", b"size") or name.startswith(b"GNU.sparse"):
            records[_decoded(name)] = _decoded(value)
        text = text[length:]
    return records


def _number(field: bytes) -> int:
    """Read an octal number, or a base-256 one (GNU) that is not negative."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not digits:
        return 0
    if not digits.isdigit() or max(digits) > ord("7"):
        raise Invalid("this is no tar archive, or a damaged one", _MEND)
    return int(digits, 8)


def _field(field: bytes) -> str:
    return _decoded(field.partition(b"\0")[0])


def _decoded(text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid("the archive has a name that is no UTF-8", _MEND) from error


def _cut_off() -> Invalid:
    return Invalid("the archive is cut off", "save and send the image again")
