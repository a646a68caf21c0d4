"""A front door in memory that keeps the promises of naru.routing.base.Door.

Tests set the scene with `taken`, `dead` and `away`, hold requests open with `under_way`, and send some with `request`.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from naru.domain.app import Endpoint
from naru.domain.errors import Conflict, Invalid, Unavailable
from naru.domain.workload import Address, Tls
from naru.routing.base import Route


@dataclass(frozen=True, slots=True)
class Reply:
    """What a client gets; `upstream` is the instance that answered, empty when the door itself did."""

    status: int
    body: str
    upstream: str = ""


class FakeDoor:
    """Keeps routes and shares requests among their upstreams by weight, exactly and without randomness."""

    def __init__(self, taken: Mapping[int, str] | None = None) -> None:
        self.taken = dict(taken or {})
        """Ports that other processes hold, and by whom."""
        self.dead: set[str] = set()
        """Upstreams that refuse connections."""
        self.away = False
        """Whether the door does not answer at all."""
        self.applied: list[Route] = []
        """Every route that came into force, in order: what a rollout did to the traffic."""
        self._routes: dict[str, Route] = {}
        self._served: Counter[tuple[str, str]] = Counter()
        self._open: Counter[str] = Counter()
        self._finished = asyncio.Condition()

    def endpoint(self, address: Address) -> Endpoint:
        scheme = "http" if address.tls is Tls.OFF else "https"
        return Endpoint(f"{scheme}://{address.host or f'127.0.0.1:{address.port}'}")

    async def demand(self, app: str, address: Address) -> None:
        if not address.host and not address.port:
            raise Invalid(f"{app} has neither a host name nor a port", "give its address one of them")
        if holder := self.taken.get(address.port):
            raise Conflict(f"port {address.port} is taken by {holder}", "choose another port")
        for other in self._routes.values():
            if other.app != app and _place(other.address) == _place(address):
                raise Conflict(f"{other.app} already has the address of {app}", "choose another address")

    async def apply(self, route: Route) -> None:
        self._answer()
        await self.demand(route.app, route.address)
        if self._routes.get(route.app) != route:
            self._routes[route.app] = route
            self._served.clear()
            self.applied.append(route)

    async def drain(self, addresses: Collection[str], patience: float) -> Mapping[str, int]:
        self._answer()
        try:
            async with asyncio.timeout(patience), self._finished:
                await self._finished.wait_for(lambda: not any(self._open[address] for address in addresses))
        except TimeoutError:
            pass
        return {address: self._open[address] for address in addresses if self._open[address]}

    async def remove(self, app: str) -> None:
        self._answer()
        self._routes.pop(app, None)

    async def routes(self) -> Mapping[str, Route]:
        self._answer()
        return dict(self._routes)

    async def request(self, address: Address) -> Reply:
        """Send one request to an address; an unknown one answers 404, one with no live upstream 503."""
        self._answer()
        for route in self._routes.values():
            if _place(route.address) == _place(address):
                return self._serve(route)
        return Reply(404, "no app has this address")

    @contextmanager
    def under_way(self, upstream: str) -> Iterator[None]:
        """Hold one request open at an upstream; `drain` waits for it. Leave the block inside the event loop."""
        self._open[upstream] += 1
        try:
            yield
        finally:
            self._open[upstream] -= 1
            self._woken = asyncio.ensure_future(self._wake())

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("the front door does not answer", "start it again")

    def _serve(self, route: Route) -> Reply:
        live = [u for u in route.upstreams if u.weight > 0 and u.address not in self.dead]
        if not live:
            return Reply(503, f"{route.app} has no ready instance")
        chosen = min(live, key=lambda u: (self._served[route.app, u.address] + 1) / u.weight)
        self._served[route.app, chosen.address] += 1
        return Reply(200, chosen.address, chosen.address)

    async def _wake(self) -> None:
        async with self._finished:
            self._finished.notify_all()


def _place(address: Address) -> str | int:
    return address.host or address.port
