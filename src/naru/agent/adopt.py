"""What a node has already: files of an engine's images and containers need not be fetched again.

An archive that `docker save` wrote needs nothing of this: loaded into an image store, it is derived like any image.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path

from naru.agent.index.index import CHUNK, Index
from naru.agent.objects import ObjectStore
from naru.domain.errors import Invalid


@dataclass(frozen=True, slots=True)
class Adopted:
    """How many objects were found on the node, and their bytes."""

    objects: int
    size: int


def adopt(store: ObjectStore, index: Index, root: Path) -> Adopted:
    """Take what the index lists and the store lacks from the files below `root`, an unpacked root file system.

    Every file is read and held against its digest, so the tree may be in use and need not be trusted: no link is
    followed, and only files of a size that is lacking are read. Blocking. Raises Unavailable when the disk is full.
    """
    lacking = {digest: index.find(digest).size for digest in store.missing(index.numbers)}
    sizes = set(lacking.values())
    objects = size = 0
    for file in _files(root, sizes):
        digest = hashlib.file_digest(file, "sha256").digest()
        if digest not in lacking:
            continue
        file.seek(0)
        with suppress(Invalid):  # it changed meanwhile
            if store.add(iter(partial(file.read, CHUNK), b""), lacking[digest]).digest == digest:
                objects, size = objects + 1, size + lacking.pop(digest)
    return Adopted(objects, size)


def _files(root: Path, sizes: set[int]) -> Iterator[BufferedReader]:
    """Open the regular files of these sizes below `root`, one after another."""
    for _, _, names, folder in os.fwalk(root):
        for name in names:
            with suppress(OSError):
                if not _fits(os.stat(name, dir_fd=folder, follow_symlinks=False), sizes):
                    continue
                handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
                with os.fdopen(handle, "rb") as file:
                    if _fits(os.fstat(handle), sizes):
                        yield file


def _fits(status: os.stat_result, sizes: set[int]) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_size in sizes
