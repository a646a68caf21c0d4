"""Big objects of which a part has come, kept for whoever fetches the rest: files `partial/HEX`, with holes.

What lies there is believed by nobody: every chunk is held against its digest again before it counts, so nothing here
is made durable, and a kill costs the chunks that were not whole. A file belongs to whoever has it locked; the kernel
takes the lock from a process that dies.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_WEEK: Final = 7 * 86_400.0
_BLOCK: Final = 512
"""Bytes of what stat(2) calls a block."""


class Partials:
    """The parts below `root`; those that nobody touched for a week before `now` go. Blocking; one thread at a time.

    `size` is how many bytes the parts take that nobody here adds to.
    """

    def __init__(self, root: Path, now: float) -> None:
        self._directory = root / "partial"
        self._directory.mkdir(exist_ok=True)
        self._left: dict[bytes, int] = {}
        for digest, status in list(self._scan()):
            self._left[digest] = status.st_blocks * _BLOCK
            if status.st_mtime < now - _WEEK:
                self.remove(digest)

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(self._left.values())

    def left(self) -> list[bytes]:
        """List the objects of which a part is here that nobody here adds to, in order."""
        return sorted(self._left)

    def path(self, digest: bytes) -> str:
        """Return where an object's part is."""
        return f"{self._directory}/{digest.hex()}"

    def take(self, digest: bytes) -> int | None:
        """Open an object's part, or an empty one, for nobody else; None when another process has it."""
        file = os.open(self.path(digest), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not self._lock(file, digest):
            os.close(file)
            return None
        self._left.pop(digest, None)
        return file

    def leave(self, digest: bytes, file: int, size: int) -> None:
        """Keep what came of an object of `size` bytes, if anything did. The file is still the caller's to close."""
        if came := min(os.fstat(file).st_blocks * _BLOCK, size):
            self._left[digest] = came
        else:
            os.unlink(self.path(digest))

    def remove(self, digest: bytes) -> int:
        """Remove a part that nobody has taken; return the bytes that it took, 0 when there is none to remove."""
        if digest not in self._left:
            return 0
        try:
            file = os.open(self.path(digest), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            self._left.pop(digest, None)
            return 0
        try:
            if not self._lock(file, digest):
                return 0
            os.unlink(self.path(digest))
            return self._left.pop(digest, 0)
        finally:
            os.close(file)

    def _lock(self, file: int, digest: bytes) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been committed or removed between the two calls.
            return os.path.samestat(os.fstat(file), os.stat(self.path(digest)))
        except (BlockingIOError, FileNotFoundError):
            return False

    def _scan(self) -> Iterator[tuple[bytes, os.stat_result]]:
        with os.scandir(self._directory) as entries:
            for entry in entries:
                with suppress(FileNotFoundError, ValueError):
                    yield bytes.fromhex(entry.name), entry.stat(follow_symlinks=False)
