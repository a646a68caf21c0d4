"""Files that the kernel reads itself when a FUSE file is open: the backing files of Linux 6.9."""

import fcntl
from contextlib import suppress
from struct import Struct

_OPEN, _CLOSE = 0x4010E501, 0x4004E502  # FUSE_DEV_IOC_BACKING_OPEN and _CLOSE of linux/fuse.h
_MAP = Struct("=iIQ")
_NUMBER = Struct("=I")


def back(device: int, file: int) -> int:
    """Register an open file with a FUSE connection; return its number, above 0.

    OSError: EPERM without CAP_SYS_ADMIN, EOPNOTSUPP or ENOTTY where the kernel or the connection has no passthrough,
    ELOOP when the file lies on a stacked file system.
    """
    number: int = fcntl.ioctl(device, _OPEN, bytearray(_MAP.pack(file, 0, 0)))
    return number


def unback(device: int, number: int) -> None:
    """Withdraw it: who has it open keeps it."""
    with suppress(OSError):
        fcntl.ioctl(device, _CLOSE, bytearray(_NUMBER.pack(number)))
