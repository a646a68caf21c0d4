"""Which nodes are open and how, in shared memory that outlives the server.

The kernel demands that all openers of a file read it alike: through the same backing file, or all through the server.
A server that takes over must know what the dead one answered, so this table lives in a memfd beside the connection.
"""

import mmap
import os
from dataclasses import dataclass
from heapq import heappop, heappush
from struct import Struct

_RECORD = Struct("=QII")
_GROWTH = 4096


@dataclass(frozen=True, slots=True)
class Open:
    """How a node is read: through backing file `backing`, or through the server when that is 0; `count` openers."""

    backing: int
    count: int


class Opens:
    """The table of open nodes in the memory behind a file descriptor, 16 bytes a node."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        size = os.fstat(descriptor).st_size
        if not size:
            os.ftruncate(descriptor, size := _GROWTH)
        self._memory = mmap.mmap(descriptor, size)
        self._places: dict[int, int] = {}
        self._free: list[int] = []
        for place, (node, _, count) in enumerate(_RECORD.iter_unpack(self._memory[:])):
            if count:
                self._places[node] = place
            else:
                self._free.append(place)

    @classmethod
    def new(cls) -> "Opens":
        """Make an empty table."""
        return cls(os.memfd_create("naru-opens", os.MFD_CLOEXEC))

    @property
    def descriptor(self) -> int:
        """What to hand to a keeper."""
        return self._descriptor

    def __len__(self) -> int:
        return len(self._places)

    def get(self, node: int) -> Open | None:
        """Return how a node is open; None when it is not."""
        place = self._places.get(node)
        if place is None:
            return None
        _, backing, count = self._read(place)
        return Open(backing, count)

    def take(self, node: int, backing: int) -> None:
        """Count one more opener, before the kernel is told: a server that dies between may leak, never mix."""
        place = self._places.get(node)
        if place is None:
            self._places[node] = place = self._unused()
            self._write(place, node, backing, 1)
        else:
            _, before, count = self._read(place)
            if before != backing:
                raise ValueError(f"node {node} is open through {before}, not {backing}")
            self._write(place, node, backing, count + 1)

    def drop(self, node: int) -> int:
        """Count one opener less; return the backing number to close when it was the last one's, else 0."""
        place = self._places.get(node)
        if place is None:
            return 0
        _, backing, count = self._read(place)
        self._write(place, node, backing, count - 1)
        if count > 1:
            return 0
        del self._places[node]
        heappush(self._free, place)
        return backing

    def close(self) -> None:
        """Let go of the memory; who else holds it keeps it."""
        self._memory.close()
        os.close(self._descriptor)

    def _unused(self) -> int:
        if not self._free:
            size = len(self._memory)
            os.ftruncate(self._descriptor, 2 * size)
            self._memory.resize(2 * size)
            self._free = list(range(size // _RECORD.size, 2 * size // _RECORD.size))
        return heappop(self._free)

    def _read(self, place: int) -> tuple[int, int, int]:
        node, backing, count = _RECORD.unpack_from(self._memory, place * _RECORD.size)
        return node, backing, count

    def _write(self, place: int, node: int, backing: int, count: int) -> None:
        _RECORD.pack_into(self._memory, place * _RECORD.size, node, backing, count)
