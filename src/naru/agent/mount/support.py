"""What this kernel can do for lazy root file systems, found by trying, and the best mode that it allows."""

import errno
import os
import select
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from naru.agent.index.erofs import erofs_image
from naru.agent.index.tree import Inode
from naru.agent.mount import fuse, kernel, passthrough
from naru.domain.errors import NaruError, Unavailable


class Mode(StrEnum):
    """How the contents of files reach their readers, best first."""

    PASSTHROUGH = "passthrough"
    """Missing objects are fetched when opened; the kernel reads the store's files itself. Linux 6.9."""
    READS = "reads"
    """Missing objects are fetched when opened, and their first readers read through the agent. Linux 6.5."""
    EAGER = "eager"
    """All objects are fetched before the root file system is there. Linux 6.5, without /dev/fuse."""


@dataclass(frozen=True, slots=True)
class Support:
    """For each thing that a mode needs, why it is not there; empty when it is."""

    data_only: str
    """overlayfs with data-only lower layers, on the file system of the object store."""
    erofs: str
    fuse: str
    passthrough: str
    file_backed: str
    """EROFS from a plain file. Not needed: a loop device serves too."""

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes that work here, best first; none when even the overlay does not."""
        return tuple(mode for mode in Mode if not self.reason(mode))

    def reason(self, mode: Mode) -> str:
        """Say why a mode does not work here; empty when it does."""
        base = self.data_only or self.erofs
        match mode:
            case Mode.EAGER:
                return base
            case Mode.READS:
                return base or self.fuse
            case Mode.PASSTHROUGH:
                return base or self.fuse or self.passthrough

    def choose(self, forced: Mode | None = None) -> Mode:
        """Return the best mode, or the forced one if it works here; Unavailable when none does."""
        if not self.modes:
            raise Unavailable(
                f"no lazy root file systems here: {self.reason(Mode.EAGER)}",
                "run Linux 6.5 or later as root, or let engines pull through the agent's mirror",
            )
        if forced and forced not in self.modes:
            raise Unavailable(f"the mode {forced} does not work here: {self.reason(forced)}", f"use {self.modes[0]}")
        return forced or self.modes[0]


def probe(root: Path) -> Support:
    """Try in a directory below `root`, the object store, and leave nothing behind. Takes a few milliseconds."""
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=root) as place:
        path = Path(place)
        fuse_, passthrough_ = _try_fuse(path)
        return Support(
            data_only=_reason(_try_data_only, path),
            erofs=_reason(_try_erofs, path),
            fuse=fuse_,
            passthrough=passthrough_,
            file_backed=_reason(_try_file_backed, path),
        )


def _reason(attempt: Callable[[Path], None], place: Path) -> str:
    try:
        attempt(place)
    except NaruError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _try_data_only(place: Path) -> None:
    meta, data, where = (place / name for name in ("meta", "data", "overlay"))
    for directory in (meta, data, where):
        directory.mkdir()
    kernel.mount(kernel.overlay([meta], [data]), where)
    kernel.unmount(where)


def _empty_image(place: Path) -> Path:
    image = place / "empty.erofs"
    image.write_bytes(erofs_image(Inode(mode=stat.S_IFDIR | 0o755)))
    (place / "erofs").mkdir(exist_ok=True)
    return image


def _try_erofs(place: Path) -> None:
    kernel.mount_erofs(_empty_image(place), place / "erofs")
    kernel.unmount(place / "erofs")


def _try_file_backed(place: Path) -> None:
    kernel.mount(kernel.erofs(_empty_image(place)), place / "erofs")
    kernel.unmount(place / "erofs")


def _try_fuse(place: Path) -> tuple[str, str]:
    where, sample = place / "fuse", place / "sample"
    where.mkdir()
    sample.touch()
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"/dev/fuse: {error.strerror}", "FUSE does not work"
    try:
        kernel.mount(kernel.fuse(device), where)
        try:
            features = _introduced(device)
            if not features & fuse.Feature.PASSTHROUGH:
                return "", "this kernel has no FUSE passthrough (Linux 6.9, CONFIG_FUSE_PASSTHROUGH)"
            return "", _reason(lambda _: _try_backing(device, sample), place)
        finally:
            kernel.unmount(where, detach=True)
    except (NaruError, OSError) as error:
        return str(error), "FUSE does not work"
    finally:
        os.close(device)


def _introduced(device: int) -> fuse.Feature:
    """Answer the kernel's INIT, which it sends when the tree is mounted."""
    waiting = select.poll()
    waiting.register(device, select.POLLIN)
    if not waiting.poll(5000):
        raise OSError(errno.ETIMEDOUT, "the kernel sends no FUSE INIT")
    head, offer = fuse.parse(os.read(device, fuse.BUFFER))
    if not isinstance(offer, fuse.Init):
        raise OSError(errno.EPROTO, "the kernel's first FUSE request is not INIT")
    features = fuse.agreed(offer, passthrough=True)
    os.write(device, fuse.answer(head.unique, fuse.welcome(offer, features)))
    return features


def _try_backing(device: int, sample: Path) -> None:
    file = os.open(sample, os.O_RDONLY | os.O_CLOEXEC)
    try:
        passthrough.unback(device, passthrough.back(device, file))
    finally:
        os.close(file)
