"""The opener of the engine contract for Docker Swarm: a swarm of three nodes, private to the session."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.contract.engine_labs import OF_DOCKERS, EngineLab, Forwarder
from tests.swarms import Node

from naru.domain.image import Image
from naru.domain.instance import Instance
from naru.engines.dockerapi.translate import Json
from naru.engines.swarm import SwarmEngine, open_swarm
from naru.engines.swarm.answers import Service, Task
from naru.engines.swarm.translate import short
from naru.engines.swarm.wire import SwarmWire


class SwarmLab(EngineLab):
    """A real swarm behind a manager's socket. The engine under test speaks through a forwarder that can be cut."""

    pause = 0.1
    features = OF_DOCKERS

    def __init__(self, engine: SwarmEngine, image: Image, wire: SwarmWire, forwarder: Forwarder) -> None:
        super().__init__()
        self.engine: SwarmEngine = engine
        self.image = image
        self.wire = wire
        self.forwarder = forwarder

    async def service(self, instance: Instance) -> Service:
        """Look at the instance's service behind the engine's back."""
        return next(one for one in await self.wire.services() if short(one.id) == instance.id)

    async def task(self, instance: Instance) -> Task:
        """Look at the instance's newest task behind the engine's back."""
        service = await self.service(instance)
        tasks = [one for one in await self.wire.tasks(instance.app) if one.service_id == service.id]
        return max(tasks, key=lambda one: one.created_at)

    async def kill(self, instance: Instance) -> None:
        os.kill((await self.task(instance)).status.container_status.pid, signal.SIGKILL)

    async def vanish(self, instance: Instance) -> None:
        await self.wire.delete_service((await self.service(instance)).id)

    async def sicken(self, instance: Instance) -> None:
        await self.engine.execute(instance.id, ("/bin/touch", "/tmp/sick"))

    async def meddle(self, instance: Instance) -> str:
        await self.wire.rewrite((await self.service(instance)).id, _with_less_memory)
        return "memory"

    async def go_away(self) -> None:
        await self.forwarder.cut()


@asynccontextmanager
async def swarm_lab(nodes: Sequence[Node], image: Image, *, reach: bool = False) -> AsyncIterator[SwarmLab]:
    """Open a lab on the swarm that the first node manages; afterwards no instance runs, and the rest goes with it.

    With `reach` the engine is told of the other nodes' engines.
    """
    manager, *others = nodes
    asked = "&".join(f"node=unix://{node.socket}" for node in others) if reach else ""
    with TemporaryDirectory(prefix="naru-lab-") as home:
        forwarder = Forwarder(Path(home, "engine.sock"), manager.socket)
        await forwarder.open()
        async with (
            SwarmWire(f"unix://{manager.socket}", "swarm", "naru-swarm") as wire,
            asyncio.TaskGroup() as tasks,
            open_swarm(f"swarm+unix://{forwarder.path}?{asked}", tasks) as engine,
        ):
            lab = SwarmLab(engine, image, wire, forwarder)
            try:
                yield lab
            finally:
                await forwarder.cut()
                for service in await wire.services():
                    await wire.delete_service(service.id)


def _with_less_memory(spec: Json) -> Json:
    template = spec["TaskTemplate"]
    assert isinstance(template, dict)
    return {**spec, "TaskTemplate": {**template, "Resources": {"Limits": {"MemoryBytes": 64 << 20}}}}
