"""The calls of the Docker Engine API that Naru makes, with answers parsed and errors named.

Every method raises only errors of naru.domain.errors; what is not there is None where the caller expects that, else
NotFound.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Self, TypeVar

from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from aiohttp import ClientError, ClientTimeout
from pydantic import BaseModel, ValidationError

from naru.domain.account import Credentials
from naru.domain.errors import Unavailable
from naru.engines.base import APP_LABEL, OWNER_LABEL, PROJECT_LABEL
from naru.engines.dockerapi.answers import (
    Container,
    Event,
    Info,
    Labelled,
    PullLine,
    Row,
    Stats,
    StoredImage,
    StoredVolume,
    Version,
)
from naru.engines.dockerapi.errors import (
    NOT_CONNECTED,
    OF_A_CONTAINER,
    OF_A_NETWORK,
    OF_A_PULL,
    Meaning,
    absence,
    refusal,
)
from naru.engines.dockerapi.translate import Json

T = TypeVar("T", bound=BaseModel)

PATIENCE = 60.0
"""Seconds that one answer may take; stopping, pulling and following have no such limit."""
_ENDLESS = ClientTimeout(total=None, sock_connect=5.0)
_LINE_LIMIT = 1 << 20


class Wire:
    """A connection of the Naru called `owner` to one engine; to be closed."""

    def __init__(self, url: str, name: str, owner: str) -> None:
        self.url = url
        self.name = name
        self.owner = owner
        self.local = url.startswith("unix:")
        self._docker = Docker(url, timeout=ClientTimeout(total=PATIENCE, sock_connect=5.0))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._docker.close()

    # --- the engine -------------------------------------------------------------------------------------------

    async def version(self) -> Version:
        """Say what the engine is."""
        with self._errors():
            return self._read(Version, await self._docker.version())

    async def info(self) -> Info:
        """Say what its machine has."""
        with self._errors():
            return self._read(Info, await self._docker.system.info())

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[Event]]:
        """Listen to what happens to containers and networks, from the moment of entry on."""
        filters = json.dumps({"type": ["container", "network"]})
        async with self._stream("events", {"filters": filters}) as chunks:
            yield self._lines(Event, chunks)

    # --- containers -------------------------------------------------------------------------------------------

    async def containers(self, app: str = "") -> Sequence[Row]:
        """List Naru's containers, of one app or of all, running or not."""
        with self._errors():
            found = await self._docker.containers.list(all=True, filters=self._ours(app))
            return [self._read(Row, one._container) for one in found]

    async def container(self, container: str) -> Container | None:
        """Inspect a container, by id or name."""
        with self._errors(missing_ok=True):
            return self._read(Container, await self._handle(container).show())
        return None

    async def create(self, name: str, config: Json) -> str:
        """Create a container and return its id."""
        with self._errors(OF_A_CONTAINER):
            return (await self._docker.containers.create(config, name=name)).id  # type: ignore[arg-type]

    async def unpack(self, container: str, archive: bytes) -> None:
        """Unpack a tar archive at the container's root."""
        with self._errors():
            await self._handle(container).put_archive("/", archive)  # type: ignore[no-untyped-call]

    def archive(self, container: str, path: str) -> AsyncGenerator[bytes, None]:
        """Read a path of a container, running or not, as a tar archive."""
        return self._chunks(f"containers/{container}/archive", {"path": path})

    async def unpack_all(self, container: str, path: str, archive: AsyncIterator[bytes]) -> None:
        """Unpack a tar archive of any size at a path of a container, running or not."""
        with self._errors(OF_A_CONTAINER):
            writing = self._docker._query(
                f"containers/{container}/archive",
                "PUT",
                params={"path": path},
                data=archive,
                headers={"Content-Type": "application/x-tar"},
                timeout=_ENDLESS,
            )
            async with writing as response:
                await response.read()

    async def marked(self, label: str) -> Sequence[str]:
        """Name the containers with a label, running or not."""
        with self._errors():
            found = await self._docker.containers.list(all=True, filters={"label": [label]})
            return [self._read(Row, one._container).id for one in found]

    async def start(self, container: str) -> None:
        """Start a created container."""
        with self._errors(OF_A_CONTAINER):
            await self._handle(container).start()

    async def stop(self, container: str, grace: float) -> None:
        """Stop a container and wait for its end, `grace` seconds at most; one that is gone is stopped."""
        with self._errors(missing_ok=True):
            await self._handle(container).stop(timeout=ClientTimeout(total=PATIENCE + grace, sock_connect=5.0))

    async def discard(self, container: str) -> None:
        """Remove a container, running or not, with its nameless volumes."""
        with self._errors(missing_ok=True):
            try:
                await self._handle(container).delete(force=True, v=True)
            except DockerError as error:
                if "already in progress" not in error.message:
                    raise

    def logs(self, container: str, params: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """Read what the container wrote, as multiplexed frames cut anywhere."""
        return self._chunks(f"containers/{container}/logs", params)

    async def stats(self, container: str) -> AsyncGenerator[Stats, None]:
        """Sample what the container uses, about once a second."""
        async with self._stream(f"containers/{container}/stats", {"stream": "1"}) as chunks:
            async for sample in self._lines(Stats, chunks):
                yield sample

    async def run(self, container: str, command: Sequence[str], stdin: bytes, keep: int) -> tuple[int, bytes, bytes]:
        """Run a command in a container; return its exit code and the first `keep` bytes of both streams."""
        with self._errors():
            execution = await self._handle(container).exec(list(command), stdin=bool(stdin))
            said = {1: bytearray(), 2: bytearray()}
            async with execution.start(detach=False) as stream:
                if stdin:
                    await stream.write_in(stdin)
                    # The library closes both directions at once; the command must see the end and still answer.
                    if stream._resp and stream._resp.connection and stream._resp.connection.transport:
                        stream._resp.connection.transport.write_eof()
                while message := await stream.read_out():
                    kept = said.setdefault(message.stream, bytearray())
                    kept += message.data[: keep - len(kept)]
            return int((await execution.inspect())["ExitCode"] or 0), bytes(said[1]), bytes(said[2])

    # --- networks and volumes ---------------------------------------------------------------------------------

    async def network(self, name: str) -> Labelled | None:
        """Look at a network."""
        with self._errors():
            found = await self._docker.networks.list(filters={"name": [name]})
        networks = (self._read(Labelled, one) for one in found)
        return next((one for one in networks if one.name == name), None)

    async def project_networks(self) -> Sequence[Labelled]:
        """List the networks of Naru's projects."""
        with self._errors():
            found = await self._docker.networks.list(
                filters={"label": [f"{OWNER_LABEL}={self.owner}", PROJECT_LABEL]},
            )
            return [self._read(Labelled, one) for one in found]

    async def guests(self, network: str) -> Sequence[str]:
        """Name the containers in a network, running or not."""
        with self._errors():
            found = await self._docker.containers.list(all=True, filters={"network": [network]})
            return [name.lstrip("/") for one in found for name in self._read(Row, one._container).names]

    async def create_network(self, config: Json) -> None:
        """Create a network."""
        with self._errors():
            await self._docker.networks.create(config)

    async def delete_network(self, name: str) -> None:
        """Delete a network, if it is there."""
        with self._errors(OF_A_NETWORK, missing_ok=True):
            await (await self._docker.networks.get(name)).delete()

    async def create_volume(self, config: Json) -> Labelled:
        """Create a volume, or return the one of that name that is there, whoever made it."""
        with self._errors():
            volume = await self._docker.volumes.create(config)  # type: ignore[no-untyped-call]
            return self._read(Labelled, await volume.show())

    async def volumes(self, app: str) -> Sequence[StoredVolume]:
        """List the app's volumes."""
        with self._errors():
            found = await self._docker.volumes.list(filters=self._ours(app))  # type: ignore[no-untyped-call]
            return [self._read(StoredVolume, one) for one in found.get("Volumes") or []]

    async def volumes_of_any(self, app: str) -> Sequence[StoredVolume]:
        """List the volumes that any Naru made for an app of that name, through whichever target."""
        with self._errors():
            found = await self._docker.volumes.list(  # type: ignore[no-untyped-call]
                filters={"label": [f"{APP_LABEL}={app}"]}
            )
            return [self._read(StoredVolume, one) for one in found.get("Volumes") or []]

    async def delete_volume(self, name: str) -> None:
        """Delete a volume, if it is there."""
        with self._errors(missing_ok=True):
            volume = await self._docker.volumes.get(name)  # type: ignore[no-untyped-call]
            await volume.delete()

    # --- images -----------------------------------------------------------------------------------------------

    async def image(self, name: str) -> StoredImage | None:
        """Look at an image, by name or id."""
        with self._errors(missing_ok=True):
            return self._read(StoredImage, await self._docker.images.inspect(name))
        return None

    async def pull(self, name: str, credentials: Credentials | None) -> AsyncGenerator[PullLine, None]:
        """Pull an image by name and digest."""
        auth = None
        if credentials:
            auth = {
                "username": credentials.username,
                "password": credentials.password,
                "serveraddress": credentials.registry,
            }
        with self._errors(OF_A_PULL):
            async for line in self._docker.images.pull(name, auth=auth, stream=True):
                yield self._read(PullLine, line)

    async def load(self, archive: AsyncIterator[bytes]) -> None:
        """Load a docker-archive."""
        with self._errors(OF_A_PULL):
            await self._docker.images.import_image(archive)

    # --- how it works -----------------------------------------------------------------------------------------

    def _handle(self, container: str) -> DockerContainer:
        return self._docker.containers.container(container)

    @asynccontextmanager
    async def _stream(self, path: str, params: Mapping[str, str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open an answer of any length; the library's own readers take a broken connection for an end."""
        with self._errors():
            async with self._docker._query(path, params=dict(params), timeout=_ENDLESS) as response:
                try:
                    yield response.content.iter_any()
                finally:
                    response.close()

    async def _chunks(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        async with self._stream(path, params) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _lines(self, answer: type[T], chunks: AsyncIterator[bytes]) -> AsyncIterator[T]:
        rest = b""
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    yield self._read(answer, line)
            if len(rest) > _LINE_LIMIT:
                raise Unavailable(f"{self.name} sent a line without an end", "restart it")

    def _read(self, answer: type[T], content: object) -> T:
        """Parse an answer, given as JSON or already taken apart."""
        try:
            return answer.model_validate_json(content) if isinstance(content, bytes) else answer.model_validate(content)
        except ValidationError as error:
            raise Unavailable(f"{self.name} answered in a way that Naru does not understand: {error}") from error

    def _ours(self, app: str) -> dict[str, list[str]]:
        return {"label": [f"{OWNER_LABEL}={self.owner}", f"{APP_LABEL}={app}" if app else APP_LABEL]}

    @contextmanager
    def _errors(self, meanings: Sequence[Meaning] = (), *, missing_ok: bool = False) -> Iterator[None]:
        """Name foreign errors; with `missing_ok` what is not there is no error."""
        try:
            yield
        except DockerError as error:
            if error.status == NOT_CONNECTED:
                raise absence(self.name, self.url, error) from error
            if not (missing_ok and error.status == 404):
                raise refusal(self.name, error.status, error.message, meanings) from error
        except (ClientError, OSError) as error:
            raise absence(self.name, self.url, error) from error
