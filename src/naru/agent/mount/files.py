"""Files of the object store, kept open for those who read through the server."""

import errno
import os
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

from naru.agent.mount.tree import Named

_KEPT = 256
"""How many files are kept open at most."""


class Store(Protocol):
    """What is needed of the object store."""

    def path(self, digest: bytes) -> Path:
        """Say where a committed object lies."""

    def has(self, digest: bytes) -> bool:
        """Whether an object is committed."""


class Files:
    """The store's files by digest, opened when first read; who was read longest ago is closed first."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: OrderedDict[bytes, int] = OrderedDict()

    def get(self, named: Named) -> int | None:
        """Return an open file, valid until the next call; None when the store does not have the object."""
        file = self._open.get(named.digest)
        if file is not None:
            self._open.move_to_end(named.digest)
            return file
        if not self._store.has(named.digest):
            return None
        self._open[named.digest] = file = self.open(named)
        if len(self._open) > _KEPT:
            os.close(self._open.popitem(last=False)[1])
        return file

    def open(self, named: Named) -> int:
        """Open a file anew, for the caller to close; OSError when it is gone or its size is wrong."""
        file = os.open(self._store.path(named.digest), os.O_RDONLY | os.O_CLOEXEC)
        if os.fstat(file).st_size != named.size:
            os.close(file)
            raise OSError(errno.EIO, f"{named.digest.hex()} has another size in the store")
        return file

    def close(self) -> None:
        """Close all of them."""
        while self._open:
            os.close(self._open.popitem()[1])


def exactly(file: int, offset: int, length: int, flags: int = 0) -> bytes:
    """Read so many bytes or raise: BlockingIOError when RWF_NOWAIT finds them not all in memory."""
    content = bytearray(length)
    try:
        count = os.preadv(file, (content,), offset, flags)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP or not flags:
            raise
        return exactly(file, offset, length)
    if count == length:
        return bytes(content)
    if flags:
        raise BlockingIOError
    raise OSError(errno.EIO, f"{count} bytes of {length} are in the store's file")
