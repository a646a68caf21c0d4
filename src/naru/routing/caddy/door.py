"""The front door on two Caddy processes."""

import asyncio
import logging
import ssl
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from naru.domain.app import Endpoint
from naru.domain.errors import NaruError, Unavailable
from naru.domain.workload import Address, Health, Tls
from naru.routing import ports
from naru.routing.base import Route
from naru.routing.caddy import book, translate
from naru.routing.caddy.process import Caddy
from naru.routing.caddy.settings import CaddySettings

_log = logging.getLogger(__name__)

_DRAIN_LOOK = 0.05
_RELEASE_LOOK = 0.01
_RELEASE_LOOKS = 100
_CERTIFICATE_LOOK = 0.02
_CERTIFICATE_LOOKS = 100
_SETTLED = 10.0
_SHORTEST_PAUSE = 0.1
_LONGEST_PAUSE = 30.0
_RETRY = 5.0


@dataclass(slots=True)
class _Change:
    """One app's wish: a route, or None to have none; `error` is None once it is granted."""

    app: str
    route: Route | None
    error: NaruError | None = field(default_factory=lambda: Unavailable("the front door did not come to this change"))


class CaddyDoor:
    """Implements naru.routing.base.Door; see there for the promises.

    Changes that arrive while one is being put in force share the next reload.
    """

    def __init__(self, settings: CaddySettings) -> None:
        self._settings = settings
        state = settings.state.absolute()
        self._file = state / "routes.json"
        self._edge = Caddy("edge", state, settings.program)
        self._switch = Caddy("switch", state, settings.program)
        self._routes: dict[str, Route] = {}
        # Those at the edge; the others wait for their port.
        self._served: dict[str, Route] = {}
        # Upstreams that left their route and may still have requests under way.
        self._parked: frozenset[str] = frozenset()
        self._wishes: list[_Change] = []
        self._turns: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._stopped = False

    @property
    def root_certificate(self) -> Path:
        """The root certificate of the internal authority, PEM; it exists once an app uses `tls=internal`."""
        return self._settings.root_certificate

    async def open(self) -> None:
        """Find the running processes again or start them, with the routes of the last time.

        A route whose port another process has meanwhile taken is left out until that is free again.
        """
        state = self._settings.state
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.chmod(0o700)
        (state / "apps").mkdir(exist_ok=True)
        async with self._turn:
            self._routes = book.read(self._file)
            if self._switch.pid:
                self._parked = frozenset(await self._switch.under_way())
            await self._enforce(self._routes)

    async def keep(self) -> None:
        """Restart what dies, for ever; one that keeps dying is restarted ever more slowly."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._keep(self._switch))
            both.create_task(self._keep(self._edge))

    async def close(self) -> None:
        """Let go of both processes, which go on serving."""
        await self._edge.close()
        await self._switch.close()

    async def stop(self) -> None:
        """End both processes for good; the routes stay on disk."""
        async with self._turn:
            self._stopped = True
            await self._edge.stop()
            await self._switch.stop()

    def endpoint(self, address: Address) -> Endpoint:
        """Say where an address is reached."""
        return translate.endpoint(address, self._settings)

    async def demand(self, app: str, address: Address) -> None:
        """Check that the app could have the address now."""
        self._changed(self._routes, _Change(app, Route(app, address, (), Health())))

    async def apply(self, route: Route) -> None:
        """Make the route the app's only one; an unchanged route costs nothing."""
        await self._wish(_Change(route.app, route))

    async def remove(self, app: str) -> None:
        """Forget the app's route; its port is free again."""
        await self._wish(_Change(app, None))

    async def routes(self) -> Mapping[str, Route]:
        """Say which routes the door has now, by app."""
        return dict(self._routes)

    async def drain(self, addresses: Collection[str], patience: float) -> Mapping[str, int]:
        """Wait until no request is under way to these upstreams; return what is left after `patience` seconds."""
        clock = asyncio.get_running_loop()
        deadline = clock.time() + patience
        quiet = False
        while True:
            counts = await self._switch.under_way() if self._switch.pid else {}
            left = {address: count for address in addresses if (count := counts.get(address, 0))}
            # A request may have passed the edge and not yet reached its instance: believe the second look.
            if (not left and quiet) or clock.time() >= deadline:
                return left
            quiet = not left
            await asyncio.sleep(min(_DRAIN_LOOK, max(deadline - clock.time(), 0.0)))

    async def _wish(self, change: _Change) -> None:
        """Have the change put in force; a caller who goes away meanwhile does not leave it half done."""
        self._wishes.append(change)
        turn = asyncio.create_task(self._take_turn())
        self._turns.add(turn)
        turn.add_done_callback(self._turns.discard)
        await asyncio.shield(turn)
        if change.error:
            raise change.error

    async def _take_turn(self) -> None:
        async with self._turn:
            if self._wishes:
                batch, self._wishes = self._wishes, []
                await self._grant(batch)

    async def _grant(self, batch: Sequence[_Change]) -> None:
        """Put all wishes in force at once; where that fails, one by one, so that only the bad one fails."""
        routes, good = self._routes, []
        for change in batch:
            try:
                routes = self._changed(routes, change)
            except NaruError as error:
                change.error = error
            else:
                good.append(change)
        try:
            await self._enforce(routes)
        except NaruError as error:
            if len(good) == 1 or isinstance(error, Unavailable):
                for change in good:
                    change.error = error
            else:
                for change in good:
                    await self._grant([change])
        else:
            for change in good:
                change.error = None

    def _changed(self, routes: Mapping[str, Route], change: _Change) -> dict[str, Route]:
        rest = {app: route for app, route in routes.items() if app != change.app}
        if change.route is None:
            return rest
        translate.check(change.route, rest.values(), self._settings)
        self._demand_ports(change.route, self._listening())
        return rest | {change.app: change.route}

    def _listening(self) -> frozenset[int]:
        return translate.ports(self._served.values(), self._settings) if self._edge.pid else frozenset()

    def _demand_ports(self, route: Route, listening: frozenset[int]) -> None:
        """Raise Conflict or Invalid when the edge cannot listen where the route needs it to."""
        for port in sorted(translate.ports([route], self._settings) - listening):
            ports.demand(port, self._settings.interface, ours=self._edge.pid)

    async def _enforce(self, routes: dict[str, Route]) -> None:
        """Put the routes in force. The switch knows an app before the edge sends requests there, and forgets it after.

        Raises what Caddy has against it; then the former routes are in force.
        """
        if routes == self._routes == self._served and self._edge.pid and self._switch.pid:
            return
        draft = await asyncio.to_thread(book.draft, self._file, routes)
        listening = self._listening()
        served = {app: route for app, route in routes.items() if self._is_servable(route, listening)}
        leaving = {app: route for app, route in self._routes.items() if app not in routes}
        parked = await self._to_park(routes)
        former = self._switch.config
        await self._switch.enforce(translate.switch_config(leaving | routes, parked, self._settings))
        try:
            await self._edge.enforce(self._edge_config(served))
        except NaruError:
            if former:
                await self._switch.enforce(former)
            raise
        if leaving:
            await self._switch.enforce(translate.switch_config(routes, parked, self._settings))
        draft.replace(self._file)
        new_addresses = {r.address for r in served.values()} - {r.address for r in self._served.values()}
        self._routes, self._served, self._parked = routes, served, parked
        await self._released(listening - translate.ports(served.values(), self._settings))
        await self._certified([address for address in new_addresses if address.tls is Tls.INTERNAL])

    def _edge_config(self, served: Mapping[str, Route]) -> translate.Json:
        """Translate only when an address changed: of a thousand apps that takes longer than the reload."""
        if self._edge.config and _addresses(served) == _addresses(self._served):
            return self._edge.config
        return translate.edge_config(served, self._settings)

    def _is_servable(self, route: Route, listening: frozenset[int]) -> bool:
        try:
            self._demand_ports(route, listening)
        except NaruError as error:
            _log.warning("the route of %s waits: %s", route.app, error)
            return False
        return True

    async def _to_park(self, routes: Mapping[str, Route]) -> frozenset[str]:
        """Return which upstreams are in no route any more and may still have requests under way."""
        if not self._switch.pid:
            return frozenset()
        parked = self._parked
        if parked:
            counts = await self._switch.under_way()
            parked = frozenset(address for address in parked if counts.get(address, 0))
        return (parked | _upstreams(self._routes)) - _upstreams(routes)

    async def _released(self, gone: Collection[int]) -> None:
        """Wait until the edge has closed these ports: it does so shortly after it answered."""
        for port in gone:
            for _ in range(_RELEASE_LOOKS):
                if ports.is_free(port, self._settings.interface):
                    break
                await asyncio.sleep(_RELEASE_LOOK)

    async def _certified(self, addresses: Collection[Address]) -> None:
        """Wait until the internal authority has certified these addresses: Caddy answers before it has."""
        anyone = ssl.create_default_context()
        anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
        for address in addresses:
            port = address.port or self._settings.https_port
            for _ in range(_CERTIFICATE_LOOKS):
                try:
                    _, writer = await asyncio.open_connection(
                        self._settings.interface or "127.0.0.1",
                        port,
                        ssl=anyone,
                        server_hostname=address.host or self._settings.machine,
                    )
                except OSError:
                    await asyncio.sleep(_CERTIFICATE_LOOK)
                else:
                    writer.transport.abort()
                    break

    async def _keep(self, caddy: Caddy) -> None:
        clock, pause = asyncio.get_running_loop(), 0.0
        while True:
            since = clock.time()
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY if self._routes != self._served else None):
                    await caddy.ended()
            pause = 0.0 if clock.time() - since > _SETTLED else min(max(2 * pause, _SHORTEST_PAUSE), _LONGEST_PAUSE)
            await asyncio.sleep(pause)
            async with self._turn:
                if self._stopped:
                    return
                if not caddy.pid:
                    _log.warning("the front door's %s ended and is started again", caddy.name)
                try:
                    await self._enforce(self._routes)
                except NaruError as error:
                    _log.error("the front door's %s cannot be started: %s", caddy.name, error)


def _addresses(routes: Mapping[str, Route]) -> Mapping[str, Address]:
    return {app: route.address for app, route in routes.items()}


def _upstreams(routes: Mapping[str, Route]) -> frozenset[str]:
    return frozenset(u.address for route in routes.values() for u in route.upstreams if u.weight > 0)
