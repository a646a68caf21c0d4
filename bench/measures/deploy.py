"""How long from the request until an app is live, against `docker run` and the first answer."""

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


def measure() -> Iterator[Figure]:
    """Deploy and `docker run` in turn, one replica of a local image each."""
    if not shutil.which("docker"):
        raise Absent("the program docker is not installed")
    with stand() as server:
        ours, theirs = asyncio.run(_in_turn(server))
    day = datetime.now(UTC).date()
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    yield measured(
        "deploy-ratio",
        "request to live, 1 replica of a local image",
        ratios,
        unit="×",
        goal=1.3,
        better="lower",
        against="`docker run` plus the first 200 polled, pair by pair",
        day=day,
    )
    yield measured("deploy-seconds", "request to live, in seconds", ours, unit="s", better="lower", day=day)


async def _in_turn(server: Stand) -> tuple[list[float], list[float]]:
    ours, theirs = [], []
    async with client(server, "1") as naru:
        await _deploy(naru, "warm")
        image = subprocess.run(
            ["docker", "inspect", "--format", "{{.Image}}", _container("warm")],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        await removed(naru, "warm")
        for number in range(REPEATS):
            app = f"bench-{number}"
            ours.append(await _deploy(naru, app))
            theirs.append(await asyncio.to_thread(_docker_run, image))
            await removed(naru, app)
    return ours, theirs


async def _deploy(naru: Client, app: str) -> float:
    workload = Workload(app, str(reference("1")), SAMPLE_PORT, 1, health=Health(HttpCheck("/healthz")))
    started = time.perf_counter()
    await ended(naru, await naru.apps.deploy(workload))
    return time.perf_counter() - started


def _container(app: str) -> str:
    listed = subprocess.run(
        ["docker", "ps", "--quiet", "--filter", f"label=naru.app={app}"], capture_output=True, text=True, check=True
    )
    return listed.stdout.split()[0]


def _docker_run(image: str) -> float:
    """Run a container as a person would, with its port published, and poll it until it answers with 200."""
    started = time.perf_counter()
    container = subprocess.run(
        ["docker", "run", "--detach", "--publish", f"127.0.0.1::{SAMPLE_PORT}", image],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    try:
        port = subprocess.run(
            ["docker", "port", container, str(SAMPLE_PORT)], capture_output=True, text=True, check=True
        ).stdout.split(":")[-1]
        while not _answers(f"http://127.0.0.1:{port.strip()}/healthz"):
            time.sleep(POLL_SECONDS)
        return time.perf_counter() - started
    finally:
        subprocess.run(["docker", "rm", "--force", container], capture_output=True, check=True)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
