"""The networks of apps and of projects: made when they are first needed, removed when nobody is left in them."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from naru.domain.errors import Conflict
from naru.engines.base import PROJECT_LABEL
from naru.engines.dockerapi.translate import belongs, network_labels
from naru.engines.dockerapi.wire import Wire


@dataclass(frozen=True, slots=True)
class Cabling:
    """What an engine's networks are: their driver, their names by app and project, who is in one, how one goes."""

    driver: str
    name: Callable[[str, str], str]
    guests: Callable[[str], Awaitable[Sequence[str]]]
    delete: Callable[[str], Awaitable[None]]


class Networks:
    """Makes and removes networks. Whoever is about to use one says so, so that nobody takes it away meanwhile."""

    def __init__(self, wire: Wire, cabling: Cabling) -> None:
        self._wire = wire
        self._cabling = cabling
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._wanted: Counter[str] = Counter()

    @contextmanager
    def wanted(self, app: str, project: str) -> Iterator[None]:
        """Keep the network from being removed while the block runs."""
        name = self._cabling.name(app, project)
        self._wanted[name] += 1
        try:
            yield
        finally:
            self._wanted[name] -= 1

    async def ensure(self, app: str, project: str) -> None:
        """Make the network of the project, or of the app alone, unless it is there."""
        name = self._cabling.name(app, project)
        whose = network_labels(self._wire.owner, app, project)
        async with self._locks[name]:
            network = await self._wire.network(name)
            if network is None:
                await self._wire.create_network(
                    {"Name": name, "Driver": self._cabling.driver, "CheckDuplicate": True, "Labels": whose}
                )
            elif not whose.items() <= network.labels.items():
                raise Conflict(
                    f"a network that Naru did not make for {project or app} is called {name}", "rename or remove it"
                )

    async def remove(self, app: str) -> None:
        """Remove the app's own network, and those of projects that nobody is in any more."""
        own = await self._wire.network(self._cabling.name(app, ""))
        if own and belongs(own.labels, self._wire.owner, app):
            # Podman would remove these containers with the network.
            if guests := await self._cabling.guests(own.name):
                names = ", ".join(guests)
                raise Conflict(f"the network {own.name} is used by {names}", "disconnect what Naru did not make")
            await self._cabling.delete(own.name)
        for network in await self._wire.project_networks():
            name = self._cabling.name("", network.labels[PROJECT_LABEL])
            if network.name != name:
                continue  # another engine's on the same machine
            async with self._locks[name]:
                if not self._wanted[name] and not await self._cabling.guests(name):
                    await self._cabling.delete(name)
