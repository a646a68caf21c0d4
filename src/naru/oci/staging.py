"""A private directory where content waits until all of it is verified.

Nothing in it is visible to readers. A staging directory belongs to its process by a lock that the kernel drops when
the process dies, so leftovers of a crash are told from work in progress and swept.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from naru.oci.reference import Digest

_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Blob:
    """Content on disk with its verified digest and its size in bytes."""

    digest: Digest
    size: int
    path: Path


class Staging:
    """Takes content in; it is gone when the context ends, except for what was moved out."""

    def __init__(self, parent: Path) -> None:
        self.directory = Path(tempfile.mkdtemp(dir=parent))
        self._lock = os.open(self.directory / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the directory and all that is still in it."""
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._lock)

    def write(self, chunks: Iterable[bytes]) -> Blob:
        """Store content under the digest of what arrived, safe on disk before this returns."""
        handle, name = tempfile.mkstemp(dir=self.directory)
        path, sha256, size = Path(name), hashlib.sha256(), 0
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in chunks:
                    sha256.update(chunk)
                    size += file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        digest = Digest(sha256.hexdigest())
        blob = Blob(digest, size, self.directory / digest.hex)
        path.replace(blob.path)
        return blob

    def path(self, digest: Digest) -> Path:
        """Return where content with `digest` lies while it is staged."""
        return self.directory / digest.hex


def sweep(parent: Path) -> None:
    """Remove the staging directories of processes that died."""
    for directory in parent.iterdir():
        try:
            lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            # Its owner died between two system calls, or is between them now: then only an empty directory goes,
            # and rmdir fails when it is no longer empty.
            with suppress(OSError):
                directory.rmdir()
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
