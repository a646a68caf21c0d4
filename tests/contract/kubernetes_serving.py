"""Serves the simulated Kubernetes on a free port of loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from tests.contract.kubernetes_simulator import KubernetesSimulator


class Served(uvicorn.Server):
    """A server that says when it listens, and stops at once."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self.listening.set()


@asynccontextmanager
async def simulated(simulator: KubernetesSimulator) -> AsyncIterator[KubernetesSimulator]:
    """Serve the simulator on a free port of loopback until the end."""
    config = uvicorn.Config(
        Starlette(routes=simulator.routes()),
        port=0,
        log_config=None,
        lifespan="off",
        ws="wsproto",
        timeout_graceful_shutdown=0,
    )
    server = Served(config)
    serving = asyncio.create_task(server.serve())
    await server.listening.wait()
    simulator.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    running = asyncio.create_task(simulator.cluster.run())

    async def stop() -> None:
        simulator.end_watches()
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)

    simulator.stop = stop
    try:
        yield simulator
    finally:
        running.cancel()
        await stop()
        await asyncio.gather(running, return_exceptions=True)
    if running.done() and not running.cancelled() and (error := running.exception()):
        raise error
