"""Edge sites on this machine: nodes are network namespaces on a bridge, behind a thin and long link to the outside.

    outside ── wide-area link: rate, round trip ── site's router ── bridge ── node, node, …

The outside is a namespace too, so that the origin is as far from every node as it is meant to be. Everything is removed
at the end, each thing by its own name or process id; needs root, iproute2 and /dev/net/tun.
"""

import ctypes
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

WIDE_MTU = 9000
"""Bytes of a packet on the wide-area link: the relay works by packet, and shares the cores with what is measured."""
_NEW_NETWORK = 0x40000000
"""CLONE_NEWNET of sched.h."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A site: its nodes, its link to the outside (bits per second, seconds), each node's own link (bits per second)."""

    nodes: int
    uplink: float = 100e6
    round_trip: float = 0.02
    lan: float = 1e9


@dataclass(frozen=True, slots=True)
class Host:
    """A network namespace that programs can be run in."""

    namespace: str
    address: str

    def command(self, *words: str) -> tuple[str, ...]:
        """Return the command that runs `words` there; `ip netns exec` would hide the cgroups."""
        return ("nsenter", f"--net=/run/netns/{self.namespace}", *words)

    def run(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[bytes]":
        """Run a command there to its end."""
        return subprocess.run(self.command(*words), check=check, capture_output=True)

    def start(self, *words: str, log: Path, env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """Start a program there; what it says goes to `log`."""
        with log.open("ab") as said:
            return subprocess.Popen(self.command(*words), stdout=said, stderr=said, env=env)


@dataclass(frozen=True, slots=True)
class Place:
    """A site that stands: its router's namespace, its nodes, and the device that carries what comes from outside."""

    name: str
    router: str
    nodes: tuple[Host, ...]
    outside: str
    wide: str

    def cut(self) -> None:
        """Let the site lose sight of the outside."""
        _ip("-n", self.router, "link", "set", "wide", "down")

    def mend(self) -> None:
        """Let it see the outside again."""
        _ip("-n", self.router, "link", "set", "wide", "up")
        _ip("-n", self.router, "route", "replace", "default", "dev", "wide")

    def received(self) -> int:
        """Return the bytes that came from outside so far, headers included."""
        seen = subprocess.run(
            ("nsenter", f"--net=/run/netns/{self.router}", "cat", "/proc/net/dev"), check=True, capture_output=True
        )
        row = next(line for line in seen.stdout.decode().splitlines() if line.strip().startswith("wide:"))
        return int(row.split(":")[1].split()[0])


@dataclass(frozen=True, slots=True)
class Fleet:
    """The outside and the sites."""

    outside: Host
    sites: tuple[Place, ...]


@contextmanager
def fleet(*shapes: Shape) -> Iterator[Fleet]:
    """Build sites of these shapes, and remove them at the end."""
    mark = secrets.token_hex(2)
    net = f"10.{200 + secrets.randbelow(50)}"
    with ExitStack() as stack:
        outside = Host(_namespace(stack, f"nf{mark}-out"), f"{net}.0.1")
        _ip("-n", outside.namespace, "address", "add", f"{outside.address}/32", "dev", "lo")
        sites = tuple(_site(stack, f"nf{mark}-{i}", f"{net}.{i}", shape, outside) for i, shape in enumerate(shapes, 1))
        yield Fleet(outside, sites)


def _site(stack: ExitStack, name: str, net: str, shape: Shape, outside: Host) -> Place:
    router = _namespace(stack, f"{name}-r")
    _ip("-n", router, "link", "add", "lan", "type", "bridge")
    _ip("-n", router, "address", "add", f"{net}.1/24", "dev", "lan")
    _ip("-n", router, "link", "set", "lan", "up")
    Host(router, f"{net}.1").run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    wide = f"w{name[2:]}"
    join(stack, (outside.namespace, wide), (router, "wide"), shape.uplink, shape.round_trip)
    _ip("-n", outside.namespace, "route", "add", f"{net}.0/24", "dev", wide)
    _ip("-n", router, "route", "add", "default", "dev", "wide")
    return Place(name, router, tuple(_nodes(stack, name, net, shape, router)), outside.namespace, wide)


def _nodes(stack: ExitStack, name: str, net: str, shape: Shape, router: str) -> Iterator[Host]:
    for i in range(shape.nodes):
        node = Host(_namespace(stack, f"{name}-n{i}"), f"{net}.{10 + i}")
        near = f"n{i}"
        _ip("-n", router, "link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", node.namespace)
        _ip("-n", router, "link", "set", near, "master", "lan", "up")
        _ip("-n", node.namespace, "address", "add", f"{node.address}/24", "dev", "eth0")
        _ip("-n", node.namespace, "link", "set", "eth0", "up")
        _ip("-n", node.namespace, "route", "add", "default", "via", f"{net}.1")
        _shape(node.namespace, "eth0", shape.lan, latency="50ms")
        _shape(router, near, shape.lan, latency="50ms")
        yield node


def join(stack: ExitStack, near: Sequence[str], far: Sequence[str], rate: float, round_trip: float) -> None:
    """Join two network namespaces by a wide-area link: bits per second each way, and seconds.

    Each end is a namespace and the name of the device to make there, which is up then and has no address.
    """
    _relay(stack, near, far, round_trip / 2)
    for namespace, device in (near, far):
        _ip("-n", namespace, "link", "set", device, "mtu", str(WIDE_MTU), "txqueuelen", "1000", "up")
        _shape(namespace, device, rate, latency="200ms")


def _relay(stack: ExitStack, near: Sequence[str], far: Sequence[str], delay: float) -> None:
    relay = subprocess.Popen(
        (sys.executable, str(Path(__file__).with_name("relay.py")), *near, *far, str(delay)), stdout=subprocess.PIPE
    )
    stack.callback(relay.wait, 5)
    stack.callback(relay.terminate)
    assert relay.stdout is not None
    stack.callback(relay.stdout.close)
    if relay.stdout.readline() != b"ready\n":
        raise RuntimeError("the relay did not come up; its message is above")


def _shape(namespace: str, device: str, rate: float, *, latency: str) -> None:
    burst = max(int(rate / 8 / 250), 4 * WIDE_MTU)
    words = f"qdisc add dev {device} root tbf rate {rate:.0f}bit burst {burst} latency {latency}"
    subprocess.run(("tc", "-n", namespace, *words.split()), check=True)


def _namespace(stack: ExitStack, name: str) -> str:
    _ip("netns", "add", name)
    stack.callback(_ip, "netns", "delete", name)
    _ip("-n", name, "link", "set", "lo", "up")
    return name


def _ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True)


@contextmanager
def bridged(host: Host, port: int) -> Iterator[str]:
    """Let programs at a host reach a port of this machine's loopback; yield the address that they ask, HOST:PORT."""
    with ThreadPoolExecutor(1) as elsewhere:  # its thread ends with it, so nothing else ever runs in that namespace
        listener = elsewhere.submit(_listening, host).result()
    ends: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(1 << 16):
                sink.sendall(part)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                ends.extend((near, far))
                for way in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=way, daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield f"{host.address}:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join(10)
        for end in (listener, *ends):
            end.close()


def _listening(host: Host) -> socket.socket:
    """Listen in a host's network namespace, into which this thread goes for good (setns(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{host.namespace}") as namespace:
        if libc.setns(namespace.fileno(), _NEW_NETWORK):
            raise OSError(ctypes.get_errno(), f"the namespace {host.namespace} cannot be entered")
    return socket.create_server((host.address, 0))
