"""How long from the request until an app is live on a real swarm of three nodes, against `docker service create`.

By hand the same is an overlay network and a service of three tasks in it, published on its nodes. It counts as done at
two moments: when every task has answered with 200, and when the command says that the service converged, which it does
once the tasks have run for five seconds. The image is on all nodes before.
"""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from tests.swarms import Node, swarm

from bench.figures import Figure, measured
from bench.measures import Absent
from bench.measures.deploy import PATIENCE_SECONDS, POLL_SECONDS, answers
from bench.stand import Stand, client, ended, reference, removed, stand
from naru.client import Client
from naru.domain.workload import Health, HttpCheck, Workload
from naru.oci.sample import SAMPLE_PORT

NODES = 3
REPEATS = 7
PORT = 28080
"""Where the service made by hand is published, on each node's own address."""


def measure() -> Iterator[Figure]:
    """Deploy by Naru and by hand in turn, three replicas of a local image each."""
    for program in ("docker", "dockerd", "ip", "iptables", "nsenter"):
        if not shutil.which(program):
            raise Absent(f"the program {program} is not installed")
    with swarm(NODES) as nodes:
        manager, *others = nodes
        url = f"{manager.url}?{'&'.join(f'node=unix://{node.socket}' for node in others)}"
        with stand(NARU_ENGINE=url) as server:
            ours, answered, converged = asyncio.run(_in_turn(server, nodes))
    day = datetime.now(UTC).date()
    for name, theirs, until in (
        ("swarm-ratio", answered, "until each of its tasks answered with 200"),
        ("swarm-ratio-converged", converged, "until it says 'converged'"),
    ):
        yield measured(
            name,
            f"request to live, {NODES} replicas of a local image on a swarm of {NODES} nodes",
            [mine / other for mine, other in zip(ours, theirs, strict=True)],
            unit="×",
            goal=1.15,
            better="lower",
            against=f"`docker network create` and `docker service create` {until}, pair by pair",
            day=day,
        )
    yield measured("swarm-seconds", "request to live on a swarm, in seconds", ours, unit="s", better="lower", day=day)


async def _in_turn(server: Stand, nodes: Sequence[Node]) -> tuple[list[float], list[float], list[float]]:
    ours: list[float] = []
    answered: list[float] = []
    converged: list[float] = []
    docker = ("docker", "--host", f"unix://{nodes[0].socket}")
    async with client(server, "1") as naru:
        await _deploy(naru, "warm")
        services = _say(*docker, "service", "ls", "--quiet").split()
        image = _say(*docker, "service", "inspect", "--format", _IMAGE, services[0])
        await removed(naru, "warm")
        for number in range(REPEATS):
            ours.append(await _deploy(naru, f"bench-{number}"))
            await removed(naru, f"bench-{number}")
            first, last = await asyncio.to_thread(_by_hand, docker, nodes, image, f"by-hand-{number}")
            answered.append(first)
            converged.append(last)
    return ours, answered, converged


_IMAGE = "{{.Spec.TaskTemplate.ContainerSpec.Image}}"


async def _deploy(naru: Client, app: str) -> float:
    workload = Workload(app, str(reference("1")), SAMPLE_PORT, NODES, health=Health(HttpCheck("/healthz")))
    started = time.perf_counter()
    await ended(naru, await naru.apps.deploy(workload))
    return time.perf_counter() - started


def _by_hand(docker: Sequence[str], nodes: Sequence[Node], image: str, name: str) -> tuple[float, float]:
    """Create a network and a service as a person would; return the seconds to all answers, and to convergence."""
    started = time.perf_counter()
    _say(*docker, "network", "create", "--driver=overlay", name)
    publish = f"--publish=mode=host,target={SAMPLE_PORT},published={PORT}"
    shape = ("--replicas", str(NODES), "--network", name, "--endpoint-mode=dnsrr", "--no-resolve-image")
    creation = subprocess.Popen(
        [*docker, "service", "create", "--name", name, *shape, publish, image], stdout=subprocess.DEVNULL
    )
    try:
        for node in nodes:
            while not answers(f"http://{node.address}:{PORT}/healthz"):
                if time.perf_counter() - started > PATIENCE_SECONDS:
                    raise RuntimeError(f"nothing answers on {node.name}")
                time.sleep(POLL_SECONDS)
        answered = time.perf_counter() - started
        if creation.wait(PATIENCE_SECONDS):
            raise RuntimeError(f"docker service create ended with {creation.returncode}")
        return answered, time.perf_counter() - started
    finally:
        creation.kill()
        creation.wait()
        _say(*docker, "service", "rm", name)
        deadline = time.perf_counter() + PATIENCE_SECONDS
        while subprocess.run([*docker, "network", "rm", name], capture_output=True, check=False).returncode:
            if time.perf_counter() > deadline:
                raise RuntimeError(f"the network {name} does not go")
            time.sleep(0.2)


def _say(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
