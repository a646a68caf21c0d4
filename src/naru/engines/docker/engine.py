"""The Docker engine: does what it is told, and tells what it sees."""

import asyncio
import itertools
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

from naru.domain.account import Credentials
from naru.domain.errors import Conflict, NaruError, NotFound
from naru.domain.image import Image
from naru.domain.instance import ExecResult, Instance, LogLine, Usage
from naru.domain.kind import WorkloadKind
from naru.domain.release import Release
from naru.domain.rollout import LayerProgress
from naru.domain.target import Capacity, Feature, Target
from naru.engines.base import Change, Stored
from naru.engines.docker import translate
from naru.engines.docker.lookout import Lookout, Nature
from naru.engines.docker.translate import Owned, container_name
from naru.engines.dockerapi import carrier, images
from naru.engines.dockerapi.answers import NEVER
from naru.engines.dockerapi.disk import disk_free
from naru.engines.dockerapi.frames import LogReader
from naru.engines.dockerapi.networks import Cabling, Networks
from naru.engines.dockerapi.steps import Together
from naru.engines.dockerapi.translate import belongs, image_names, network_name, usage, volume_number
from naru.engines.dockerapi.wire import Wire
from naru.engines.scale import leaving, outworn

AT_ONCE = 8
"""Containers that are created, started or stopped at the same time."""
ABILITIES = (
    Feature.VOLUMES,
    Feature.SECRET_FILES,
    Feature.COMMAND_CHECKS,
    Feature.LIMITS,
    Feature.EXEC,
    Feature.STATS,
    Feature.RESTARTS,
    Feature.JOBS,
    Feature.OWN_VOLUMES,
    Feature.PROJECT_NETWORKS,
    Feature.VOLUME_COPIES,
)
KEEP_OUTPUT = 1 << 20
"""Bytes kept of each stream of an executed command."""


@asynccontextmanager
async def open_docker(
    url: str,
    tasks: asyncio.TaskGroup,
    *,
    name: str = "docker",
    site: str = "home",
    owner: str = "naru",
    publish: bool | None = None,
) -> AsyncIterator["DockerEngine"]:
    """Open the engine at a socket's URL, such as unix:///var/run/docker.sock, and listen to it until the end.

    Succeeds while the engine is away; its methods then raise Unavailable. Checks and listening run in `tasks`.
    `owner` names this Naru among those that share the engine. `publish` decides whether instances are reached
    through ports of the engine's machine; None leaves it to where the engine is, see `reached`.
    """
    async with Wire(url, name, owner) as wire:
        engine = DockerEngine(wire, tasks, name=name, site=site, publish=publish)
        try:
            yield engine
        finally:
            await engine.close()


class DockerEngine:
    """Implements OpenEngine; opened by `open_docker`."""

    def __init__(
        self, wire: Wire, tasks: asyncio.TaskGroup, *, name: str, site: str, publish: bool | None = None
    ) -> None:
        self.name = name
        self._site = site
        self._wire = wire
        self._lookout = Lookout(wire, tasks, publish=publish)
        self._ledger = self._lookout.ledger
        self._apps: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        cabling = Cabling("bridge", network_name, wire.guests, wire.delete_network)
        self._networks = Networks(wire, cabling)
        self._together = Together(AT_ONCE)

    async def close(self) -> None:
        """Stop listening and checking; the instances stay as they are."""
        await self._lookout.close()

    # --- Engine -----------------------------------------------------------------------------------------------

    async def describe(self) -> Target:
        """See Engine."""
        nature = await self._lookout.nature(anew=True)
        rows = await self._wire.containers()
        return Target(
            name=self.name,
            engine=nature.kind,
            version=nature.version,
            site=self._site,
            identity=nature.identity,
            platform=nature.platform,
            features=tuple(f for f in ABILITIES if f not in nature.lacks),
            capacity=Capacity(
                cpus=float(nature.cpus),
                memory=nature.memory,
                disk_free=await asyncio.to_thread(disk_free, nature.root) if self._wire.local else 0,
                instances=sum(row.state == "running" for row in rows),
            ),
        )

    async def find(self, reference: str) -> Image | None:
        """See Engine."""
        return await images.find(self._wire, reference)

    def fetch(
        self, image: Image, *, credentials: Credentials | None = None, archive: Path | None = None
    ) -> AsyncIterator[Sequence[LayerProgress]]:
        """See Engine."""
        return images.fetch(self._wire, image, credentials, archive)

    async def apply(
        self, release: Release, replicas: int, *, secrets: Mapping[str, bytes], retire: Collection[str] = ()
    ) -> None:
        """See Engine. Makes the app's network even for no replicas: a caller in a hurry may ask for that beforehand."""
        for secret in release.workload.secrets:
            if secret.name not in secrets:
                raise NotFound(f"no value was given for the secret {secret.name}", "store it, then deploy again")
        nature = await self._lookout.nature()
        async with self._apps[release.app]:
            revision = release.revision
            seen = await self._lookout.look(release.app)
            mine = [one for one in seen if one.revision == revision]
            told = [(one, self._lookout.tell(one, nature)) for one in mine]
            whole = [one for _, one in told if not outworn(one, retire)]
            staying = {i.id for i in whole} - {i.id for i in leaving(whole, len(whole) - replicas, retire)}
            taken = {one.shape.number for one, i in told if one.shape and i.id in staying}
            if release.workload.kind is WorkloadKind.STATEFUL:
                taken |= {one.shape.number for one in seen if one.shape and one.revision != revision}
            await self._together(self._stop(one) for one, i in told if i.id not in staying)
            numbers = (number for number in itertools.count(1) if number not in taken)
            missing = list(itertools.islice(numbers, max(0, replicas - len(whole))))
            await self._make(release, missing, secrets, nature)

    async def observe(self, app: str = "") -> Sequence[Instance]:
        """See Engine."""
        nature = await self._lookout.nature()
        return [self._lookout.tell(one, nature) for one in await self._lookout.look(app)]

    def watch(self) -> AsyncIterator[Change]:
        """See Engine."""
        return self._lookout.watch()

    async def remove(self, app: str, *, volumes: bool = False) -> None:
        """See Engine."""
        async with self._apps[app]:
            await self._together(self._stop(one) for one in await self._lookout.look(app))
            await self._networks.remove(app)
            if volumes:
                await carrier.clear(self._wire, app)
                for volume in await self._wire.volumes(app):
                    await self._wire.delete_volume(volume.name)

    # --- Window -----------------------------------------------------------------------------------------------

    async def logs(
        self, instance: str, *, follow: bool = False, since: datetime | None = None, tail: int | None = None
    ) -> AsyncIterator[LogLine]:
        """See Window."""
        one = await self._lookout.find(instance)
        reader = LogReader(one.id)
        params = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": str(int(follow))}
        params["tail"] = "all" if tail is None else str(tail)
        if since is not None:
            params["since"] = f"{since.timestamp():.6f}"
        async with aclosing(self._wire.logs(one.container.id, params)) as chunks:
            async for chunk in chunks:
                for line in reader.feed(chunk):
                    yield line
        for line in reader.end():
            yield line

    async def execute(self, instance: str, command: Sequence[str], *, stdin: bytes = b"") -> ExecResult:
        """See Window."""
        one = await self._lookout.find(instance)
        return ExecResult(*await self._wire.run(one.container.id, command, stdin, KEEP_OUTPUT))

    async def usage(self, instance: str) -> AsyncIterator[Usage]:
        """See Window."""
        one = await self._lookout.find(instance)
        async with aclosing(self._wire.stats(one.container.id)) as samples:
            async for sample in samples:
                if sample.read.year == NEVER:
                    return
                if used := usage(one.id, sample):
                    yield used

    # --- Volumes ----------------------------------------------------------------------------------------------

    async def volumes(self, app: str) -> Sequence[Stored]:
        """See Volumes."""
        return await carrier.volumes(self._wire, app)

    def pack(self, release: Release, volume: str) -> AsyncIterator[bytes]:
        """See Volumes."""
        return carrier.pack(self._wire, release.app, release.image, volume)

    async def unpack(self, release: Release, volume: str, archive: AsyncIterator[bytes]) -> None:
        """See Volumes."""
        async with self._apps[release.app]:
            await carrier.unpack(self._wire, release.app, release.image, volume, archive)

    # --- making and unmaking ----------------------------------------------------------------------------------

    async def _make(
        self, release: Release, numbers: Sequence[int], secrets: Mapping[str, bytes], nature: Nature
    ) -> None:
        """Create and start the instances of these numbers, the app's network and its volumes with them."""
        workload = release.workload
        files = translate.secret_files(workload, secrets) if workload.secrets else b""
        with self._networks.wanted(release.app, workload.project):
            network = asyncio.ensure_future(self._networks.ensure(release.app, workload.project))
            try:
                if nature.podman or not numbers:
                    await asyncio.shield(network)
                await self._together(
                    self._ensure_volume(release.app, volume.name, of)
                    for volume in workload.volumes
                    for of in sorted({volume_number(workload, number) for number in numbers})
                )
                await self._together(self._start(release, number, files, network, nature) for number in numbers)
            finally:
                # Not cancelled: the engine would make the network all the same, after everyone has gone.
                await asyncio.gather(network, return_exceptions=True)

    async def _start(
        self, release: Release, number: int, files: bytes, network: "asyncio.Future[None]", nature: Nature
    ) -> None:
        name = container_name(release.app, release.revision, number)
        self._ledger.making.add(name)
        try:
            if not (container := await self._create(release, number, name, nature)):
                return
            try:
                if files:
                    await self._wire.unpack(container, files)
                await asyncio.shield(network)
                await self._wire.start(container)
            except NaruError:
                with suppress(NaruError):
                    await self._wire.discard(container)
                raise
        finally:
            self._ledger.making.discard(name)

    async def _create(self, release: Release, number: int, name: str, nature: Nature) -> str:
        """Create a container and return its id; empty when another has just made the same."""
        for image in image_names(release.image):
            config = translate.container_config(
                release,
                number,
                image,
                owner=self._wire.owner,
                reach=nature.reach,
                own_checks=not nature.podman,
            )
            try:
                return await self._wire.create(name, config)
            except NotFound:
                continue
            except Conflict:
                holder = await self._wire.container(name)
                one = holder and translate.owned(holder, self._wire.owner)
                if one and (one.app, one.revision) == (release.app, release.revision):
                    return ""
                raise Conflict(
                    f"a container that Naru did not make for {release.app} is called {name}", "rename or remove it"
                ) from None
        raise NotFound(f"{self.name} does not hold {release.image.reference}", "fetch it first")

    async def _stop(self, one: Owned) -> None:
        self._ledger.stopping.add(one.id)
        self._lookout.leave(one)
        self._lookout.feed.tell(one.app, f"{one.id} is stopping")
        try:
            grace = one.shape.stop_grace if one.shape else 0.0
            if grace and one.container.state.status == "running":
                await self._wire.stop(one.container.id, math.ceil(grace))
            await self._wire.discard(one.container.id)
            self._ledger.forget(one.id)
        finally:
            self._ledger.stopping.discard(one.id)

    async def _ensure_volume(self, app: str, volume: str, number: int) -> None:
        held = await self._wire.create_volume(translate.volume_config(self._wire.owner, app, volume, number))
        if not belongs(held.labels, self._wire.owner, app):
            raise Conflict(f"a volume that Naru did not make for {app} is called {held.name}", "rename or remove it")
