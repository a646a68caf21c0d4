"""The one tree that the FUSE server shows: `/ab/cdef…`, every object of every index that was added.

Node numbers follow from the digests, so that a server that takes over from a dead one gives every node the same
meaning. They hold 63 bits of a digest: should two objects ever share a number, neither is served.
"""

import re
from array import array
from bisect import bisect_left
from dataclasses import dataclass

from naru.agent.index.index import Index
from naru.agent.mount.fuse import ROOT, Attributes

_FIRST_DIRECTORY = ROOT + 1
_FIRST_OBJECT = _FIRST_DIRECTORY + 256
_DIGEST = 32
_RECENT = 1024
"""Nodes that need no search through all images: a miss asks for the same node several times."""
_SHARD_NAME = re.compile(rb"[0-9a-f]{2}")
_OBJECT_NAME = re.compile(rb"[0-9a-f]{62}")


@dataclass(frozen=True, slots=True)
class Named:
    """An object that an index lists."""

    digest: bytes
    size: int


class Ambiguous(Exception):
    """Two objects share a node number, so neither can be told from the other."""


def node_of(digest: bytes) -> int:
    """Return the node number of an object; it rises with the digest."""
    return _FIRST_OBJECT + (int.from_bytes(digest[:8], "big") >> 1)


class _Names:
    """One index's objects in few bytes: 48 an object."""

    __slots__ = ("_digests", "_sizes", "nodes")

    def __init__(self, index: Index) -> None:
        objects = sorted(index.objects, key=lambda one: one.digest)
        self._digests = b"".join(one.digest for one in objects)
        self._sizes = array("Q", (one.size for one in objects))
        self.nodes = array("Q", (node_of(one.digest) for one in objects))

    def at(self, node: int) -> list[Named]:
        """Return the objects of that number: none or one, more only if they collide."""
        found = []
        place = bisect_left(self.nodes, node)
        while place < len(self.nodes) and self.nodes[place] == node:
            found.append(Named(self._digests[place * _DIGEST : (place + 1) * _DIGEST], self._sizes[place]))
            place += 1
        return found


class Tree:
    """Which names exist, with which sizes, and which images they belong to."""

    def __init__(self) -> None:
        self._images: dict[str, _Names] = {}
        self._recent: dict[int, Named] = {}

    def __contains__(self, image: str) -> bool:
        return image in self._images

    def __len__(self) -> int:
        """Count the names, those that images share once for each."""
        return sum(len(names.nodes) for names in self._images.values())

    @property
    def all_images(self) -> tuple[str, ...]:
        """All images whose objects are named."""
        return tuple(self._images)

    def add(self, index: Index) -> None:
        """Name an index's objects."""
        self._images[index.image] = _Names(index)
        self._recent.clear()

    def remove(self, image: str) -> None:
        """Forget the names that only this image has."""
        self._images.pop(image, None)
        self._recent.clear()

    def object(self, node: int) -> Named | None:
        """Return the object of a node, if it has a name; raise Ambiguous when two share the number."""
        if known := self._recent.get(node):
            return known
        found = {named for names in self._images.values() for named in names.at(node)}
        if len(found) > 1:
            raise Ambiguous(f"{len(found)} objects have the node number {node}")
        for named in found:
            if len(self._recent) >= _RECENT:
                self._recent.clear()
            self._recent[node] = named
            return named
        return None

    def images(self, node: int) -> tuple[str, ...]:
        """Return the images that hold the object of a node."""
        return tuple(image for image, names in self._images.items() if names.at(node))

    def lookup(self, directory: int, name: bytes) -> Attributes | None:
        """Return the node of a name in a directory, None when there is none."""
        if directory == ROOT:
            known = _SHARD_NAME.fullmatch(name)
            return Attributes(_FIRST_DIRECTORY + int(name, 16), directory=True) if known else None
        if not is_directory(directory) or not _OBJECT_NAME.fullmatch(name):
            return None
        digest = bytes((directory - _FIRST_DIRECTORY,)) + bytes.fromhex(name.decode())
        found = self.object(node_of(digest))
        return Attributes(node_of(digest), found.size) if found and found.digest == digest else None

    def attributes(self, node: int) -> Attributes | None:
        """Return what GETATTR tells of a node."""
        if is_directory(node):
            return Attributes(node, directory=True)
        found = self.object(node)
        return Attributes(node, found.size) if found else None


def is_directory(node: int) -> bool:
    """Whether a node is the root or one of the 256 directories."""
    return ROOT <= node < _FIRST_OBJECT
