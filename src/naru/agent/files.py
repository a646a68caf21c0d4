"""Objects as files: committed by a rename, durable later, and known to be one or the other by their mode.

While the kernel lives, a rename shows whole files only, whoever is killed. `sync` makes files durable and then says so
in their mode (0444). After a crash of the kernel, opening the directory verifies every file that was not durable yet
(0400) and drops what is torn. ADR 41 has the measurements.
"""

import hashlib
import logging
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Final

from naru.agent.disk import boot_id, disk_errors, sync_file_system, write_durably
from naru.agent.index.index import Index
from naru.agent.tallies import Tally

_LOG = logging.getLogger(__name__)
_DURABLE: Final = 0o444
_MANY: Final = 2048
"""Of so many it is quicker to list the directories than to ask for each."""


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """How many objects were read again, their bytes, and those that had rotted and were dropped."""

    objects: int
    size: int
    rotten: tuple[bytes, ...]


class Files:
    """The files `root/objects/ab/cdef…`; `root/boot` names the boot of the kernel in which they were last opened.

    `count` and `size` (bytes) tell how much there is. They, and the tallies, are kept as files come and go through
    here: `recount` looks again. Blocking, for several threads.
    """

    def __init__(self, root: Path, staged: Path) -> None:
        self.directory = root / "objects"
        self._root = root
        self._prefix = str(self.directory)
        self._lock = RLock()
        self.directory.mkdir(exist_ok=True)
        for prefix in range(256):
            (self.directory / f"{prefix:02x}").mkdir(exist_ok=True)
        self._tallies: dict[str, Tally] = {}
        self.count = self.size = 0
        self._unsynced = set[bytes]()
        for digest, entry in self.scan():  # one by one: their entries together would take 800 bytes each
            self.count, self.size = self.count + 1, self.size + entry.st_size
            if not entry.st_mode & 0o044:
                self._unsynced.add(digest)
        self._verify_after_crash(staged)

    def path(self, digest: bytes) -> str:
        """Return where the object is when it is committed."""
        name = digest.hex()
        return f"{self._prefix}/{name[:2]}/{name[2:]}"

    def has(self, digest: bytes) -> bool:
        """Whether the object is committed."""
        return os.path.exists(self.path(digest))

    def missing(self, digests: Iterable[bytes]) -> list[bytes]:
        """Return those that are not committed, in the same order."""
        wanted = list(digests)
        if len(wanted) < _MANY:
            return [digest for digest in wanted if not self.has(digest)]
        there = {f"{prefix:02x}{name}" for prefix in range(256) for name in os.listdir(f"{self._prefix}/{prefix:02x}")}
        return [digest for digest in wanted if digest.hex() not in there]

    def commit(self, digest: bytes, staged: str, size: int) -> None:
        """Move a verified file to its place."""
        with self._lock, self._disk():
            new = not self.has(digest)
            try:
                os.rename(staged, self.path(digest))
            except BaseException:
                os.unlink(staged)
                raise
            self._unsynced.add(digest)
            if new:
                self.count, self.size = self.count + 1, self.size + size
            for tally in self._tallies.values():
                tally.came(digest)

    def remove(self, digest: bytes) -> int:
        """Remove an object; return its size, 0 when it was gone."""
        with self._lock, self._disk(), suppress(FileNotFoundError):
            size = os.stat(self.path(digest)).st_size
            os.unlink(self.path(digest))
            self._unsynced.discard(digest)
            self.count, self.size = self.count - 1, self.size - size
            for tally in self._tallies.values():
                tally.went(digest)
            return size
        return 0

    def tallied(self, image: str) -> Tally | None:
        """Return the counts of an image, None while it has none."""
        return self._tallies.get(image)

    def tally(self, index: Index) -> Tally:
        """Count what is here of an image, and keep the counts from now on."""
        with self._lock:
            made = Tally(index, self.missing(one.digest for one in index.objects))
            self._tallies[index.image] = made
            return made

    def untally(self, image: str) -> None:
        """Keep no counts of an image any more."""
        with self._lock:
            self._tallies.pop(image, None)

    def recount(self) -> bool:
        """Count everything again, from the disk; say whether it had been counted otherwise."""
        with self._lock:
            held = {digest: status.st_size for digest, status in self.scan()}
            news = (self.count, self.size) != (len(held), sum(held.values()))
            self.count, self.size = len(held), sum(held.values())
            for tally in self._tallies.values():
                news |= tally.correct({digest for digest in tally.digests() if digest not in held})
        if news:
            _LOG.warning("the objects in %s had been counted wrongly: something else changes them", self._root)
        return news

    def scan(self) -> Iterator[tuple[bytes, os.stat_result]]:
        """Yield every committed object, in the order of digests."""
        for prefix in range(256):
            with suppress(FileNotFoundError), os.scandir(self.directory / f"{prefix:02x}") as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    with suppress(FileNotFoundError, ValueError):
                        status = entry.stat(follow_symlinks=False)
                        if len(entry.name) == 62 and stat.S_ISREG(status.st_mode):
                            yield bytes.fromhex(f"{prefix:02x}{entry.name}"), status

    def held(self) -> list[bytes]:
        """List the digests of all committed objects, in order."""
        return [digest for digest, _ in self.scan()]

    @property
    def pending(self) -> int:
        """How many objects are not durable yet."""
        return len(self._unsynced)

    def sync(self) -> int:
        """Make every object durable; return how many were not before."""
        with self._lock:
            pending, self._unsynced = self._unsynced, set()
        if not pending:
            return 0
        try:
            with self._disk():
                sync_file_system(self._root)
                for digest in pending:
                    # What was removed and came again meanwhile is another file, and waits for the next time.
                    with self._lock, suppress(FileNotFoundError):
                        if digest not in self._unsynced:
                            os.chmod(self.path(digest), _DURABLE)
        except BaseException:
            with self._lock:
                self._unsynced |= pending
            raise
        return len(pending)

    def scrub(self, among: Collection[bytes] | None = None) -> Scrubbed:
        """Read objects again, all or some, from the disk where the kernel lets us; drop and report what has rotted."""
        held = self.held() if among is None else [digest for digest in among if self.has(digest)]
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            sizes = dict(zip(held, threads.map(self._sound, held), strict=True))
        rotten = tuple(sorted(digest for digest, size in sizes.items() if size < 0))
        for digest in rotten:
            _LOG.error("object %s in %s has rotted and was dropped", digest.hex(), self._root)
            self.remove(digest)
        return Scrubbed(len(held), sum(size for size in sizes.values() if size > 0), rotten)

    def _verify_after_crash(self, staged: Path) -> None:
        """Verify what was not durable when the kernel last stopped; a restart of the agent alone tears nothing."""
        marker, boot = self._root / "boot", boot_id()
        if marker.exists() and marker.read_text() == boot:
            return
        if self._unsynced:
            report = self.scrub(self._unsynced)
            _LOG.info("%d objects verified after an unclean stop, %d torn", report.objects, len(report.rotten))
        write_durably(marker, boot.encode(), staged)

    def _sound(self, digest: bytes) -> int:
        """Return the size of an object whose bytes have its digest, -1 when they do not, 0 when it is gone."""
        try:
            with open(self.path(digest), "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                sound = hashlib.file_digest(file, "sha256").digest() == digest
                return os.fstat(file.fileno()).st_size if sound else -1
        except FileNotFoundError:
            return 0
        except OSError as error:
            _LOG.error("object %s cannot be read: %s", digest.hex(), error)
            return -1

    def _disk(self) -> AbstractContextManager[None]:
        return disk_errors(self._root)
