"""The Docker engine: does what it is told, and tells what it sees."""

import asyncio
import itertools
import math
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from naru.domain.errors import Conflict, NaruError, NotFound, Unavailable
from naru.domain.image import Image, Platform
from naru.domain.instance import ExecResult, Instance, LogLine, Usage
from naru.domain.release import Release
from naru.domain.rollout import LayerProgress
from naru.domain.target import Capacity, Feature, Target
from naru.domain.workload import CommandCheck
from naru.engines.base import APP_LABEL, Change, Credentials
from naru.engines.docker import images, translate
from naru.engines.docker.answers import NEVER, Event, Row
from naru.engines.docker.frames import LogReader
from naru.engines.docker.ledger import Ledger
from naru.engines.docker.probe import Patient, Prober
from naru.engines.docker.translate import Owned, Reach, container_name, short
from naru.engines.docker.wire import Wire
from naru.engines.feed import Feed
from naru.engines.scale import leaving

AT_ONCE = 8
"""Containers that are created, started or stopped at the same time."""
INSPECT_AT_ONCE = 16
KEEP_OUTPUT = 1 << 20
"""Bytes kept of each stream of an executed command."""
RECONNECT = (0.1, 5.0)
"""Seconds before the first and between later attempts to listen again."""

_TOLD = frozenset(
    {"create", "start", "restart", "die", "died", "oom", "stop", "pause", "unpause", "rename", "update"}
    | {"destroy", "remove", "connect", "disconnect"}
)


@dataclass(frozen=True, slots=True)
class _Nature:
    """What kind of engine this is."""

    kind: str
    version: str
    platform: Platform
    reach: Reach
    limits: bool
    cpus: int
    memory: int
    root: Path

    @property
    def podman(self) -> bool:
        """Podman runs health checks by systemd timers only, and wants a network before its containers."""
        return self.kind == "podman"


@asynccontextmanager
async def open_docker(
    url: str, tasks: asyncio.TaskGroup, *, name: str = "docker", site: str = "home", publish: bool | None = None
) -> AsyncIterator["DockerEngine"]:
    """Open the engine at a socket's URL, such as unix:///var/run/docker.sock, and listen to it until the end.

    Succeeds while the engine is away; its methods then raise Unavailable. Checks and listening run in `tasks`.
    `publish` decides whether instances are reached through ports of this machine; None asks the engine whether it
    is rootless, where that is the only way.
    """
    async with Wire(url, name) as wire:
        engine = DockerEngine(wire, tasks, name=name, site=site, publish=publish)
        try:
            yield engine
        finally:
            await engine.close()


class DockerEngine:
    """Implements Engine and Window; opened by `open_docker`."""

    def __init__(
        self, wire: Wire, tasks: asyncio.TaskGroup, *, name: str, site: str, publish: bool | None = None
    ) -> None:
        self.name = name
        self._site = site
        self._publish = publish
        self._wire = wire
        self._tasks = tasks
        self._ledger = Ledger()
        self._feed = Feed()
        self._prober = Prober(tasks, self._feed.tell, self._run_check)
        self._nature: _Nature | None = None
        self._listening = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._apps: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._changes = asyncio.Semaphore(AT_ONCE)
        self._looks = asyncio.Semaphore(INSPECT_AT_ONCE)
        self._spawn(self._listen())

    # --- Engine -----------------------------------------------------------------------------------------------

    async def describe(self) -> Target:
        """See Engine."""
        self._nature = None
        nature = await self._natured()
        rows = await self._wire.containers()
        return Target(
            name=self.name,
            engine=nature.kind,
            version=nature.version,
            site=self._site,
            platform=nature.platform,
            features=frozenset(Feature) if nature.limits else frozenset(Feature) - {Feature.LIMITS},
            capacity=Capacity(
                cpus=float(nature.cpus),
                memory=nature.memory,
                disk_free=await asyncio.to_thread(_disk_free, nature.root) if self._wire.local else 0,
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
        nature = await self._natured()
        async with self._apps[release.app]:
            revision = release.revision
            mine = [one for one in await self._look(release.app) if one.revision == revision]
            told = [(one, self._tell(one, nature)) for one in mine]
            whole = [one for _, one in told if not one.drift]
            gone = {one.id for one in leaving(whole, len(whole) - replicas, retire)}
            staying = {one.shape.number for one, i in told if one.shape and not i.drift and i.id not in gone}
            await self._together(self._stop(one) for one, i in told if i.drift or i.id in gone)
            numbers = (number for number in itertools.count(1) if number not in staying)
            missing = list(itertools.islice(numbers, max(0, replicas - len(whole))))
            await self._make(release, missing, secrets, nature)

    async def observe(self, app: str = "") -> Sequence[Instance]:
        """See Engine."""
        nature = await self._natured()
        return [self._tell(one, nature) for one in await self._look(app)]

    async def watch(self) -> AsyncIterator[Change]:
        """See Engine."""
        if not self._listening.is_set():
            await self._wire.version()
            try:
                await asyncio.wait_for(self._listening.wait(), RECONNECT[1] * 2)
            except TimeoutError:
                raise Unavailable(f"{self.name} sends no events", "restart it") from None
        async for change in self._feed.watch():
            yield change

    async def remove(self, app: str, *, volumes: bool = False) -> None:
        """See Engine."""
        async with self._apps[app]:
            await self._together(self._stop(one) for one in await self._look(app))
            network = await self._wire.network(translate.network_name(app))
            if network and network.labels.get(APP_LABEL) == app:
                await self._wire.delete_network(network.name)
            if volumes:
                for volume in await self._wire.volumes(app):
                    await self._wire.delete_volume(volume.name)

    # --- Window -----------------------------------------------------------------------------------------------

    async def logs(
        self, instance: str, *, follow: bool = False, since: datetime | None = None, tail: int | None = None
    ) -> AsyncIterator[LogLine]:
        """See Window."""
        one = await self._instance(instance)
        reader = LogReader(one.id)
        params = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": str(int(follow))}
        params["tail"] = "all" if tail is None else str(tail)
        if since is not None:
            params["since"] = f"{since.timestamp():.6f}"
        async for chunk in self._wire.logs(one.container.id, params):
            for line in reader.feed(chunk):
                yield line
        for line in reader.end():
            yield line

    async def execute(self, instance: str, command: Sequence[str], *, stdin: bytes = b"") -> ExecResult:
        """See Window."""
        one = await self._instance(instance)
        return ExecResult(*await self._wire.run(one.container.id, command, stdin, KEEP_OUTPUT))

    async def usage(self, instance: str) -> AsyncIterator[Usage]:
        """See Window."""
        one = await self._instance(instance)
        async for sample in self._wire.stats(one.container.id):
            if sample.read.year == NEVER:
                return
            if usage := translate.usage(one.id, sample):
                yield usage

    # --- making and unmaking ----------------------------------------------------------------------------------

    async def _make(
        self, release: Release, numbers: Sequence[int], secrets: Mapping[str, bytes], nature: _Nature
    ) -> None:
        """Create and start the instances of these numbers, the app's network and its volumes with them."""
        files = translate.secret_files(release.workload, secrets) if release.workload.secrets else b""
        network = asyncio.ensure_future(self._ensure_network(release.app))
        try:
            if nature.podman or not numbers:
                await network
            if numbers:
                await self._together(self._ensure_volume(release.app, one.name) for one in release.workload.volumes)
            await self._together(self._start(release, number, files, network, nature) for number in numbers)
        finally:
            network.cancel()
            await asyncio.gather(network, return_exceptions=True)

    async def _start(
        self, release: Release, number: int, files: bytes, network: "asyncio.Future[None]", nature: _Nature
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

    async def _create(self, release: Release, number: int, name: str, nature: _Nature) -> str:
        """Create a container and return its id; empty when another has just made the same."""
        for image in translate.image_names(release.image):
            config = translate.container_config(
                release, number, image, reach=nature.reach, own_checks=not nature.podman
            )
            try:
                return await self._wire.create(name, config)
            except NotFound:
                continue
            except Conflict:
                holder = await self._wire.container(name)
                one = holder and translate.owned(holder)
                if one and (one.app, one.revision) == (release.app, release.revision):
                    return ""
                raise Conflict(
                    f"a container that Naru did not make for {release.app} is called {name}", "rename or remove it"
                ) from None
        raise NotFound(f"{self.name} does not hold {release.image.reference}", "fetch it first")

    async def _stop(self, one: Owned) -> None:
        self._ledger.stopping.add(one.id)
        self._prober.forget(one.id)
        self._feed.tell(one.app, f"{one.id} is stopping")
        try:
            grace = one.shape.stop_grace if one.shape else 0.0
            if grace and one.container.state.status == "running":
                await self._wire.stop(one.container.id, math.ceil(grace))
            await self._wire.discard(one.container.id)
            self._ledger.forget(one.id)
        finally:
            self._ledger.stopping.discard(one.id)

    async def _ensure_network(self, app: str) -> None:
        name = translate.network_name(app)
        network = await self._wire.network(name)
        if network is None:
            await self._wire.create_network(translate.network_config(app))
        elif network.labels.get(APP_LABEL) != app:
            raise Conflict(f"a network that Naru did not make for {app} is called {name}", "rename or remove it")

    async def _ensure_volume(self, app: str, volume: str) -> None:
        held = await self._wire.create_volume(translate.volume_config(app, volume))
        if held.labels.get(APP_LABEL) != app:
            raise Conflict(f"a volume that Naru did not make for {app} is called {held.name}", "rename or remove it")

    async def _together(self, steps: Iterable[Coroutine[object, object, None]]) -> None:
        """Take steps side by side, a few at once; all are taken before the first error is raised."""

        async def bounded(step: Coroutine[object, object, None]) -> None:
            async with self._changes:
                await step

        for result in await asyncio.gather(*(bounded(step) for step in steps), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    # --- looking ----------------------------------------------------------------------------------------------

    async def _look(self, app: str = "") -> Sequence[Owned]:
        """Return Naru's containers, the oldest first, inspecting only those that may have changed."""

        async def seen(row: Row) -> Owned | None:
            return self._ledger.recall(row) or await self._inspect(row.id)

        rows = await self._wire.containers(app)
        fresh = [self._ledger.recall(row) for row in rows]
        if not all(fresh):
            fresh = await asyncio.gather(*(seen(row) for row in rows))
        if not app:
            self._ledger.retain([short(row.id) for row in rows])
        return sorted((one for one in fresh if one), key=translate.age)

    async def _inspect(self, container: str) -> Owned | None:
        edition = self._ledger.edition(short(container))
        async with self._looks:
            found = await self._wire.container(container)
        one = translate.owned(found) if found else None
        if one:
            self._ledger.keep(one, edition)
            await self._attend(one)
        return one

    async def _instance(self, instance: str) -> Owned:
        one = self._ledger.find(instance) or await self._inspect(instance)
        if one is None:
            raise NotFound(f"{self.name} has no instance {instance}", "look at the app's instances")
        return one

    async def _attend(self, one: Owned) -> None:
        """Check the container if it runs and its check is ours to perform."""
        if one.container.state.status != "running" or one.shape is None or one.id in self._ledger.stopping:
            self._prober.forget(one.id)
            return
        nature = await self._natured()
        where = translate.address(one, nature.reach)
        if not where or (isinstance(one.shape.health.check, CommandCheck) and not nature.podman):
            return
        host, _, port = where.rpartition(":")
        self._prober.follow(
            Patient(
                id=one.id,
                app=one.app,
                container=one.container.id,
                pid=one.container.state.pid,
                host=host,
                port=int(port),
                inner_port=one.shape.port,
                forwarded=nature.reach.published,
                health=one.shape.health,
            )
        )

    def _tell(self, one: Owned, nature: _Nature) -> Instance:
        known = replace(self._ledger.known(one), course=self._prober.course(one.id))
        return translate.instance(one, known, reach=nature.reach, node=self.name)

    async def _run_check(self, instance: str, command: tuple[str, ...]) -> tuple[int, bytes]:
        result = await self.execute(instance, command)
        return result.exit_code, result.stdout + result.stderr

    async def _natured(self) -> _Nature:
        if self._nature is None:
            version, info = await asyncio.gather(self._wire.version(), self._wire.info())
            podman = any("podman" in component.name.lower() for component in version.components)
            rootless = any("rootless" in option for option in info.security_options)
            self._nature = _Nature(
                kind="podman" if podman else "docker",
                version=version.version,
                platform=Platform(version.os, version.arch),
                reach=Reach(rootless if self._publish is None else self._publish),
                limits=podman or (info.memory_limit and info.cpu_cfs_quota),
                cpus=info.n_cpu,
                memory=info.mem_total,
                root=Path(info.docker_root_dir or "/"),
            )
        return self._nature

    # --- listening --------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Follow the engine's events for ever, and say so when it goes away and comes back."""
        wait = RECONNECT[0]
        while True:
            try:
                async with self._wire.events() as events:
                    self._ledger.listening = True
                    self._listening.set()
                    looking = self._spawn(self._look_around())
                    wait = RECONNECT[0]
                    try:
                        async for event in events:
                            self._heard(event)
                    finally:
                        looking.cancel()
                gone = Unavailable(f"{self.name} ended its events", "see whether it still runs")
            except Unavailable as error:
                gone = error
            except NaruError as error:
                gone = Unavailable(error.cause, error.mend)
            finally:
                self._ledger.stop_listening()
            self._listening.clear()
            self._nature = None
            self._feed.end(gone)
            await asyncio.sleep(wait)
            wait = min(wait * 2, RECONNECT[1])

    async def close(self) -> None:
        """Stop listening and checking; the instances stay as they are."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._prober.close()

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _look_around(self) -> None:
        """See what happened while nobody listened, and begin to check what runs."""
        with suppress(NaruError):
            await self._look()
            self._feed.tell("", f"{self.name} answers")

    def _heard(self, event: Event) -> None:
        action = event.action.partition(":")[0]
        attributes = event.actor.attributes
        if event.type == "network":
            if action in _TOLD and (one := self._ledger.find(short(attributes.get("container", "")))):
                self._ledger.spoil(one.id)
                self._feed.tell(one.app, f"{one.id}: network {action}")
            return
        if not (app := attributes.get(APP_LABEL)) or not (action in _TOLD or action == "health_status"):
            return
        instance = short(event.actor.id)
        match action:
            case "oom":
                self._ledger.ran_out_of_memory(instance)
            case "die" | "died":
                exit_code = attributes.get("exitCode", attributes.get("containerExitCode", ""))
                self._ledger.ended(instance, int(exit_code) if exit_code.lstrip("-").isdigit() else 0)
                self._prober.forget(instance)
            case "start" | "restart" | "unpause":
                self._spawn(self._look_at(event.actor.id))
        if action in ("destroy", "remove"):
            self._prober.forget(instance)
            self._ledger.forget(instance)
        else:
            self._ledger.spoil(instance)
        self._feed.tell(app, f"{instance}: {event.action}")

    async def _look_at(self, container: str) -> None:
        with suppress(NaruError):
            await self._inspect(container)


def _disk_free(root: Path) -> int:
    """Bytes free where the engine keeps its data, or, where that is hidden from us, above it."""
    while not root.exists() and root != root.parent:
        root = root.parent
    return shutil.disk_usage(root).free
