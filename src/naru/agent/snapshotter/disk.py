"""The directories of snapshots: `root/snapshots/ID/fs` holds a layer's files, `work` is overlayfs's own.

A directory without a row in the ledger is rubbish of a crash, and is swept away.
"""

import ctypes
import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from naru.agent.disk import disk_errors
from naru.agent.snapshotter.values import Usage
from naru.domain.errors import Invalid, Unavailable

_LIBC = ctypes.CDLL(None, use_errno=True)


class Directories:
    """Where the files of snapshots are, below `root`, which is made when it is missing."""

    def __init__(self, root: Path) -> None:
        if set(str(root)) & set(":,\\\n"):
            raise Invalid(f"overlayfs cannot use {root}", "choose a directory without : , and \\ in its path")
        self._home = root / "snapshots"
        self._home.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)

    def of(self, number: int) -> Path:
        """Return the directory of a snapshot."""
        return self._home / str(number)

    def make(self, number: int, *, like: Path | None) -> None:
        """Make the directory of a new snapshot whose root has the mode and owner of `like`, or those of an image's."""
        with disk_errors(self._home):
            self._make(self.of(number), like)

    def _make(self, own: Path, like: Path | None) -> None:
        shutil.rmtree(own, ignore_errors=True)
        files = own / "fs"
        files.mkdir(parents=True)
        (own / "work").mkdir(mode=0o711)
        # Overlayfs shows the mode and owner of the uppermost directory: those of the parent's root are carried on.
        files.chmod(0o755)
        if like is not None:
            with suppress(FileNotFoundError):
                told = like.stat()
                os.chown(files, told.st_uid, told.st_gid)
                files.chmod(told.st_mode & 0o7777)

    def remove(self, number: int) -> None:
        """Remove the directory of a snapshot that is no more."""
        shutil.rmtree(self.of(number), ignore_errors=True)

    def keep(self, number: int) -> None:
        """Return when the files of a snapshot are on the disk, so that no crash leaves a committed one with holes."""
        handle = os.open(self.of(number), os.O_RDONLY | os.O_DIRECTORY)
        try:
            if _LIBC.syncfs(handle) != 0:
                problem = os.strerror(ctypes.get_errno())
                raise Unavailable(f"the disk below {self._home} refuses to keep a layer: {problem}", "look at the disk")
        finally:
            os.close(handle)

    def usage(self, number: int) -> Usage:
        """Measure what a snapshot takes; hard links count once, as du(1) counts."""
        seen: set[tuple[int, int]] = set()
        size = 0
        waiting = [self.of(number) / "fs"]
        while waiting:
            here = waiting.pop()
            with suppress(FileNotFoundError, NotADirectoryError):
                told = here.lstat()
                if (told.st_dev, told.st_ino) not in seen:
                    seen.add((told.st_dev, told.st_ino))
                    size += told.st_blocks * 512
                with os.scandir(here) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(Path(entry.path))
                            continue
                        with suppress(FileNotFoundError):
                            told = entry.stat(follow_symlinks=False)
                            if (told.st_dev, told.st_ino) not in seen:
                                seen.add((told.st_dev, told.st_ino))
                                size += told.st_blocks * 512
        return Usage(size, len(seen))

    def sweep(self, keep: Collection[int]) -> None:
        """Remove every directory but those of `keep`."""
        for entry in self._home.iterdir():
            if not (entry.name.isdecimal() and int(entry.name) in keep):
                shutil.rmtree(entry, ignore_errors=True)
