"""Steady requests through the front door, each counted, and a route that follows the ready instances."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx

from naru.domain.errors import NaruError
from naru.domain.instance import Instance
from naru.domain.workload import Address, Health
from naru.engines.base import OpenEngine
from naru.routing.base import Door, Route, Upstream

EVERY = 0.04
"""Seconds between two requests."""
PATIENCE = 2.0
"""Seconds after which a request is lost."""
LOOK = 0.1
"""Seconds between two looks at the instances; short beside all that is measured."""


@dataclass(slots=True)
class Tally:
    """Requests by their end."""

    sent: int = 0
    failed: int = 0


@dataclass(slots=True)
class Traffic:
    """One app's route and its requests.

    The route holds the ready instances but those in `leaving`, as the control plane keeps it.
    """

    engine: OpenEngine
    door: Door
    app: str
    address: Address
    health: Health
    leaving: set[str] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)
    _routed: tuple[str, ...] | None = None

    async def look(self) -> Sequence[Instance]:
        """Observe the app, and bring the route up to date."""
        instances = await self.engine.observe(self.app)
        await self.lead(instances)
        return instances

    async def lead(self, instances: Sequence[Instance]) -> None:
        """Send requests to those of the instances that are ready and not about to leave."""
        wanted = tuple(sorted(i.address for i in instances if i.ready and i.address and i.id not in self.leaving))
        if wanted != self._routed:
            await self.door.apply(Route(self.app, self.address, tuple(map(Upstream, wanted)), self.health))
            self._routed = wanted

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[Tally]:
        """Send requests until the block ends; those under way then are waited for."""
        tally = Tally()
        url = self.door.endpoint(self.address).url
        limits = httpx.Limits(max_keepalive_connections=20)
        async with httpx.AsyncClient(timeout=PATIENCE, limits=limits, trust_env=False) as http:
            stop = asyncio.Event()
            sending = asyncio.create_task(_send(http, url, tally, stop))
            try:
                yield tally
            finally:
                stop.set()
                await sending


async def _send(http: httpx.AsyncClient, url: str, tally: Tally, stop: asyncio.Event) -> None:
    """Send at fixed times, whether or not earlier requests were answered, so that a stall loses what it would lose."""
    began, under_way = time.monotonic(), set[asyncio.Task[None]]()
    while not stop.is_set():
        task = asyncio.create_task(_one(http, url, tally))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        tally.sent += 1
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, began + tally.sent * EVERY - time.monotonic())):
                await stop.wait()
    await asyncio.gather(*under_way)


async def _one(http: httpx.AsyncClient, url: str, tally: Tally) -> None:
    try:
        answered = (await http.get(f"{url}/")).status_code == 200
    except (httpx.HTTPError, NaruError):
        answered = False
    tally.failed += not answered
