"""Edge nodes for a measure: agents and containerds on nodes behind a thin, long link, the registry outside.

Beside the registry runs an agent that derived the image's index and has seen one start of it.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

from tests import cri
from tests.agents import Running, agent
from tests.containerds import Containerd, Pods, containerd
from tests.fleets import Host

from bench.origin import PAUSE, REPOSITORY, registry

AGENT_PORT = 7071
RECORD_SECONDS = 3
PATIENCE = 300.0
WAIT = """
import http.client, socket, sys, time
address, patience = sys.argv[1:]
print("looking", flush=True)
deadline = time.monotonic() + float(patience)
while time.monotonic() < deadline:
    with socket.socket() as door:  # a look that costs the cores little while they are measured
        door.settimeout(1)
        if door.connect_ex((address, 8080)):
            time.sleep(0.02)
            continue
    try:
        asked = http.client.HTTPConnection(address, 8080, timeout=60)
        asked.request("GET", "/")
        if asked.getresponse().status == 200:
            print(time.monotonic())
            sys.exit()
    except OSError:
        time.sleep(0.01)
sys.exit("nobody answered")
"""
"""Polls from inside a node's network; the monotonic clock is the same for all processes of a machine."""


def lacking() -> str:
    """Say what this machine lacks for edge nodes; empty when nothing."""
    if os.geteuid():
        return "only root can make edge nodes"
    missing = [
        one
        for one in ("containerd", "ctr", "runc", "docker-registry", "debootstrap", "ip", "tc")
        if not shutil.which(one)
    ]
    return f"not installed: {', '.join(missing)}" if missing else ""


@dataclass(frozen=True, slots=True)
class Outside:
    """What is outside of every site: the registry and the agent beside it."""

    host: Host
    address: str
    agent: Running

    def reference(self, tag: str) -> str:
        """Name the image as nodes do."""
        return f"{self.address}/{REPOSITORY}:{tag}"

    @property
    def pods(self) -> Pods:
        """How nodes' containerds run pods."""
        return Pods("naru", f"{self.address}/{PAUSE}", self.address)


@dataclass(frozen=True, slots=True)
class EdgeNode:
    """An empty node: its host, its agent, and its containerd, if it has one."""

    host: Host
    agent: Running
    engine: Containerd | None

    def start(self, reference: str, answer: Callable[[], float], name: str = "pod") -> float:
        """Pull the image through containerd and start it; return when `answer` says that it answered."""
        engine = self.engine
        assert engine is not None
        try:
            run(engine, self.agent.home, reference, name)
            return answer()
        except TimeoutError as error:
            raise RuntimeError(f"{error}; the agent says: {self.agent.log()[-600:]}") from None

    def ready(self, reference: str) -> float:
        """Start the image alone; return the seconds until it answered."""
        with waiting(self.host) as answer:
            begun = time.monotonic()
            return self.start(reference, answer) - begun


def run(engine: Containerd, logs: Path, reference: str, name: str = "pod") -> None:
    """Pull the image through containerd's CRI and start it."""
    cri.pull(engine.socket, reference)
    cri.start_pod(engine.socket, logs, reference, name=name)


@contextmanager
def waiting(host: Host, address: str = "127.0.0.1") -> Iterator[Callable[[], float]]:
    """Ask for a service from inside `host` from now on; yield what returns when it answered, by the monotonic clock.

    That raises TimeoutError when it never does. Who asks is up by then, so it is no part of what is measured.
    """
    with subprocess.Popen(host.command(sys.executable, "-c", WAIT, address, str(PATIENCE)), stdout=PIPE) as waiter:
        assert waiter.stdout is not None
        waiter.stdout.readline()

        def answer() -> float:
            said, _ = waiter.communicate(timeout=PATIENCE)
            if waiter.returncode:
                raise TimeoutError("the service never answered")
            return float(said)

        try:
            yield answer
        finally:
            waiter.kill()


@contextmanager
def outside(home: Path, storage: Path, host: Host, *tags: str) -> Iterator[Outside]:
    """Run the registry over `storage` and an agent beside it, which has the images and the profile of each one's start.

    `home` keeps the agent's objects, so that a second time nothing is derived again.
    """
    with registry(storage, host) as address:
        settings = {
            "NARU_AGENT_NODE": "outside",
            "NARU_SITE": "outside",
            "NARU_AGENT_AUTHORITY": "yes",
            "NARU_AGENT_LISTEN": f"{host.address}:{AGENT_PORT}",
            "NARU_AGENT_RECORD": str(RECORD_SECONDS),
            "NARU_INSECURE_REGISTRIES": address,
        }
        with agent(home, host, **settings) as running:
            here = Outside(host, address, running)
            for tag in tags:
                running.command("prefetch", here.reference(tag))
            profiles = home / "state/profiles"
            known = len(list(profiles.glob("*"))) if profiles.is_dir() else 0
            if known <= len(tags):
                for tag in tags:
                    _record(here, tag)
            yield here


def _record(here: Outside, tag: str) -> None:
    """Start the image once beside the registry, so that what the start touches is known."""
    with containerd(
        here.agent.home.parent / f"watched-{tag}", here.host, {"naru": here.agent.snapshotter}, here.pods
    ) as engine:
        EdgeNode(here.host, here.agent, engine).ready(here.reference(tag))
        time.sleep(RECORD_SECONDS + 1)


@contextmanager
def node(
    home: Path, here: Outside, host: Host, name: str, *, engine: bool = True, **settings: str
) -> Iterator[EdgeNode]:
    """Run an empty node of the site `edge`: an agent that has joined, and with `engine` a containerd that asks it."""
    told = {
        "NARU_AGENT_NODE": name,
        "NARU_SITE": "edge",
        "NARU_AGENT_LISTEN": f"{host.address}:{AGENT_PORT}",
        "NARU_AGENT_ORIGIN": "no",
        "NARU_AGENT_MULTICAST": "yes",
        "NARU_AGENT_RECORD": "0",
        "NARU_AGENT_PEERS": f"{here.host.address}:{AGENT_PORT}",
        "NARU_INSECURE_REGISTRIES": here.address,
        **settings,
    }
    (home / name).mkdir(parents=True)
    token = here.agent.command("token", "--node", name).split()[-1]
    Running(home / name, told, host).command("join", token, "--via", f"{here.host.address}:{AGENT_PORT}")
    with ExitStack() as stack:
        running = stack.enter_context(agent(home / name, host, **told))
        if not engine:
            yield EdgeNode(host, running, None)
            return
        where = home / f"{name}-engine"
        own = stack.enter_context(containerd(where, host, {"naru": running.snapshotter}, here.pods))
        cri.pull(own.socket, here.pods.pause)
        yield EdgeNode(host, running, own)
