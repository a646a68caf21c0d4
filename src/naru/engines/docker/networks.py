"""The networks of apps and of projects: made when they are first needed, removed when nobody is left in them."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from naru.domain.errors import Conflict
from naru.engines.docker.translate import network_config
from naru.engines.dockerapi.translate import belongs, network_labels, network_name
from naru.engines.dockerapi.wire import Wire


class Networks:
    """Makes and removes networks. Whoever is about to use one says so, so that nobody takes it away meanwhile."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._wanted: Counter[str] = Counter()

    @contextmanager
    def wanted(self, app: str, project: str) -> Iterator[None]:
        """Keep the network from being removed while the block runs."""
        name = network_name(app, project)
        self._wanted[name] += 1
        try:
            yield
        finally:
            self._wanted[name] -= 1

    async def ensure(self, app: str, project: str) -> None:
        """Make the network of the project, or of the app alone, unless it is there."""
        name = network_name(app, project)
        async with self._locks[name]:
            network = await self._wire.network(name)
            if network is None:
                await self._wire.create_network(network_config(self._wire.owner, app, project))
            elif not network_labels(self._wire.owner, app, project).items() <= network.labels.items():
                raise Conflict(
                    f"a network that Naru did not make for {project or app} is called {name}", "rename or remove it"
                )

    async def remove(self, app: str) -> None:
        """Remove the app's own network, and those of projects that nobody is in any more."""
        own = await self._wire.network(network_name(app))
        if own and belongs(own.labels, self._wire.owner, app):
            # Podman would remove these containers with the network.
            if guests := await self._wire.guests(own.name):
                names = ", ".join(guests)
                raise Conflict(f"the network {own.name} is used by {names}", "disconnect what Naru did not make")
            await self._wire.delete_network(own.name)
        for network in await self._wire.project_networks():
            async with self._locks[network.name]:
                if not self._wanted[network.name] and not await self._wire.guests(network.name):
                    await self._wire.delete_network(network.name)
