"""The calls of the Docker Engine API about a swarm, beyond those about one engine; the same promises."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager

from aiodocker.utils import compose_auth_header

from naru.domain.account import Credentials
from naru.domain.errors import Conflict, Invalid, Unavailable
from naru.engines.dockerapi.answers import Event
from naru.engines.dockerapi.errors import Meaning
from naru.engines.dockerapi.translate import Json, dumps
from naru.engines.dockerapi.wire import Wire
from naru.engines.swarm.answers import Node, Secret, Service, SwarmInfo, Task

ATTEMPTS = 5
"""How often a change is repeated that another's change came before."""
_OUT_OF_SEQUENCE = "update out of sequence"
_OF_A_SWARM: Sequence[Meaning] = (
    Meaning("not a swarm manager", Unavailable, "name a manager of the swarm, or make one with docker swarm init"),
    Meaning("not part of a swarm", Unavailable, "make a swarm with docker swarm init, or let the node join one"),
    Meaning("does not have a leader|lost leader|quorum", Unavailable, "bring back a majority of the swarm's managers"),
    Meaning("encrypted and needs to be unlocked", Unavailable, "run docker swarm unlock"),
    Meaning(f"name conflicts with an existing|already exists|{_OUT_OF_SEQUENCE}", Conflict, "look again"),
    Meaning("is in use by|in use by task", Conflict, "wait until what uses it is gone"),
    Meaning("secret data must be|too big", Invalid, "a secret of a swarm has 1 to 500 KiB"),
)


class SwarmWire(Wire):
    """A connection of the Naru called `owner` to one manager; to be closed."""

    async def membership(self) -> SwarmInfo:
        """Say what the engine has, and its place in the swarm."""
        with self._errors():
            return self._read(SwarmInfo, await self._docker.system.info())

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[Event]]:
        """Listen to what happens to services and nodes, and to containers of the node that we talk to."""
        filters = dumps({"type": ["container", "service", "node"]})
        async with self._stream("events", {"filters": filters}) as chunks:
            yield self._lines(Event, chunks)

    async def lacked_memory(self, container: str) -> bool:
        """Say whether the kernel killed something in a container of this engine for want of memory.

        What the engine hears of that after the container's end is in its latest events alone.
        """
        found = await self.container(container)
        if found and found.state.oom_killed:
            return True
        filters = dumps({"type": ["container"], "container": [container], "event": ["oom"]})
        past = {"filters": filters, "since": "0", "until": f"{time.time():.6f}"}
        async with self._stream("events", past) as chunks:
            return any([True async for _ in self._lines(Event, chunks)])

    async def nodes(self) -> Mapping[str, Node]:
        """List the swarm's nodes by their ids."""
        with self._errors():
            found = (self._read(Node, one) for one in await self._docker.nodes.list())
            return {node.id: node for node in found}

    # --- services ---------------------------------------------------------------------------------------------

    async def services(self, app: str = "") -> Sequence[Service]:
        """List Naru's services, of one app or of all."""
        with self._errors():
            found = await self._docker.services.list(filters=self._ours(app))
            return [self._read(Service, one) for one in found]

    async def service(self, name: str) -> Service | None:
        """Look at a service, by id or name."""
        with self._errors(missing_ok=True):
            return self._read(Service, await self._docker.services.inspect(name))
        return None

    async def tasks(self, app: str = "") -> Sequence[Task]:
        """List the tasks of Naru's services, also of those that are being removed."""
        with self._errors():
            return [self._read(Task, one) for one in await self._docker.tasks.list(filters=self._ours(app))]

    async def create_service(self, spec: Json, credentials: Credentials | None) -> None:
        """Create a service; the nodes pull its image with the credentials."""
        headers = None
        if credentials:
            auth = {"username": credentials.username, "password": credentials.password}
            headers = {"X-Registry-Auth": compose_auth_header(auth, credentials.registry)}
        with self._errors():
            await self._docker._query_json("services/create", "POST", data=dumps(spec), headers=headers)

    async def rewrite(self, service: str, change: Callable[[Json], Json]) -> None:
        """Change a service's specification: read whole, written whole, unless another came between; then anew."""
        for attempt in range(ATTEMPTS):
            with self._errors(missing_ok=True):
                found = dict(await self._docker.services.inspect(service))
                try:
                    await self._docker._query_json(
                        f"services/{service}/update",
                        "POST",
                        params={"version": str(found["Version"]["Index"])},
                        data=dumps(change(found["Spec"])),
                    )
                except Exception as error:
                    if _OUT_OF_SEQUENCE not in str(error) or attempt == ATTEMPTS - 1:
                        raise
                    continue
            return

    async def delete_service(self, service: str) -> None:
        """Delete a service, if it is there; its tasks stop afterwards."""
        with self._errors(missing_ok=True):
            await self._docker.services.delete(service)

    def service_logs(self, service: str, params: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """Read what the service's tasks wrote, wherever they run, as multiplexed frames cut anywhere."""
        return self._chunks(f"services/{service}/logs", params)

    # --- secrets ----------------------------------------------------------------------------------------------

    async def secrets(self, app: str) -> Sequence[Secret]:
        """List the app's secrets."""
        with self._errors():
            return [self._read(Secret, one) for one in await self._docker.secrets.list(filters=self._ours(app))]

    async def create_secret(self, spec: Json) -> str:
        """Create a secret and return its id."""
        with self._errors():
            answer = await self._docker._query_json("secrets/create", "POST", data=dumps(spec))
            return str(answer["ID"])

    async def delete_secret(self, secret: str) -> None:
        """Delete a secret, if it is there."""
        with self._errors(missing_ok=True):
            await self._docker.secrets.delete(secret)

    @contextmanager
    def _errors(self, meanings: Sequence[Meaning] = (), *, missing_ok: bool = False) -> Iterator[None]:
        with super()._errors((*meanings, *_OF_A_SWARM), missing_ok=missing_ok):
            yield
