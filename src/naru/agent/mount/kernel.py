"""Mounting, by system calls: mount(2) and umount2(2) through libc, loop devices, and what is mounted now.

Mounts are values. An error names the kernel's reason and what can be done about it.
"""

import ctypes
import errno
import fcntl
import os
import re
import select
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from time import monotonic

from naru.domain.errors import NaruError, NotFound, Unavailable

_LIBC = ctypes.CDLL(None, use_errno=True)
_RDONLY, _NOSUID, _NODEV = 1, 2, 4
_DETACH = 2


@dataclass(frozen=True, slots=True)
class Mount:
    """What to mount, in the words of mount(8) and of containerd's Mount message."""

    type: str
    source: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mounted:
    """A line of mountinfo(5)."""

    where: Path
    type: str
    source: str
    options: tuple[str, ...]


def overlay(
    lowers: Iterable[Path], data: Iterable[Path] = (), upper: Path | None = None, work: Path | None = None
) -> Mount:
    """Return the overlay of `lowers`, top first, whose files' contents are looked up in `data`, first match first.

    Without `upper` and `work` it is read-only. Source: Documentation/filesystems/overlayfs.rst, "Data-only lower
    layers".
    """
    layers = ":".join(_escaped(path) for path in lowers) + "".join(f"::{_escaped(path)}" for path in data)
    options = [f"lowerdir={layers}"]
    if upper and work:
        options += [f"upperdir={_escaped(upper)}", f"workdir={_escaped(work)}"]
    else:
        options.append("ro")
    # Data-only layers need metacopy, which needs redirects; without an upper layer the kernel only follows them.
    return Mount("overlay", "overlay", (*options, "metacopy=on", "redirect_dir=on"))


def _escaped(path: Path) -> str:
    return re.sub(r"([\\:,])", r"\\\1", str(path))


def erofs(image: Path) -> Mount:
    """Return the mount of an EROFS image."""
    return Mount("erofs", str(image), ("ro",))


def fuse(device: int) -> Mount:
    """Return the mount of a FUSE tree that is served through an open /dev/fuse; only root may look in."""
    options = (f"fd={device}", "rootmode=40000", "user_id=0", "group_id=0")
    return Mount("fuse.naru", "naru", (*options, "ro", "nosuid", "nodev"))


_FLAGS = {"ro": _RDONLY, "nosuid": _NOSUID, "nodev": _NODEV}


def mount(what: Mount, where: Path) -> None:
    """Mount it, or raise Unavailable with the cause and the mend.

    May wait for the FUSE server: never call it in the thread that serves.
    """
    flags = sum(_FLAGS.get(option, 0) for option in what.options)
    options = ",".join(option for option in what.options if option not in _FLAGS)
    try:
        _mount(what.source, where, what.type, flags, options)
    except OSError as error:
        raise _refused(what, where, error) from error


def mount_erofs(image: Path, where: Path) -> None:
    """Mount an EROFS image from its file (Linux 6.12), or through a loop device where the kernel wants a device."""
    what = erofs(image)
    try:
        _mount(what.source, where, what.type, _RDONLY, "")
    except OSError as error:
        if error.errno != errno.ENOTBLK:
            raise _refused(what, where, error) from error
        mount_through_loop(image, where)


def mount_through_loop(image: Path, where: Path) -> None:
    """Mount an EROFS image through a loop device that goes when the mount goes."""
    device = _loop(image)
    try:
        mount(erofs(Path(f"/dev/loop{device[0]}")), where)
    finally:
        os.close(device[1])


def _mount(source: str, where: Path, kind: str, flags: int, options: str) -> None:
    arguments = (source.encode(), os.fsencode(where), kind.encode(), ctypes.c_ulong(flags), options.encode())
    if _LIBC.mount(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(where))


def unmount(where: Path, *, detach: bool = False) -> None:
    """Unmount; with `detach` at once from the names, and from the kernel when nobody uses it any more.

    What is not mounted is no error. Unavailable when it is busy.
    """
    if _LIBC.umount2(os.fsencode(where), _DETACH if detach else 0):
        number = ctypes.get_errno()
        if number in (errno.EINVAL, errno.ENOENT):
            return
        raise Unavailable(f"{where} cannot be unmounted: {os.strerror(number)}", "stop what runs on it first")


_MENDS = {
    errno.EPERM: "run the agent as root, with the capability SYS_ADMIN",
    errno.EACCES: "run the agent as root, with the capability SYS_ADMIN",
    errno.ENODEV: "load the kernel module: modprobe {type}",
    errno.ENOENT: "see that the directories in the options exist",
    errno.EBUSY: "another mount uses the upper or work directory: unmount it first",
    errno.ELOOP: "the layers are stacked too deep: keep the agent's directory on a plain file system, not an overlay",
    errno.EINVAL: "see the kernel's log (dmesg) for its reason; `naru doctor` says what this kernel can do",
    errno.ENOMEM: "free memory",
    errno.ENOTCONN: "the server of the FUSE tree is dead: start the agent",
}


def _refused(what: Mount, where: Path, error: OSError) -> NaruError:
    mend = _MENDS.get(error.errno or 0, "see the kernel's log (dmesg)").format(type=what.type)
    text = f"the kernel does not mount {what.type} of {what.source} at {where}: {error.strerror}"
    return NotFound(text, mend) if error.errno == errno.ENOENT else Unavailable(text, mend)


_CTL_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A
_READ_ONLY, _AUTOCLEAR = 1, 4
_LOOP_CONFIG = Struct("=II QQQQQIIII64s64s32s2Q 64x".replace(" ", ""))


def _loop(image: Path) -> tuple[int, int]:
    """Give a file to a free loop device; return its number and a descriptor that keeps it until it is mounted."""
    control, file = os.open("/dev/loop-control", os.O_RDWR), os.open(image, os.O_RDONLY)
    try:
        while True:
            number = fcntl.ioctl(control, _CTL_GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDONLY)
            config = _LOOP_CONFIG.pack(
                file, 0, 0, 0, 0, 0, 0, 0, 0, 0, _READ_ONLY | _AUTOCLEAR, os.fsencode(image)[:63], b"", b"", 0, 0
            )
            try:
                fcntl.ioctl(device, _CONFIGURE, config)
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # somebody else was given the same number first
                    raise
            else:
                return number, device
    except OSError as error:
        raise Unavailable(
            f"no loop device for {image}: {error.strerror}", "give the agent /dev/loop-control"
        ) from error
    finally:
        os.close(control)
        os.close(file)


def mounted(text: str | None = None) -> tuple[Mounted, ...]:
    """Return what is mounted here, oldest first, read from mountinfo(5)."""
    if text is None:
        text = os.fsdecode(Path("/proc/self/mountinfo").read_bytes())
    return tuple(_mounted(line) for line in text.split("\n") if line)


def _mounted(line: str) -> Mounted:
    before, _, after = line.partition(" - ")
    kind, source, options = (_unescaped(word) for word in after.split(" ", 2))
    return Mounted(Path(_unescaped(before.split(" ")[4])), kind, source, tuple(_split(options, ",")))


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _split(text: str, separator: str) -> list[str]:
    return re.findall(rf"(?:\\.|[^{separator}\\])+", text)


def lowers(overlay: Mounted) -> tuple[Path, ...]:
    """Return the lower layers of a mounted overlay, data-only ones included, top first."""
    values = (value for name, _, value in (option.partition("=") for option in overlay.options) if name in _LOWERS)
    return tuple(Path(_plain(layer)) for value in values for layer in _split(value, ":"))


def upper(overlay: Mounted) -> Path | None:
    """Return the upper layer of a mounted overlay, if it has one."""
    values = (option.removeprefix("upperdir=") for option in overlay.options if option.startswith("upperdir="))
    return next((Path(_plain(value)) for value in values), None)


def changes(patience: float, wake: int) -> Iterator[tuple[Mounted, ...]]:
    """Yield what is mounted, at once and after every change, for `patience` seconds or until `wake` is readable."""
    deadline = monotonic() + patience
    with open("/proc/self/mountinfo", "rb", buffering=0) as file:
        waiting = select.poll()
        waiting.register(file, select.POLLPRI)
        waiting.register(wake, select.POLLIN)
        while True:
            file.seek(0)
            yield mounted(os.fsdecode(file.read()))
            left = deadline - monotonic()
            if left <= 0 or wake in (descriptor for descriptor, _ in waiting.poll(1000 * left)):
                return


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


_LOWERS = ("lowerdir", "lowerdir+", "datadir+")
