"""What an engine's own programs take of this machine: the process behind a socket and those that it started."""

import platform
import socket
import struct
from collections.abc import Collection, Iterator
from pathlib import Path

_PROC = Path("/proc")


def behind(path: Path) -> int:
    """Return the process that listens on a unix socket (unix(7), SO_PEERCRED), 0 when nobody says."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
            asked.settimeout(5)
            asked.connect(str(path))
            found = asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return 0
    return int(struct.unpack("3i", found)[0])


def family(root: int) -> frozenset[int]:
    """Return a process and all that descend from it."""
    children: dict[int, set[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, set()).add(pid)
    found, todo = set[int](), [root]
    while todo:
        found.add(pid := todo.pop())
        todo.extend(children.get(pid, ()))
    return frozenset(found)


def memory(pids: Collection[int]) -> int:
    """Return the proportional set size of processes in bytes (proc(5), smaps_rollup): shared pages count once."""
    return sum(_pss(pid) for pid in pids)


def disk(pids: Collection[int]) -> int:
    """Return the size in bytes of the files that processes run, each counted once."""
    programs: dict[tuple[int, int], int] = {}
    for pid in pids:
        try:
            about = (_PROC / str(pid) / "exe").stat()
        except OSError:
            continue
        programs[about.st_dev, about.st_ino] = about.st_size
    return sum(programs.values())


def machine() -> str:
    """Say what kind of machine this is, and nothing that names it."""
    lines = (_PROC / "cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    cores = sum(line.startswith("processor") for line in lines)
    memory = int((_PROC / "meminfo").read_text().split()[1]) / 1024**2
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{cores} cores ({model or platform.machine()}), {memory:.0f} GiB, Linux {kernel}"


def _parents() -> Iterator[tuple[int, int]]:
    for process in _PROC.iterdir():
        if process.name.isdecimal():
            try:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            yield int(process.name), int(fields[1])


def _pss(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
