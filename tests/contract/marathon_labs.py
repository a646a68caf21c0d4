"""Openers of the engine contract for Marathon: the simulator, and a real one that MARATHON_URL names.

A real one also takes NARU_TEST_IMAGE: what tests/images.py makes, as REPOSITORY@sha256:DIGEST in a registry that the
agents reach. The run makes a group of its own and removes it.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx
import pytest
from tests.contract.engine_labs import EngineLab, Kind
from tests.contract.marathon_http import MarathonServer, simulated
from tests.contract.marathon_simulator import Acts

from naru.domain.image import Image, Origin, Platform
from naru.domain.instance import Instance
from naru.domain.release import Release
from naru.domain.target import Feature
from naru.engines.base import OpenEngine
from naru.engines.marathon import open_marathon

_ACTS = {
    Kind.SERVES: Acts.SERVES,
    Kind.SICK: Acts.SICK,
    Kind.DEAF: Acts.DEAF,
    Kind.EXITS: Acts.EXITS,
    Kind.HUNGRY: Acts.HUNGRY,
    Kind.IDLES: Acts.SERVES,
}
IMAGE = Image(
    "registry.example.org/naru-test/busybox:1",
    "sha256:" + "a" * 64,
    "sha256:" + "b" * 64,
    Platform(),
    Origin.REGISTRY,
    size=1000,
)


class MarathonLab(EngineLab):
    """What holds for every Marathon."""

    features = frozenset({Feature.LIMITS, Feature.COMMAND_CHECKS, Feature.RESTARTS})
    pulls_beforehand = False
    sees_ports = False
    one_by_one = False

    def __init__(self, engine: OpenEngine, image: Image) -> None:
        super().__init__()
        self.engine = engine
        self.image = image

    def app_id(self, release: Release) -> str:
        """Name the application of a release's revision."""
        return f"/naru/{release.app}/{release.revision}"


class SimulatedMarathonLab(MarathonLab):
    """The simulator, and its accidents."""

    def __init__(self, engine: OpenEngine, image: Image, server: MarathonServer) -> None:
        super().__init__(engine, image)
        self.server = server
        self.simulator = server.sim

    def prepare(self, kind: Kind) -> None:
        self.simulator.acts = _ACTS[kind]

    async def kill(self, instance: Instance) -> None:
        self.simulator.fail(instance.id, "Container exited with status 137")

    async def vanish(self, instance: Instance) -> None:
        self.simulator.kill(instance.id)

    async def sicken(self, instance: Instance) -> None:
        self.simulator.sicken(instance.id)

    async def meddle(self, instance: Instance) -> str:
        self.simulator.change(f"/naru/{instance.app}/{instance.revision}", mem=64)
        return "memory"

    async def go_away(self) -> None:
        await self.server.stop()


class RealMarathonLab(MarathonLab):
    """A real cluster: what cannot be done to its tasks through Marathon is skipped."""

    pause = 0.5

    def __init__(self, engine: OpenEngine, image: Image, http: httpx.AsyncClient, group: str) -> None:
        super().__init__(engine, image)
        self._http = http
        self._group = group

    async def vanish(self, instance: Instance) -> None:
        app = (await self._http.get(f"/v2/apps/{self._group}/{instance.app}/{instance.revision}")).json()["app"]
        ids = [task["id"] for task in app["tasks"] if task["id"].startswith(instance.id)]
        (await self._http.post("/v2/tasks/delete", json={"ids": ids})).raise_for_status()

    async def meddle(self, instance: Instance) -> str:
        path = f"/v2/apps/{self._group}/{instance.app}/{instance.revision}"
        (await self._http.put(path, params={"force": "true"}, json={"mem": 64})).raise_for_status()
        return "memory"

    async def kill(self, instance: Instance) -> None:
        pytest.skip("Marathon cannot let a task die by itself")

    async def sicken(self, instance: Instance) -> None:
        pytest.skip("Marathon runs no commands inside tasks")

    async def go_away(self) -> None:
        pytest.skip("a real Marathon is not stopped by tests")


@asynccontextmanager
async def simulated_marathon_lab() -> AsyncIterator[SimulatedMarathonLab]:
    """Open a lab on a simulator; afterwards every request it saw was as Marathon publishes it."""
    async with simulated() as server, asyncio.TaskGroup() as tasks:
        async with open_marathon(f"marathon+{server.url}", tasks) as engine:
            yield SimulatedMarathonLab(engine, IMAGE, server)
        assert server.complaints == []


@asynccontextmanager
async def marathon_lab() -> AsyncIterator[RealMarathonLab]:
    """Open a lab on the Marathon at MARATHON_URL, in a group of its own that is gone afterwards."""
    url, group = os.environ["MARATHON_URL"].removeprefix("marathon+"), f"naru-e2e-{uuid4().hex[:8]}"
    repository, _, digest = os.environ.get("NARU_TEST_IMAGE", "").partition("@")
    if not digest:
        pytest.fail("NARU_TEST_IMAGE names no image, as REPOSITORY@sha256:DIGEST, for a real Marathon to run")
    image = Image(f"{repository}:latest", digest, digest, Platform(), Origin.REGISTRY)
    async with (
        httpx.AsyncClient(base_url=url) as http,
        asyncio.TaskGroup() as tasks,
        open_marathon(f"marathon+{url}", tasks, group=group) as engine,
    ):
        try:
            yield RealMarathonLab(engine, image, http, group)
        finally:
            await http.delete(f"/v2/groups/{group}", params={"force": "true"})
