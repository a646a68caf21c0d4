"""Which TCP ports of this machine can be had, and who holds the others."""

import errno
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from naru.domain.errors import Conflict, Invalid

_PROC = Path("/proc")
_LISTEN = "0A"


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that listens; `pid` is 0 when the kernel does not let us see whose socket it is."""

    pid: int = 0
    program: str = ""

    def __str__(self) -> str:
        return f"{self.program} (pid {self.pid})" if self.pid else "another process"


def demand(port: int, interface: str = "", *, ours: int = 0) -> None:
    """Check that we may listen on the port, on every interface unless one is named.

    A port that the process `ours` holds is as good as free. Raises Conflict, naming the holder, when another process
    has it, and Invalid when it can never be ours.
    """
    try:
        _try(port, interface)
    except OSError as error:
        match error.errno:
            case errno.EADDRINUSE:
                taken_by = holder(port)
                if not ours or taken_by.pid != ours:
                    cause = f"port {port} is taken by {taken_by}"
                    raise Conflict(cause, "choose another port, or stop that program") from error
            case errno.EACCES:
                raise Invalid(
                    f"port {port} is reserved for root",
                    "choose a port from 1024, or lower net.ipv4.ip_unprivileged_port_start",
                ) from error
            case _:
                raise Invalid(f"port {port} cannot be opened: {error.strerror}", "choose another port") from error


def free(candidates: Iterable[int], interface: str = "") -> int:
    """Return the first candidate that we may listen on; raise Conflict when there is none."""
    for port in candidates:
        if is_free(port, interface):
            return port
    raise Conflict("every port that may be given to an app is taken", "remove an app, or name a port")


def is_free(port: int, interface: str = "") -> bool:
    """Whether we may listen on the port, on every interface unless one is named."""
    try:
        _try(port, interface)
    except OSError:
        return False
    return True


def holder(port: int) -> Holder:
    """Say which process listens on the port."""
    tables = (_PROC / "net" / name for name in ("tcp", "tcp6"))
    wanted = {inode for table in tables if table.exists() for inode in listening(table.read_text(), port)}
    for link in _descriptors():
        try:
            if (target := str(link.readlink())).startswith("socket:[") and int(target[8:-1]) in wanted:
                process = link.parent.parent
                return Holder(int(process.name), (process / "comm").read_text().strip())
        except OSError:
            continue
    return Holder()


def listening(table: str, port: int) -> Iterator[int]:
    """Yield the inodes of the sockets that listen on the port, out of a table such as /proc/net/tcp (proc(5))."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
            yield int(fields[9])


def _try(port: int, interface: str) -> None:
    """Bind as a server of Go's net package would: both families at once unless an interface is named."""
    if interface:
        family, _, _, _, address = socket.getaddrinfo(interface, port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    else:
        both = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both else socket.AF_INET
        socket.create_server(("", port), family=family, dualstack_ipv6=both).close()


def _descriptors() -> Iterator[Path]:
    for process in _PROC.iterdir():
        if process.name.isdecimal():
            try:
                yield from (process / "fd").iterdir()
            except OSError:
                continue
