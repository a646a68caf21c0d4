"""`naru deploy` of a service to an empty node of a real Kubernetes that is far from all else.

The node is behind a thin, long link; the registry, the agent beside it, the cluster's control plane and Naru's server
are at its other end. Two moments count from the command on: when the service first answers on the node, which is what
others are measured by, and when its endpoint is proven, for which requests cross the link. Every node is a new one.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import randbelow, token_hex
from threading import Event

from tests.contract import kubernetes_node, kubernetes_plane
from tests.contract.kubernetes_node import Network
from tests.e2e.agent.edge import Edge, edge
from tests.fleets import Host, join

from bench.edge import outside, waiting
from bench.figures import Figure, measured
from bench.measures import Absent
from bench.measures.distribution import REPEATS
from bench.rest import rest
from bench.site import LINKS, Shop, shop


def measure() -> Iterator[Figure]:
    """Deploy to empty nodes, link by link."""
    if missing := kubernetes_plane.absence() or kubernetes_node.absence():
        raise Absent(missing)
    with shop("1") as opened:
        for rate, round_trip, goal in LINKS:
            answers, proofs = zip(*(_deployed(opened, turn, rate, round_trip) for turn in range(REPEATS)), strict=True)
            mark, link = f"{rate / 1e6:.0f}", f"{rate / 1e6:.0f} Mbit/s and {round_trip * 1000:.0f} ms"
            day = datetime.now(UTC).date()
            yield measured(
                f"node-answers-{mark}",
                f"`naru deploy` to an empty Kubernetes node: the service answers, {link}",
                answers,
                unit="s",
                goal=goal,
                better="lower",
                day=day,
            )
            yield measured(
                f"node-proven-{mark}",
                f"the same until its endpoint is proven, {link}",
                proofs,
                unit="s",
                better="lower",
                day=day,
            )


def _deployed(opened: Shop, turn: int, rate: float, round_trip: float) -> tuple[float, float]:
    """Return the seconds from the command until the service answers, and until it is proven."""
    home = opened.home / f"node-{rate / 1e6:.0f}-{turn}"
    with (
        _far(rate, round_trip) as (machine, where),
        outside(opened.home / "out", opened.storage, machine, "1") as here,
        edge(home, where, here.address, here.agent) as site,
        ThreadPoolExecutor(1) as beside,
    ):
        rest()
        begun, over = time.monotonic(), Event()
        answer = beside.submit(_answers, site, begun, over)
        try:
            site.deploy(here.reference("1"), "--health", "http:/", "--stop-grace", "1s")
            proven = time.monotonic() - begun
            return answer.result(), proven
        finally:
            over.set()


def _answers(site: Edge, begun: float, over: Event) -> float:
    """Wait for the node's first pod and its answer; return the seconds from `begun`."""
    pods: Path = site.kubernetes.home / "addresses/pods"
    while not over.wait(0.01):
        if given := [one.name for one in pods.glob("*.*.*.*")]:
            with waiting(site.kubernetes.network.node, given[0]) as answer:
                return answer() - begun
    raise RuntimeError("the deployment ended before a pod had an address")


@contextmanager
def _far(rate: float, round_trip: float) -> Iterator[tuple[Host, Network]]:
    """Make a network for a node at the end of a thin, long link from this machine; give this machine's end and it."""
    name, net = f"nk{token_hex(2)}", f"10.{200 + randbelow(50)}.{randbelow(256)}"
    with ExitStack() as stack:
        for made in (("attach", f"{name}-m", str(os.getpid())), ("add", name)):
            subprocess.run(("ip", "netns", *made), check=True)
            stack.callback(subprocess.run, ("ip", "netns", "delete", made[1]), check=True)
        join(stack, (f"{name}-m", name), (name, "eth0"), rate, round_trip)
        for words in (
            ("address", "add", f"{net}.1/25", "dev", name),
            ("route", "add", f"{net}.128/25", "dev", name),
            ("-n", name, "link", "set", "lo", "up"),
            ("-n", name, "address", "add", f"{net}.2/25", "dev", "eth0"),
        ):
            subprocess.run(("ip", *words), check=True)
        yield Host(f"{name}-m", f"{net}.1"), Network(name, net)
