"""Which pages of files are read or mapped, as the kernel's tracepoints of the page cache tell (Linux 6.12).

Neither fanotify nor mincore(2) tells: a program that is mapped reads its files without a call, and readahead brings
far more than anybody touches. The tracepoints tell of every page that is, within 64 KiB: the kernel maps so much
around a page that is in memory already. Of a file's huge pages (2 MiB in one piece, where somebody read it in a row)
they do not tell.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final

from naru.agent.mount import kernel
from naru.agent.mount.kernel import Mount
from naru.domain.errors import NaruError

_log = logging.getLogger(__name__)

_TRACEFS: Final = Path("/sys/kernel/tracing")
_EVENTS: Final = ("mm_filemap_fault", "mm_filemap_map_pages", "mm_filemap_get_pages")
_EVENT: Final = re.compile(rb"-(\d+) +\[\d+\].* ino=([0-9a-f]+) ofs=(\d+)(?:-(\d+))?")
_OURS: Final = re.compile(r"naru-(\d+)-\d+")
_BUFFER: Final = b"512"
"""KiB for each processor: 5,000 events, and a start of a thousand files makes 1,000 of files that are worth tracing."""
_PAGE: Final = 4096
_LONGEST_FILTER: Final = 4000
_NAMES: Final = count()


class Pages:
    """Tells of pages of some inodes, from its making until `close`. `descriptor` is readable when there is something.

    Inodes of other file systems with the same numbers are told of too; what this process reads is not.
    """

    def __init__(self, where: Path, descriptor: int) -> None:
        self.descriptor = descriptor
        self._where = where
        self._rest = b""
        self._ours: dict[bytes, bool] = {}

    def read(self) -> Iterator[tuple[int, int, int]]:
        """Yield inode, first byte and last byte of what was touched meanwhile, in that order."""
        while True:
            try:
                text = os.read(self.descriptor, 1 << 16)
            except (BlockingIOError, InterruptedError):
                return
            if not text:
                return
            *lines, self._rest = (self._rest + text).split(b"\n")
            for line in lines:
                # What this process reads it gives to others: nobody has touched it here.
                if (event := _EVENT.search(line)) and not self._is_ours(event[1]):
                    first = int(event[3])
                    yield int(event[2], 16), first, int(event[4] or first + _PAGE - 1)

    def _is_ours(self, thread: bytes) -> bool:
        if thread not in self._ours:
            self._ours[thread] = os.path.exists(b"/proc/self/task/" + thread)
        return self._ours[thread]

    def close(self) -> None:
        """Tell no more."""
        os.close(self.descriptor)
        with suppress(OSError):
            self._where.rmdir()


def watch(inodes: Iterable[int], tracefs: Path = _TRACEFS) -> Pages | None:
    """Begin to watch files by their inode numbers; None where the kernel does not tell."""
    chosen = sorted(set(inodes))
    wanted = "||".join(f"i_ino=={inode}" for inode in chosen)
    if not chosen:
        return None
    try:
        instances = _instances(tracefs)
        _sweep(instances)
        where = instances / f"naru-{os.getpid()}-{next(_NAMES)}"
        where.mkdir()
    except (OSError, NaruError) as error:
        _log.info("the pages that are touched are not recorded: %s", error)
        return None
    try:
        (where / "buffer_size_kb").write_bytes(_BUFFER)
        with suppress(FileNotFoundError):
            (where / "buffer_percent").write_bytes(b"0")
        for event in _EVENTS:
            folder = where / "events/filemap" / event
            # Too many files for one filter: whoever reads them sorts out the others.
            if len(wanted) < _LONGEST_FILTER:
                (folder / "filter").write_text(wanted)
            (folder / "enable").write_bytes(b"1")
        return Pages(where, os.open(where / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        _log.info("the pages that are touched are not recorded: %s", error)
        with suppress(OSError):
            where.rmdir()
        return None


def _instances(tracefs: Path) -> Path:
    """Return the directory of tracing instances; a machine that has not mounted tracefs gets it mounted."""
    instances = tracefs / "instances"
    if not instances.is_dir():
        kernel.mount(Mount("tracefs", "tracefs"), tracefs)
    return instances


def _sweep(instances: Path) -> None:
    """Remove what agents left that were killed."""
    for one in instances.iterdir():
        if (ours := _OURS.fullmatch(one.name)) and not Path("/proc", ours[1]).exists():
            with suppress(OSError):
                one.rmdir()
