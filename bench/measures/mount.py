"""What a lazy root file system costs its readers: warm reads, opens of missing files, memory of the server.

Warm reads have a goal where the kernel passes them through. Where it does not, they come from the page cache of the
FUSE file, whose small pages cost more to copy than the large ones of ext4.
"""

import asyncio
import hashlib
import os
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.service.agent import root_server
from tests.service.agent.lazy_roots import digest_of, index_of

from bench.figures import Figure, measured
from bench.measures import Absent
from naru.agent.mount import keeping, kernel, support
from naru.agent.mount.support import Mode
from naru.agent.objects import ObjectStore

REPEATS = 9
SMALL = 10_000
"""Small files of 4 KiB, each missing once."""
READERS = 8
BIG = 256 << 20
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Bench:
    """A mounted image, whose files are at first all missing, and the process that serves it."""

    root: Path
    store: Path
    server: int
    big: bytes
    mounted: float
    """Seconds from the index to the mounted root."""


def measure() -> Iterator[Figure]:
    """Read warm and cold through each lazy mode that this kernel allows."""
    if os.geteuid():
        raise Absent("only root mounts")
    for mode in (Mode.PASSTHROUGH, Mode.READS):
        yield from asyncio.run(_mode(mode))


async def _mode(mode: Mode) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="naru-bench-", dir="/var/tmp") as scratch:
        if reason := support.probe(Path(scratch)).reason(mode):
            raise Absent(f"no {mode} here: {reason}")
        async with _bench(Path(scratch), mode) as bench:
            return await asyncio.to_thread(_figures, bench, mode)


def _figures(bench: Bench, mode: Mode) -> list[Figure]:
    day = datetime.now(UTC).date()
    names = [bench.root / f"small/{number:05}" for number in range(SMALL)]
    alone, together = _parts(names[: SMALL // 2], 5), _parts(names[SMALL // 2 :], 5)
    before = _used(bench.server)
    serial = [len(part) / _elapsed(_read_all, part) for part in alone]
    parallel = [len(part) / _elapsed(_read_together, part) for part in together]
    used = (_used(bench.server) - before) / SMALL
    native, lazy = bench.store / bench.big.hex()[:2] / bench.big.hex()[2:], bench.root / "big"
    _read(lazy)
    warm = {read: [100 * _cpu(read, native) / _cpu(read, lazy) for _ in range(REPEATS)] for read in (_row, _random)}
    objects = f"{SMALL + 1:,} objects"
    goal = 95.0 if mode is Mode.PASSTHROUGH else None
    return [
        measured(f"mount-{mode}-misses", f"opens of missing 4 KiB files, one reader, {mode}", serial,
                 unit="/s", better="higher", day=day),
        measured(f"mount-{mode}-misses-together", f"opens of missing 4 KiB files, {READERS} readers, {mode}", parallel,
                 unit="/s", better="higher", day=day),
        measured(f"mount-{mode}-cpu", f"the server's CPU for one missing 4 KiB file, source included, {mode}",
                 [1e6 * used], unit="µs", better="lower", day=day),
        measured(f"mount-{mode}-memory", f"memory of the server of {objects} after all were missed, {mode}",
                 [_resident(bench.server) / MEGABYTE], unit="MB", better="lower", day=day, goal=100.0),
        measured(f"mount-{mode}-ready", f"from the start of the server to the mounted root of {objects}, {mode}",
                 [bench.mounted], unit="s", better="lower", day=day),
        measured(f"mount-{mode}-warm-row", f"warm reads in a row of a file that was missing, {mode}", warm[_row],
                 unit="% of native", better="higher", against="CPU for the same file on ext4", day=day, goal=goal),
        measured(f"mount-{mode}-warm-random", f"warm reads at random of a file that was missing, {mode}",
                 warm[_random], unit="% of native", better="higher", against="CPU for the same file on ext4", day=day,
                 goal=goal),
    ]  # fmt: skip


def _parts(names: list[Path], count: int) -> list[list[Path]]:
    return [names[start::count] for start in range(count)]


def _elapsed(read: Callable[[list[Path]], None], names: list[Path]) -> float:
    started = time.perf_counter()
    read(names)
    return time.perf_counter() - started


def _cpu(read: Callable[[Path], object], path: Path) -> float:
    """Return the seconds of CPU of a warm read: nothing waits, and other programs do not count."""
    started = time.process_time()
    read(path)
    return time.process_time() - started


def _used(process: int) -> float:
    """Return the seconds of CPU that a process has used."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _read(path: Path) -> int:
    file = os.open(path, os.O_RDONLY)
    try:
        return sum(iter(lambda: len(os.read(file, 1 << 20)), 0))
    finally:
        os.close(file)


def _read_all(names: list[Path]) -> None:
    for name in names:
        if _read(name) != 4096:
            raise RuntimeError(f"{name} is short")


def _read_together(names: list[Path]) -> None:
    with ThreadPoolExecutor(READERS) as readers:
        list(readers.map(_read_all, _parts(names, READERS)))


def _row(path: Path) -> None:
    for _ in range(2):
        _read(path)


def _random(path: Path) -> None:
    buffer = bytearray(16 << 10)
    file = os.open(path, os.O_RDONLY)
    try:
        place = 1
        for _ in range(50_000):
            place = (place * 1103515245 + 12345) % (BIG - len(buffer))
            os.preadv(file, (buffer,), place)
    finally:
        os.close(file)


def _resident(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def _bench(scratch: Path, mode: Mode) -> AsyncIterator[Bench]:
    origin, root = scratch / "origin", scratch / "root"
    files = {f"small/{number:05}": hashlib.sha256(b"%d" % number).digest() * 128 for number in range(SMALL)}
    files["big"] = os.urandom(1 << 20) * (BIG >> 20)
    index = index_of(files)
    for directory in (origin, root):
        directory.mkdir()
    for content in files.values():
        (origin / digest_of(content).hex()).write_bytes(content)
    store = ObjectStore(scratch / "store")
    store.save_index(index)
    store.close()
    big = digest_of(files.pop("big"))
    server: Process | None = None
    try:
        started = time.perf_counter()
        places = (str(scratch / name) for name in ("store", "roots", "origin"))
        program = (str(root_server.__file__), *places, mode, index.image)
        server = await asyncio.create_subprocess_exec(sys.executable, *program, stdout=PIPE)
        assert server.stdout
        await server.stdout.readuntil(b"ready")
        layers = kernel.overlay(
            [scratch / "roots/meta" / index.image.removeprefix("sha256:")],
            [scratch / "store/objects", scratch / "roots/remote"],
        )
        await asyncio.to_thread(kernel.mount, layers, root)
        yield Bench(root, scratch / "store/objects", server.pid, big, time.perf_counter() - started)
    finally:
        if server:
            server.kill()
            await server.wait()
        await asyncio.to_thread(_tear_down, scratch)


def _tear_down(scratch: Path) -> None:
    for one in reversed(kernel.mounted()):
        if one.where.is_relative_to(scratch):
            kernel.unmount(one.where, detach=True)
    keeping.dismiss(scratch / "roots" / "keeper.sock")
