"""A tree as an EROFS image without content: the metadata that a lazy root file system mounts.

On-disk format: the kernel's fs/erofs/erofs_fs.h and the EROFS project's "Core on-disk format". The same tree gives
the same bytes. A regular file with content is one chunk that is a hole; the attributes trusted.overlay.metacopy and
trusted.overlay.redirect tell overlayfs that its content is the object `/ab/cdef…` of a data-only lower
(Documentation/filesystems/overlayfs.rst, "Data-only lower layers"). Mounted alone, such files read as zeros: mount
it only below overlayfs.

Order in the image: superblock, root, shared attributes, all other inodes by path, blocks of directories.
"""

import hashlib
import stat
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from naru.agent.index.index import MAX_SIZE, object_path
from naru.agent.index.tree import Inode, walk
from naru.domain.errors import Invalid

_BLOCK_BITS: Final = 12
_BLOCK: Final = 1 << _BLOCK_BITS
_SLOT: Final = 32
_SUPER_OFFSET: Final = 1024
_SUPER: Final = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBIQB23x")
_COMPACT: Final = struct.Struct("<HHHHIIIIHHI")
_EXTENDED: Final = struct.Struct("<HHHHQIIIIQII16x")
_XATTR_HEADER: Final = struct.Struct("<IB7x")
_XATTR: Final = struct.Struct("<BBH")
_DIRENT: Final = struct.Struct("<QHBB")
_MAGIC: Final = 0xE0F5E1E2
_COMPAT_MTIME: Final = 0x2
_INCOMPAT_CHUNKED: Final = 0x4
_PLAIN, _INLINE, _CHUNKED = 0, 2, 4
_HOLE: Final = 0xFFFFFFFF
_MAX_SHARED: Final = 255
_MAX_META: Final = 256 << 20

_METACOPY: Final = b"trusted.overlay.metacopy"
_REDIRECT: Final = b"trusted.overlay.redirect"
_PREFIXES: Final = (
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
)
_FILE_TYPES: Final = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFLNK: 7,
}

Xattr = tuple[bytes, bytes]


@dataclass(slots=True)
class _Placed:
    """An inode with its place: `head` bytes at `offset`, then a tail; whole blocks from `block` on."""

    inode: Inode
    links: int
    extended: bool
    parent: "_Placed | None" = None
    shared: tuple[Xattr, ...] = ()
    own: bytes = b""
    head: int = 0
    offset: int = 0
    size: int = 0
    layout: int = _PLAIN
    tail: int = 0
    blocks: int = 0
    block: int = 0

    @property
    def nid(self) -> int:
        return self.offset // _SLOT


def erofs_image(root: Inode) -> bytes:
    """Write the tree; every regular file with content must have its digest. Raise Invalid when it is too large."""
    placed = _inodes(root)
    time = _commonest_time(placed.values())
    counts = Counter(pair for entry in placed.values() for pair in _attributes(entry.inode) if pair[0] != _REDIRECT)
    shared: dict[Xattr, int] = {}
    for entry in placed.values():
        entry.extended = _needs_extended(entry, time)
        _divide(entry, _attributes(entry.inode), counts, shared)
    inodes = list(placed.values())
    end = _lay_out(inodes, shared)
    image = bytearray(end)
    for pair, offset in shared.items():
        entry_bytes = _xattr(pair)
        image[offset : offset + len(entry_bytes)] = entry_bytes
    for entry in inodes:
        _write(image, entry, placed, shared)
    _SUPER.pack_into(image, _SUPER_OFFSET, *_superblock(inodes, time, end // _BLOCK, bytes(16)))
    # The image's name for itself follows from all of it, so that equal images have equal names and others do not.
    uuid = hashlib.sha256(image).digest()[:16]
    _SUPER.pack_into(image, _SUPER_OFFSET, *_superblock(inodes, time, end // _BLOCK, uuid))
    return bytes(image)


def _inodes(root: Inode) -> dict[int, _Placed]:
    """List every inode once, in the order of paths, with its links and, for a directory, its parent."""
    placed: dict[int, _Placed] = {}
    for _, inode in walk(root):
        known = placed.get(id(inode))
        if known is not None:
            known.links += 1
            continue
        below = sum(entry.inode.is_directory for entry in inode.children.values())
        links = 2 + below if inode.is_directory else 1
        placed[id(inode)] = _Placed(inode, links, True)
    for entry in placed.values():
        for child in entry.inode.children.values():
            if child.inode.is_directory:
                placed[id(child.inode)].parent = entry
    return placed


def _commonest_time(placed: Iterable[_Placed]) -> int:
    """Choose the time that compact inodes have: the image's own."""
    times = Counter(entry.inode.mtime for entry in placed)
    return min(times, key=lambda time: (-times[time], time))


def _needs_extended(entry: _Placed, time: int) -> bool:
    inode = entry.inode
    return inode.mtime != time or max(inode.uid, inode.gid, entry.links) > 0xFFFF or inode.size > 0xFFFFFFFF


def _attributes(inode: Inode) -> list[Xattr]:
    pairs = list(inode.xattrs)
    if inode.size:
        if len(inode.digest) != 32 or inode.size > MAX_SIZE:
            raise Invalid(f"a file of {inode.size} bytes has no object", "derive the index again")
        pairs.append((_METACOPY, b""))
        pairs.append((_REDIRECT, object_path(inode.digest).encode()))
    return sorted(pairs)


def _divide(entry: _Placed, pairs: list[Xattr], counts: Counter[Xattr], shared: dict[Xattr, int]) -> None:
    """Say which attributes an inode keeps itself, and which it shares with others; give it its lengths.

    Redirects are hardly ever equal, so they are not even counted.
    """
    entry.shared = tuple(pair for pair in pairs if counts[pair] > 1)[:_MAX_SHARED]
    shared.update(dict.fromkeys(entry.shared, 0))
    entry.own = b"".join(_xattr(pair) for pair in pairs if pair not in entry.shared)
    entry.head = _EXTENDED.size if entry.extended else _COMPACT.size
    if pairs:
        entry.head += _XATTR_HEADER.size + 4 * len(entry.shared) + len(entry.own)
    inode = entry.inode
    entry.size = inode.size
    if inode.is_directory:
        entry.size = _directory_size(_names(inode))
    elif inode.target:
        entry.size = len(inode.target)
    if inode.size:
        entry.layout, entry.tail = _CHUNKED, 4
    elif entry.size:
        entry.layout, entry.blocks, entry.tail = _INLINE, entry.size // _BLOCK, entry.size % _BLOCK


def _lay_out(inodes: list[_Placed], shared: dict[Xattr, int]) -> int:
    """Give everything its place; return the length of the image, whole blocks."""
    root, *others = inodes
    at = _aligned(_placed(root, _SUPER_OFFSET + _SUPER.size), 4)  # inodes name shared attributes by their fourth byte
    for pair in shared:
        shared[pair] = at
        at += len(_xattr(pair))
    for entry in others:
        at = _placed(entry, at)
    block = -(-at // _BLOCK)
    for entry in inodes:
        if entry.blocks:
            entry.block, block = block, block + entry.blocks
    if block * _BLOCK > _MAX_META:
        raise Invalid(f"the image's metadata has more than {_MAX_META} bytes", "build it with fewer files")
    return block * _BLOCK


def _placed(entry: _Placed, at: int) -> int:
    """Place an inode at or after `at` and return where it ends. A tail must not cross the border of a block."""
    start = _aligned(at, _SLOT)
    if entry.layout == _INLINE and entry.tail:
        slots = range(start, start + _BLOCK, _SLOT)
        fitting = (slot for slot in slots if (slot + entry.head) % _BLOCK + entry.tail <= _BLOCK)
        found = next(fitting, None)
        if found is None:
            entry.blocks, entry.tail = entry.blocks + 1, 0
        else:
            start = found
    if entry.layout == _INLINE and not entry.tail:
        entry.layout = _PLAIN
    entry.offset = start
    return start + entry.head + entry.tail


def _write(image: bytearray, entry: _Placed, placed: dict[int, _Placed], shared: dict[Xattr, int]) -> None:
    """Write an inode and what belongs to it. i_ino stays 0: the kernel takes numbers from places."""
    inode, at = entry.inode, entry.offset
    count = 1 + len(entry.shared) + len(entry.own) // 4 if entry.shared or entry.own else 0
    form = entry.layout << 1 | entry.extended
    union = _union(entry)
    if entry.extended:
        seconds, nanoseconds = divmod(inode.mtime, 10**9)
        _EXTENDED.pack_into(
            image, at, form, count, inode.mode, 0, entry.size, union, 0,
            inode.uid, inode.gid, seconds & 0xFFFFFFFFFFFFFFFF, nanoseconds, entry.links,
        )  # fmt: skip
        at += _EXTENDED.size
    else:
        _COMPACT.pack_into(
            image, at, form, count, inode.mode, entry.links, entry.size, 0, union, 0,
            inode.uid, inode.gid, 0,
        )  # fmt: skip
        at += _COMPACT.size
    if count:
        _XATTR_HEADER.pack_into(image, at, 0, len(entry.shared))
        at += _XATTR_HEADER.size
        struct.pack_into(f"<{len(entry.shared)}I", image, at, *(shared[pair] // 4 for pair in entry.shared))
        at += 4 * len(entry.shared)
        image[at : at + len(entry.own)] = entry.own
        at += len(entry.own)
    if entry.layout == _CHUNKED:
        struct.pack_into("<I", image, at, _HOLE)
        return
    content = _directory(entry, placed) if inode.is_directory else inode.target
    whole = entry.blocks * _BLOCK
    start = entry.block * _BLOCK
    image[start : start + min(whole, len(content))] = content[:whole]
    image[at : at + entry.tail] = content[whole:]


def _union(entry: _Placed) -> int:
    """The field whose meaning the kind of file decides."""
    if entry.layout == _CHUNKED:
        return max(0, (entry.size - 1).bit_length() - _BLOCK_BITS)
    if stat.S_ISCHR(entry.inode.mode) or stat.S_ISBLK(entry.inode.mode):
        major, minor = entry.inode.device
        return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
    return entry.block


def _superblock(inodes: list[_Placed], time: int, blocks: int, uuid: bytes) -> tuple[object, ...]:
    seconds, nanoseconds = divmod(time, 10**9)
    return (
        _MAGIC, 0, _COMPAT_MTIME, _BLOCK_BITS, 0, inodes[0].nid, len(inodes), seconds & 0xFFFFFFFFFFFFFFFF,
        nanoseconds, blocks, 0, 0, uuid, b"", _INCOMPAT_CHUNKED, 0, 0, 0, 0, 0, 0, 0, 0,
    )  # fmt: skip


def _xattr(pair: Xattr) -> bytes:
    name, value = pair
    index, prefix = next((index, prefix) for index, prefix in _PREFIXES if name.startswith(prefix))
    entry = _XATTR.pack(len(name) - len(prefix), index, len(value)) + name[len(prefix) :] + value
    return entry.ljust(_aligned(len(entry), 4), b"\0")


def _names(directory: Inode) -> list[bytes]:
    return sorted([b".", b"..", *directory.children])


def _directory_blocks(names: list[bytes]) -> list[list[bytes]]:
    """Fill one block of a directory after the other."""
    blocks: list[list[bytes]] = [[]]
    used = 0
    for name in names:
        need = _DIRENT.size + len(name)
        if used + need > _BLOCK:
            blocks.append([])
            used = 0
        blocks[-1].append(name)
        used += need
    return blocks


def _directory_size(names: list[bytes]) -> int:
    *_, last = blocks = _directory_blocks(names)
    return (len(blocks) - 1) * _BLOCK + sum(_DIRENT.size + len(name) for name in last)


def _directory(entry: _Placed, placed: dict[int, _Placed]) -> bytes:
    children = {name: placed[id(child.inode)] for name, child in entry.inode.children.items()}
    children |= {b".": entry, b"..": entry.parent or entry}
    written = []
    for names in _directory_blocks(_names(entry.inode)):
        place = _DIRENT.size * len(names)
        dirents = []
        for name in names:
            child = children[name]
            dirents.append(_DIRENT.pack(child.nid, place, _FILE_TYPES[stat.S_IFMT(child.inode.mode)], 0))
            place += len(name)
        written.append(b"".join(dirents) + b"".join(names))
    return b"".join(block.ljust(_BLOCK, b"\0") for block in written[:-1]) + written[-1]


def _aligned(number: int, unit: int) -> int:
    return -(-number // unit) * unit
