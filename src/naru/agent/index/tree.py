"""The layers of an image merged into one tree: what a container sees as its root.

The rules are those of the OCI image-spec 1.1 (layer.md) and, where it is silent, what containerd makes of a layer:
names are cleaned, parents are followed through symbolic links but never out of the root, parents that are missing are
made, an entry replaces an earlier one, and whiteouts hide what lower layers have, wherever they stand in their own.
What no honest image holds is refused: names that lead out, sparse files, links to nothing, numbers beyond the kernel's.
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NoReturn

from naru.domain.errors import Invalid
from naru.oci.tar import Attributes, Kind, Member

MAX_ENTRIES: Final = 1 << 19
"""Entries of all layers of an image together; an image with more is refused."""

_MAX_NAME: Final = 255
_MAX_TARGET: Final = 4095
_MAX_DEPTH: Final = 1024
_MAX_FOLLOWED: Final = 255
_MAX_XATTRS: Final = 64 * 1024
_MAX_METADATA: Final = 64 << 20
_MAX_ID: Final = (1 << 32) - 2
_WHITEOUT: Final = b".wh."
_RESERVED: Final = b".wh..wh."
_OPAQUE: Final = b".wh..wh..opq"
_OVERLAY: Final = b"trusted.overlay."
_KEPT: Final = re.compile(rb"(user|trusted|security)\.[^\0]+|system\.posix_acl_(access|default)")
_TYPES: Final = {
    Kind.FILE: stat.S_IFREG,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.CHARACTER: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
    Kind.FIFO: stat.S_IFIFO,
}

Xattrs = tuple[tuple[bytes, bytes], ...]
Children = dict[bytes, "Entry"]


@dataclass(slots=True, eq=False)
class Inode:
    """A file of any kind; several entries that name one inode are hard links.

    `mode` has the type too, `mtime` is in nanoseconds. A regular file has `size` bytes of content with the sha256
    `digest`, which is empty while they are not known and for an empty file; a symbolic link has a `target`.
    """

    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    xattrs: Xattrs = ()
    size: int = 0
    digest: bytes = b""
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    children: Children = field(default_factory=dict)

    @property
    def is_directory(self) -> bool:
        """Whether it can have children."""
        return stat.S_ISDIR(self.mode)


@dataclass(slots=True)
class Entry:
    """A name in a directory, and the layer that wrote it, counted from 1."""

    inode: Inode
    layer: int


class Tree:
    """Takes the members of an image's layers, lowest layer first; `root` is then what is left of them."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self.root = _implied()
        self._max_entries = max_entries
        self._entries = 0
        self._metadata = 0
        self._layer = 0
        self._latest: tuple[list[bytes], Inode] = ([], self.root)

    def begin_layer(self) -> None:
        """Count what follows as the next layer."""
        self._layer += 1
        self._latest = [], self.root

    def add(self, member: Member) -> Inode | None:
        """Merge a member in; raise Invalid when no honest layer could hold it.

        The inode of a regular file with content is returned, so that its digest can be set.
        """
        path = _parts(os.fsencode(member.path))
        xattrs = sum(len(name) + len(value) for name, value in member.extended.items()) if member.extended else 0
        self._count(len(member.path) + len(member.target) + xattrs)
        path = _cleaned(path, member)
        if not path:
            self._add_root(member)
            return None
        *above, name = path
        if len(name) > _MAX_NAME:
            _refuse(member, "has a name that no layer may use")
        if ".wh." in member.path:
            if any(part.startswith(_RESERVED) for part in path) and name != _OPAQUE:
                return None  # what AUFS kept for itself
            if any(part.startswith(_WHITEOUT) for part in above):
                _refuse(member, "has a name that no layer may use")
        # Members of one directory follow one another: most need no walk.
        if self._latest[0] != above:
            self._latest = above, self._directory(above, member)
        parent = self._latest[1]
        if name.startswith(_WHITEOUT):
            self._white_out(parent, name, member)
            return None
        if name in parent.children:
            self._latest = [], self.root
        return self._place(parent, name, member)

    def _place(self, parent: Inode, name: bytes, member: Member) -> Inode | None:
        if member.kind is Kind.HARD_LINK:
            parent.children[name] = Entry(self._linked(member), self._layer)
            return None
        if member.kind is Kind.OTHER:
            _refuse(member, "is sparse, or of a kind that layers do not have")
        inode = _inode(member)
        if member.kind is Kind.CHARACTER and inode.device == (0, 0):
            parent.children.pop(name, None)  # to overlayfs this is a whiteout, in whatever layer it stands
            return None
        before = parent.children.get(name)
        if before is not None and before.inode.is_directory and inode.is_directory:
            inode.children = before.inode.children
        parent.children[name] = Entry(inode, self._layer)
        return inode if inode.size else None

    def _add_root(self, member: Member) -> None:
        if member.kind is not Kind.DIRECTORY:
            _refuse(member, "replaces the root")
        inode = _inode(member)
        inode.children = self.root.children
        self.root = inode
        self._latest = [], inode

    def _directory(self, path: list[bytes], member: Member) -> Inode:
        """Return the directory at `path`, through symbolic links that stay inside the root, made where it is not."""
        at, above = self.root, list[Inode]()
        todo, followed = path[::-1], 0
        while todo:
            name = todo.pop()
            if name == b"..":
                at = above.pop() if above else at
                continue
            entry = at.children.get(name)
            if entry is None:
                if len(name) > _MAX_NAME:
                    _refuse(member, "has a name that no layer may use")
                self._count(len(name))
                entry = at.children[name] = Entry(_implied(), self._layer)
            if stat.S_ISLNK(entry.inode.mode):
                followed += 1
                if followed > _MAX_FOLLOWED:
                    _refuse(member, "lies below a symbolic link that leads to itself")
                if entry.inode.target.startswith(b"/"):
                    at, above = self.root, []
                todo += _parts(entry.inode.target)[::-1]
                continue
            if not entry.inode.is_directory:
                _refuse(member, "lies below something that is no directory")
            above.append(at)
            if len(above) > _MAX_DEPTH:
                _refuse(member, "lies too deep")
            at = entry.inode
        return at

    def _linked(self, member: Member) -> Inode:
        path = _cleaned(_parts(os.fsencode(member.target)), member)
        if path:
            *above, name = path
            entry = self._directory(above, member).children.get(name)
            if entry is not None and not entry.inode.is_directory:
                return entry.inode
        return _refuse(member, f"is a hard link to {member.target!r:.100}, which is no file of the image")

    def _white_out(self, parent: Inode, name: bytes, member: Member) -> None:
        self._latest = [], self.root
        if name == _OPAQUE:
            self._hide_children(parent)
            return
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in (b"", b".", b".."):
            _refuse(member, "hides what is no name")
        entry = parent.children.get(hidden)
        if entry is not None:
            self._hide(parent.children, hidden, entry)

    def _hide(self, siblings: Children, name: bytes, entry: Entry) -> None:
        """Take away what lower layers have there; what this layer itself wrote, before or after, stays."""
        if entry.inode.is_directory:
            self._hide_children(entry.inode)
            if entry.layer < self._layer and entry.inode.children:
                siblings[name] = Entry(_implied(entry.inode.children), self._layer)
                return
        if entry.layer < self._layer:
            del siblings[name]

    def _hide_children(self, directory: Inode) -> None:
        """Do so for everything below, deepest first: a layer's own files keep the directories that they are in."""
        found = [directory]
        for inode in found:
            found += [entry.inode for entry in inode.children.values() if entry.inode.is_directory]
        for inode in reversed(found):
            for name, entry in list(inode.children.items()):
                if entry.layer == self._layer:
                    continue
                if entry.inode.is_directory and entry.inode.children:
                    inode.children[name] = Entry(_implied(entry.inode.children), self._layer)
                else:
                    del inode.children[name]

    def _count(self, size: int) -> None:
        """Bound what an image can make us remember: entries, and bytes of names and attributes."""
        self._entries += 1
        self._metadata += size
        if self._entries > self._max_entries:
            raise Invalid(f"the image has more than {self._max_entries} entries", "build it with fewer files")
        if self._metadata > _MAX_METADATA:
            raise Invalid(f"the image has more than {_MAX_METADATA} bytes of names", "build it with shorter ones")


def walk(root: Inode) -> Iterator[tuple[bytes, Inode]]:
    """Yield the path of every entry, without a slash before it, and its inode; a directory before what is in it."""
    todo = [(b"", root)]
    while todo:
        path, inode = todo.pop()
        yield path, inode
        below = sorted(inode.children.items(), reverse=True)
        todo += [(path + b"/" + name if path else name, entry.inode) for name, entry in below]


def _inode(member: Member) -> Inode:
    attributes = member.attributes
    target = os.fsencode(member.target) if member.kind is Kind.SYMLINK else b""
    major, minor = attributes.device
    if max(attributes.uid, attributes.gid) > _MAX_ID or major >= 1 << 12 or minor >= 1 << 20:
        _refuse(member, "has an owner or a device beyond the kernel's numbers")
    if member.kind is Kind.SYMLINK and (not target or len(target) > _MAX_TARGET or b"\0" in target):
        _refuse(member, "is a symbolic link without a proper target")
    return Inode(
        mode=_TYPES[member.kind] | (0o777 if member.kind is Kind.SYMLINK else attributes.mode),
        uid=attributes.uid,
        gid=attributes.gid,
        mtime=attributes.mtime,
        xattrs=_xattrs(attributes, member),
        size=member.size if member.kind is Kind.FILE else 0,
        target=target,
        device=attributes.device,
    )


def _xattrs(attributes: Attributes, member: Member) -> Xattrs:
    """Keep what a file system keeps. overlayfs's own attributes would be orders to it: it hides them from containers,
    and so do we."""
    kept = tuple(
        (name, value) for name, value in attributes.xattrs if _KEPT.fullmatch(name) and not name.startswith(_OVERLAY)
    )
    total = sum(len(name) + len(value) + 8 for name, value in kept)
    if total > _MAX_XATTRS or any(len(name) > _MAX_NAME for name, _ in kept):
        _refuse(member, "has extended attributes beyond the kernel's bounds")
    return kept


def _implied(children: Children | None = None) -> Inode:
    """A directory that entries stand in and no layer describes: as containerd makes it, but always of the same time."""
    return Inode(mode=stat.S_IFDIR | 0o755, children=children if children is not None else {})


def _parts(path: bytes) -> list[bytes]:
    return [part for part in path.split(b"/") if part not in (b"", b".")]


def _cleaned(path: list[bytes], member: Member) -> list[bytes]:
    """Take `..` out of a path; raise Invalid where it leads out of the root."""
    cleaned: list[bytes] = []
    for part in path:
        if part != b"..":
            cleaned.append(part)
        elif not cleaned:
            _refuse(member, "leads out of the image")
        else:
            cleaned.pop()
        if b"\0" in part:
            _refuse(member, "has a name that no layer may use")
    return cleaned


def _refuse(member: Member, why: str) -> NoReturn:
    raise Invalid(f"the layer's {member.path!r:.100} {why}", "do not trust where it comes from, or build it again")
