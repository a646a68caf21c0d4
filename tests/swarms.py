"""Swarms of private Docker engines on this machine: each node has a network, a host name and storage of its own.

The nodes hang on one bridge of this machine, which reaches them by their addresses. Everything is removed at the end,
each thing by its own name or process id; needs root, dockerd and iproute2.
"""

import json
import secrets
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from tempfile import TemporaryDirectory

HEARTBEAT = 1_000_000_000
"""Nanoseconds between two signs of life of a node: a lost one is noticed after three."""
PATIENCE = 90.0


@dataclass(slots=True)
class Node:
    """One private engine; `home` holds all it writes."""

    name: str
    address: str
    home: Path
    link: str
    options: str = ""
    server: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def socket(self) -> Path:
        """Its socket."""
        return self.home / "docker.sock"

    @property
    def machine(self) -> str:
        """The address under which its nodes reach this machine, where a registry may speak plain HTTP."""
        return f"{self.address.rpartition('.')[0]}.1"

    @property
    def url(self) -> str:
        """Its socket as a URL for Naru's Swarm engine."""
        return f"swarm+unix://{self.socket}"

    def start(self) -> None:
        """Start the engine and wait until it answers."""
        # `ip netns exec` would hide the cgroups; the daemon shares /run/docker and the host's name by default.
        script = (
            f"hostname {self.name} && mkdir -p /run/docker && mount -t tmpfs none /run/docker"
            " && { [ ! -d /run/containerd ] || mount -t tmpfs none /run/containerd; } && exec dockerd"
            f" --data-root={self.home}/data --exec-root={self.home}/exec --pidfile={self.home}/pid"
            f" --host=unix://{self.socket} --storage-driver=overlay2 --insecure-registry={self.machine}/24"
            f" {self.options}"
        )
        with (self.home / "log").open("ab") as log:
            self.server = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "--mount", "--uts", "sh", "-c", script],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd did not start: {(self.home / 'log').read_text(errors='replace')[-800:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the engine and its containers."""
        if self.server is None:
            return
        self.server.terminate()
        try:
            self.server.wait(30)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait(5)
        self.server = None

    def cut(self) -> None:
        """Let the other nodes lose sight of it."""
        _run("ip", "link", "set", self.link, "down")

    def mend(self) -> None:
        """Let the other nodes see it again."""
        _run("ip", "link", "set", self.link, "up")

    def load(self, archive: Path) -> None:
        """Load an image."""
        self.ask("POST", "/images/load", archive.read_bytes(), kind="application/x-tar")

    def ask(self, method: str, path: str, body: object = None, *, kind: str = "application/json") -> object:
        """Make one call of its API."""
        connection = HTTPConnection("localhost", timeout=60)
        connection.sock = socket(AF_UNIX, SOCK_STREAM)
        try:
            connection.sock.settimeout(60)
            connection.sock.connect(str(self.socket))
            content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
            connection.request(method, f"/v1.41{path}", content, {"Content-Type": kind})
            answer = connection.getresponse()
            said = answer.read()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {said.decode()}")
            with suppress(ValueError):
                return json.loads(said)
            return said.decode()
        finally:
            connection.close()

    def _answers(self) -> bool:
        try:
            self.ask("GET", "/_ping")
        except (OSError, HTTPException, RuntimeError):
            return False
        return True


@contextmanager
def engines(count: int) -> Iterator[Sequence[Node]]:
    """Start as many engines, each for itself."""
    with ExitStack() as stack:
        yield [stack.enter_context(node) for node in _nodes(stack, count, "")]


@contextmanager
def swarm(count: int, options: str = "") -> Iterator[Sequence[Node]]:
    """Start a swarm of `count` nodes, the first of which manages it; `options` are of their dockerd."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(node) for node in _nodes(stack, count, options)]
        spec = {"Dispatcher": {"HeartbeatPeriod": HEARTBEAT}, "Orchestration": {"TaskHistoryRetentionLimit": 5}}
        first, *others = nodes
        first.ask("POST", "/swarm/init", {"AdvertiseAddr": first.address, "ListenAddr": "0.0.0.0:2377", "Spec": spec})
        joining = first.ask("GET", "/swarm")
        assert isinstance(joining, dict)
        for node in others:
            node.ask(
                "POST",
                "/swarm/join",
                {
                    "RemoteAddrs": [f"{first.address}:2377"],
                    "JoinToken": joining["JoinTokens"]["Worker"],
                    "ListenAddr": "0.0.0.0:2377",
                    "AdvertiseAddr": node.address,
                },
            )
        yield nodes


def _nodes(stack: ExitStack, count: int, options: str) -> Iterator[AbstractContextManager[Node]]:
    mark = secrets.token_hex(2)
    bridge, net = f"nswarm{mark}", f"10.{100 + secrets.randbelow(100)}.{secrets.randbelow(256)}"
    _run("ip", "link", "add", bridge, "type", "bridge")
    stack.callback(_run, "ip", "link", "delete", bridge)
    _run("ip", "addr", "add", f"{net}.1/24", "dev", bridge)
    _run("ip", "link", "set", bridge, "up")
    for way in ("-i", "-o"):
        rule = ("FORWARD", way, bridge, "-j", "ACCEPT")
        _run("iptables", "-w", "-I", *rule)
        stack.callback(_run, "iptables", "-w", "-D", *rule)
    for number in range(1, count + 1):
        yield _node(f"n{mark}{number}", bridge, net, number + 1, options)


@contextmanager
def _node(name: str, bridge: str, net: str, host: int, options: str) -> Iterator[Node]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="naru-node-", ignore_cleanup_errors=True)))
        _run("ip", "netns", "add", name)
        stack.callback(_run, "ip", "netns", "delete", name)
        _run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "link", "set", name, "master", bridge, "up")
        within = ("ip", "-n", name)
        _run(*within, "link", "set", "lo", "up")
        _run(*within, "link", "set", "eth0", "up")
        _run(*within, "addr", "add", f"{net}.{host}/24", "dev", "eth0")
        _run(*within, "route", "add", "default", "via", f"{net}.1")
        node = Node(name, f"{net}.{host}", home, name, options)
        stack.callback(node.stop)
        node.start()
        yield node


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
