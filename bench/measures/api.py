"""How quickly the API reads when there are 1,000 apps, and how much memory the server takes."""

import asyncio
import math
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
from cryptography.fernet import Fernet

from bench.figures import Figure, measured
from bench.stand import Stand, resident, stand
from naru.domain.app import App, AppState
from naru.domain.image import Image, Origin, Platform
from naru.domain.workload import Address, Workload
from naru.store import open_store

APPS = 1_000
REQUESTS = 200
REPEATS = 3
READS = {
    "api-app": ("an app", "/apps/app-0500"),
    "api-page": ("a page of 50 apps", "/apps?limit=50&after=app-0400"),
}


def measure() -> Iterator[Figure]:
    """Ask a server with 1,000 apps, whose instances run nowhere: what is measured is reading."""
    day = datetime.now(UTC).date()
    with stand() as server:
        idle = resident(server.pid)
    with tempfile.TemporaryDirectory(prefix="naru-bench-") as scratch:
        database, key = Path(scratch, "naru.db"), Fernet.generate_key()
        asyncio.run(_populate(f"sqlite:///{database}", key))
        with stand(key=key, NARU_DATABASE=f"sqlite:///{database}") as server:
            for name, (what, path) in READS.items():
                samples = [_p99(server, path) for _ in range(REPEATS)]
                yield measured(
                    name, f"p99 of reading {what}, with {APPS:,} apps", samples, unit="ms", better="lower", day=day
                )
            full = resident(server.pid)
    yield measured("memory-idle", "resident memory of an idle server", [idle], unit="MiB", better="lower", day=day)
    yield measured(
        "memory-apps",
        f"resident memory with {APPS:,} apps, after reading them",
        [full],
        unit="MiB",
        better="lower",
        day=day,
    )


def _p99(server: Stand, path: str) -> float:
    taken = []
    with httpx.Client(base_url=f"{server.url}/api/v1", headers={"Authorization": f"Bearer {server.token}"}) as client:
        for _ in range(REQUESTS):
            started = time.perf_counter()
            client.get(path).raise_for_status()
            taken.append(1000 * (time.perf_counter() - started))
    return sorted(taken)[math.ceil(0.99 * len(taken)) - 1]


async def _populate(url: str, key: bytes) -> None:
    now = datetime.now(UTC)
    digest = f"sha256:{'1' * 64}"
    runs = Image("docker.io/library/shop:1", digest, digest, Platform(), Origin.REGISTRY)
    async with open_store(url, key) as store:
        for number in range(APPS):
            name, address = f"app-{number:04}", Address(host=f"app-{number:04}.localhost")
            await store.apps.create(App(name, AppState.NEW, address, 0, "bench", now, target="elsewhere"))
            asked = Workload(name, "shop:1", 8080, 3, address=address)
            release = await store.releases.add(name, asked, runs, "bench", now)
            await store.releases.go_live(name, release.number)
