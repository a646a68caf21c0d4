"""How long from the request until an app is live, against `docker run` and the first answer.

Naru gives every app a network of its own, which costs Docker about 100 ms to make and some more at each start, so the
same work by hand (`docker network create`, then `docker run` in it) is measured beside it.
"""

import asyncio
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.error import URLError

from bench.figures import Figure, measured
from bench.measures import Absent
from bench.stand import Stand, client, ended, reference, removed, stand
from naru.client import Client
from naru.domain.workload import Health, HttpCheck, Workload
from naru.oci.sample import SAMPLE_PORT

REPEATS = 15
POLL_SECONDS = 0.002
PATIENCE_SECONDS = 30.0


def measure() -> Iterator[Figure]:
    """Deploy and `docker run` in turn, one replica of a local image each."""
    if not shutil.which("docker"):
        raise Absent("the program docker is not installed")
    with stand() as server:
        ours, plain, apart = asyncio.run(_in_turn(server))
    day = datetime.now(UTC).date()
    yield measured(
        "deploy-ratio",
        "request to live, 1 replica of a local image",
        [mine / other for mine, other in zip(ours, plain, strict=True)],
        unit="×",
        goal=1.3,
        better="lower",
        against="`docker run` plus the first 200 polled, pair by pair",
        day=day,
    )
    yield measured(
        "deploy-ratio-network",
        "request to live, 1 replica of a local image",
        [mine / other for mine, other in zip(ours, apart, strict=True)],
        unit="×",
        goal=1.3,
        better="lower",
        against="`docker network create`, `docker run` in it, and the first 200 polled, pair by pair",
        day=day,
    )
    yield measured("deploy-seconds", "request to live, in seconds", ours, unit="s", better="lower", day=day)


async def _in_turn(server: Stand) -> tuple[list[float], list[float], list[float]]:
    ours, plain, apart = [], [], []
    async with client(server, "1") as naru:
        await _deploy(naru, "warm")
        image = _docker("inspect", "--format", "{{.Image}}", _container("warm"))
        await removed(naru, "warm")
        for number in range(REPEATS):
            app = f"bench-{number}"
            ours.append(await _deploy(naru, app))
            plain.append(await asyncio.to_thread(_docker_run, image))
            apart.append(await asyncio.to_thread(_docker_run, image, f"by-hand-{number}"))
            await removed(naru, app)
    return ours, plain, apart


async def _deploy(naru: Client, app: str) -> float:
    workload = Workload(app, str(reference("1")), SAMPLE_PORT, 1, health=Health(HttpCheck("/healthz")))
    started = time.perf_counter()
    await ended(naru, await naru.apps.deploy(workload))
    return time.perf_counter() - started


def _container(app: str) -> str:
    return _docker("ps", "--quiet", "--filter", f"label=naru.app={app}").split()[0]


def _docker_run(image: str, network: str = "") -> float:
    """Run a container as a person would, with its port published, and poll it until it answers with 200."""
    started = time.perf_counter()
    if network:
        _docker("network", "create", network)
    publish = f"127.0.0.1::{SAMPLE_PORT}"
    container = _docker("run", "--detach", "--publish", publish, "--network", network or "bridge", image)
    try:
        port = _docker("port", container, str(SAMPLE_PORT)).split(":")[-1]
        deadline = started + PATIENCE_SECONDS
        while not answers(f"http://127.0.0.1:{port}/healthz"):
            if time.perf_counter() > deadline:
                raise Absent("containers on Docker's default bridge cannot be reached here")
            time.sleep(POLL_SECONDS)
        return time.perf_counter() - started
    finally:
        _docker("rm", "--force", container)
        if network:
            _docker("network", "rm", network)


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()


def answers(url: str) -> bool:
    """Say whether a URL answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
