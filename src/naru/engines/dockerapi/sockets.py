"""What does a process listen on? Read from /proc/PID/net/tcp and tcp6 (proc(5)), whose network is the container's."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_LISTENING = "0A"
_RESOLVER = IPv4Address("127.0.0.11")
"""Docker's own name server listens here inside every container."""


@dataclass(frozen=True, slots=True, order=True)
class Listener:
    """A TCP port that is open, and for whom: `local` is open to the container itself alone."""

    port: int
    local: bool


def listeners(table: str) -> frozenset[Listener]:
    """Read a table as the kernel prints it; addresses are hexadecimal words, bytes swapped."""
    found = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == _LISTENING and (listener := _listener(fields[1])):
            found.add(listener)
    return frozenset(found)


def listeners_of(pid: int, container: str, proc: Path = Path("/proc")) -> frozenset[Listener] | None:
    """Say what the container's process listens on; None when it does not run here or may not be read."""
    home = proc / str(pid)
    try:
        if container not in (home / "cgroup").read_text():
            return None
        return listeners((home / "net/tcp").read_text()) | listeners((home / "net/tcp6").read_text())
    except OSError:
        return None


def explain(port: int, found: Iterable[Listener]) -> str:
    """Say why nothing answers on a port, and where something would; empty when the port is open."""
    found = sorted(found)
    mine = [one for one in found if one.port == port]
    if any(not one.local for one in mine):
        return ""
    if mine:
        return f"port {port} is open on the loopback address alone; let the program listen on 0.0.0.0"
    ports = sorted({one.port for one in found if not one.local})
    return f"nothing listens on port {port}; the container listens on {_listed(ports)}"


def _listener(field: str) -> Listener | None:
    address, _, port = field.partition(":")
    try:
        words = bytes.fromhex(address)
        number = int(port, 16)
        host = ip_address(b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4)))
    except ValueError:
        return None
    if isinstance(host, IPv6Address) and host.ipv4_mapped:
        host = host.ipv4_mapped
    return None if host == _RESOLVER else Listener(number, host.is_loopback)


def _listed(ports: list[int]) -> str:
    return ", ".join(str(port) for port in ports[:8]) if ports else "no port"
