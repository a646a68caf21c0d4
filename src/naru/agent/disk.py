"""What the object store asks of the kernel: durability, and what its refusals mean."""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from naru.domain.errors import Unavailable

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def boot_id() -> str:
    """Return what names this boot of the kernel."""
    return _BOOT.read_text().strip()


def sync_file_system(root: Path) -> None:
    """Return when everything written to the file system of `root` is on its disk (syncfs(2))."""
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _LIBC.syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(root))
    finally:
        os.close(handle)


def write_durably(path: Path, content: bytes, staged: Path) -> None:
    """Replace the file `path` in one step, on disk before this returns; `staged` is a free name beside it."""
    try:
        with staged.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_private(path: str, flags: int) -> int:
    """Open a file that only its owner reads when this makes it."""
    return os.open(path, flags, 0o400)


def write_all(file: int, content: bytes) -> None:
    """Write everything: a disk that fills up takes a part first, and refuses the rest."""
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Say what a full or refusing disk means. A missing file stays a FileNotFoundError: its reader knows better."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise Unavailable(
                f"the disk of the object store {root} is full",
                "free space there, or give the agent a smaller budget",
                retry_after=60,
            ) from error
        raise Unavailable(
            f"the object store {root} cannot be used: {error.strerror}", "check the directory's owner and its disk"
        ) from error
