"""A Naru server of its own for a measure: state in a scratch directory, free ports, the local engine."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_ports

from bench.measures import Absent
from naru.client import Client, connect
from naru.domain.errors import NaruError
from naru.domain.rollout import Rollout, RolloutState
from naru.oci.layout import ImageStore
from naru.oci.reference import Reference
from naru.oci.sample import sample_image
from naru.routing.caddy.door import CaddyDoor
from naru.routing.caddy.settings import CaddySettings

WAIT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Stand:
    """A running server."""

    url: str
    token: str
    pid: int
    state: Path


@contextmanager
def stand(key: bytes = b"", **settings: str) -> Iterator[Stand]:
    """Run a server until the end, with its database's `key` if there is one; raise Absent when it does not come up."""
    with tempfile.TemporaryDirectory(prefix="naru-bench-") as state:
        if key:
            Path(state, "key").write_bytes(key)
        port, http, https = free_ports(3)
        environment = {
            **os.environ,
            "NARU_STATE": state,
            "NARU_LISTEN": f"127.0.0.1:{port}",
            "NARU_HTTP_PORT": str(http),
            "NARU_HTTPS_PORT": str(https),
            "NARU_APP_PORTS": "26000-26999",
            "NARU_LOG": "warning",
            **settings,
        }
        naru = Path(sys.executable).with_name("naru")
        server = subprocess.Popen([naru, "serve"], env=environment)
        try:
            token = Path(state, "cli-token")
            deadline = time.monotonic() + WAIT_SECONDS
            while not (token.exists() and _answers(port)):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise Absent("the server did not come up; its message is above")
                time.sleep(0.05)
            yield Stand(f"http://127.0.0.1:{port}", token.read_text(), server.pid, Path(state))
        finally:
            server.terminate()
            server.wait(20)
            asyncio.run(CaddyDoor(CaddySettings(Path(state, "door"))).stop())


@asynccontextmanager
async def client(at: Stand, *versions: str) -> AsyncIterator[Client]:
    """Talk to the server, which then holds the sample image in each of these versions, as `bench/hello:VERSION`."""
    async with connect(at.url, at.token) as naru:
        with tempfile.TemporaryDirectory(prefix="naru-bench-") as scratch:
            store = ImageStore(Path(scratch))
            for version in versions:
                image = await sample_image(store, reference=reference(version), version=version)
                async with store.export(image) as archive:
                    with archive.open("rb") as file:
                        await naru.images.load(file, name=str(reference(version)))
        yield naru


def reference(version: str) -> Reference:
    """Name the sample image in a version."""
    return Reference("naru.local", "bench", version)


async def ended(naru: Client, rollout: Rollout) -> Rollout:
    """Follow a rollout to its end; raise when it does not succeed."""
    async for seen in naru.apps.follow(rollout.id):
        rollout = seen
    if rollout.state is not RolloutState.SUCCEEDED:
        raise RuntimeError(f"rollout {rollout.id} {rollout.state}: {rollout.reason}")
    return rollout


async def removed(naru: Client, *apps: str) -> None:
    """Remove apps, whatever state they are in."""
    for app in apps:
        with suppress(NaruError, RuntimeError):
            await ended(naru, await naru.apps.remove(app, volumes=True))


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB, from /proc/PID/status (proc(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
