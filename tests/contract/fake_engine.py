"""An engine in memory that keeps every promise of naru.engines.base, and breaks down on command.

    engine = FakeEngine(clock=clock)
    engine.behave(Exits(code=3), image="shop:2")        # instances of that image end at once
    engine.behave(Ready(after=2.0))                     # all others are ready after two seconds of the clock
    engine.exit(instance.id, code=137, oom=True)        # something happens to a running one
    engine.fail("apply", Conflict("busy"))              # the next call is refused
    with engine.hold("apply"): ...                      # calls hang inside the engine until the block ends
    engine.go_away()                                    # every call raises Unavailable until come_back()

Nothing here sleeps. What is due by the clock happens at the next call, or when the test says `engine.tick()`;
what is due at once happens on the next turn of the event loop, so that `apply` returns before anything is ready.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.contract.fake_behaviour import Behaviour, Exits, NeverReady, Ready, Waits
from tests.contract.fake_breakdown import Breakable
from tests.contract.fake_disk import FakeDisk
from tests.contract.fake_log import FakeLog

from naru.domain.account import Credentials
from naru.domain.errors import Conflict, NotFound
from naru.domain.image import Image, Platform
from naru.domain.instance import ExecResult, Instance, InstanceState, LogLine, Usage
from naru.domain.kind import WorkloadKind
from naru.domain.release import Release
from naru.domain.rollout import LayerProgress
from naru.domain.target import Capacity, Feature, Target
from naru.domain.workload import Restart
from naru.engines.base import Change, Stored
from naru.engines.scale import leaving, outworn

RESTART_DELAY = 1.0
ENDED = (InstanceState.EXITED, InstanceState.COMPLETED)
STREAMS = ("fetch", "watch", "logs", "usage")


@dataclass(frozen=True, slots=True)
class _Due:
    at: datetime
    become: Callable[[], None]


class FakeEngine(Breakable):
    """Implements OpenEngine; see the module's text for the commands."""

    def __init__(
        self,
        name: str = "fake",
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        site: str = "home",
        network: int = 10,
    ) -> None:
        super().__init__(name)
        self.network = network
        """The first number of its instances' addresses."""
        self.site = site
        self.clock = clock
        self.capacity = Capacity(cpus=8.0, memory=16 << 30, disk_free=100 << 30, instances=0)
        self.platform = Platform()
        self.features = tuple(Feature)
        self.identity = f"{name} of {id(self):x}"
        self.own_images: dict[str, Image] = {}
        """What `find` knows: images built on this engine."""
        self.held: set[str] = set()
        """The digests of the images that it has; `apply` of any other raises NotFound, as `fetch` was forgotten."""
        self.disk = FakeDisk(name)
        """The volumes, and what they hold."""
        self.secrets: dict[str, Mapping[str, bytes]] = {}
        """By instance: what its secret files hold."""
        self.releases: dict[str, Release] = {}
        """By instance: the release that made it."""
        self.answers: dict[tuple[str, ...], ExecResult] = {}
        """By command: what `execute` answers; any other command succeeds silently."""
        self.layers: tuple[LayerProgress, ...] = (LayerProgress("layer", "downloading", 512, 1024),)
        """What `fetch` reports on its way."""

        self._apps: dict[str, dict[str, Instance]] = defaultdict(dict)
        self._where: dict[str, str] = {}
        self._due: dict[str, _Due] = {}
        self._default: Behaviour = Ready()
        self._by_image: dict[str, Behaviour] = {}
        self._made = 0
        self._watchers: set[asyncio.Queue[Change | None]] = set()
        self.log = FakeLog()
        """What its instances wrote."""
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    # --- what a test says -------------------------------------------------------------------------------------

    def behave(self, behaviour: Behaviour, *, image: str = "") -> None:
        """Decide what new instances do: of one image, named by its reference or digest, or of every other."""
        if image:
            self._by_image[image] = behaviour
        else:
            self._default = behaviour

    def hold_image(self, *images: Image) -> None:
        """Pretend that the images were fetched."""
        self.held.update(image.digest for image in images)

    def make_ready(self, instance: str) -> None:
        """Let its checks pass."""
        self._become(instance, state=InstanceState.READY, failure="")

    def sicken(self, instance: str, failure: str = "GET / on 10.0.0.1:8080 answered 500") -> None:
        """Let its checks fail until it is unhealthy."""
        self._become(instance, state=InstanceState.UNHEALTHY, failure=failure)

    def exit(self, instance: str, *, code: int = 1, oom: bool = False) -> None:
        """End its process; the release's restart policy decides whether it comes back a second later."""
        one = self._instance(instance)
        workload = self.releases[instance].workload
        ended_well = workload.kind.ends and not (code or oom)
        self._become(
            instance,
            state=InstanceState.COMPLETED if ended_well else InstanceState.EXITED,
            address="",
            exits=one.exits + 1,
            exit_code=137 if oom else code,
            oom_killed=oom,
        )
        if workload.restarts is Restart.ALWAYS or (workload.restarts is Restart.ON_FAILURE and (code or oom)):
            self._after(instance, RESTART_DELAY, lambda: self._start(instance))

    def strike(self, app: str) -> None:
        """Let the time of a scheduled app come: a run of all its replicas starts."""
        standing = next(one for one in self._apps[app].values() if one.state is InstanceState.SCHEDULED)
        release = self.releases[standing.id]
        secrets = {one.name: self.secrets[standing.id][one.path] for one in release.workload.secrets}
        for _ in range(release.workload.replicas):
            self._start(self._create(release, standing.revision, secrets))
        self.tick()

    def vanish(self, instance: str) -> None:
        """Remove it behind Naru's back."""
        self._forget(instance, "destroyed")

    def drift(self, instance: str, *what: str) -> None:
        """Let someone else change it; with nothing named it is as Naru made it."""
        self._become(instance, drift=what)

    def write(self, instance: str, text: str, *, stream: str = "stdout") -> None:
        """Let it write one line."""
        self.log.write(LogLine(instance, self.clock(), stream, text))

    def go_away(self, cause: str = "") -> None:
        """Stop answering: calls raise Unavailable, streams end with it. The instances live on."""
        super().go_away(cause)
        for queue in self._watchers:
            queue.put_nowait(None)
        self.log.wake()

    def tick(self) -> None:
        """Let everything happen that is due by the clock."""
        now = self.clock()
        for instance in [one for one, due in self._due.items() if due.at <= now]:
            self._due.pop(instance).become()

    def instances(self, app: str = "") -> list[Instance]:
        """Look without calling: no failure, no hold, no entry in `calls`."""
        self.tick()
        tables = [self._apps[app]] if app else list(self._apps.values())
        found = [one for table in tables for one in table.values()]
        return found if app else sorted(found, key=_age)

    # --- Engine -----------------------------------------------------------------------------------------------

    async def describe(self) -> Target:
        await self._enter("describe")
        return Target(
            name=self.name,
            engine="fake",
            version="1",
            site=self.site,
            identity=self.identity,
            platform=self.platform,
            features=self.features,
            capacity=replace(self.capacity, instances=len(self._where)),
        )

    async def find(self, reference: str) -> Image | None:
        await self._enter("find", reference)
        return self.own_images.get(reference)

    async def fetch(
        self, image: Image, *, credentials: Credentials | None = None, archive: Path | None = None
    ) -> AsyncIterator[Sequence[LayerProgress]]:
        await self._enter("fetch", image.reference)
        if image.digest in self.held:
            return
        if self.layers:
            yield self.layers
            await asyncio.sleep(0)
            self._answering()
            yield tuple(replace(layer, status="done", current=layer.total) for layer in self.layers)
        self.held.add(image.digest)

    async def apply(
        self, release: Release, replicas: int, *, secrets: Mapping[str, bytes], retire: Collection[str] = ()
    ) -> None:
        await self._enter("apply", release.app, str(release.number), str(replicas))
        if release.image.digest not in self.held and self.own_images.get(release.image.reference) != release.image:
            raise NotFound(f"{self.name} does not hold {release.image.reference}", "fetch it first")
        if missing := [one.name for one in release.workload.secrets if one.name not in secrets]:
            raise NotFound(f"no value was given for the secret {missing[0]}", "store it and deploy again")
        async with self._locks[release.app]:
            revision = release.revision
            scheduled = release.workload.kind is WorkloadKind.SCHEDULED
            mine = [
                one
                for one in self._apps[release.app].values()
                if one.revision == revision and (not scheduled or not replicas or one.state is InstanceState.SCHEDULED)
            ]
            replicas = min(replicas, 1) if scheduled else replicas
            for one in mine:
                if outworn(one, retire):
                    self._forget(one.id, "replaced")
            whole = [one for one in mine if not outworn(one, retire)]
            for one in leaving(whole, len(whole) - replicas, retire):
                self._become(one.id, state=InstanceState.STOPPING)
                self._forget(one.id, "stopped")
            for _ in range(replicas - len(whole)):
                made = self._create(release, revision, secrets)
                if scheduled:
                    self._become(made, state=InstanceState.SCHEDULED)
                else:
                    self._start(made)
        asyncio.get_running_loop().call_soon(self.tick)

    async def observe(self, app: str = "") -> Sequence[Instance]:
        await self._enter("observe", app)
        return self.instances(app)

    async def watch(self) -> AsyncIterator[Change]:
        await self._enter("watch")
        queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            while True:
                change = await queue.get()
                self._answering()
                if change:
                    yield change
        finally:
            self._watchers.discard(queue)

    async def remove(self, app: str, *, volumes: bool = False) -> None:
        await self._enter("remove", app)
        async with self._locks[app]:
            for instance in list(self._apps[app]):
                self._forget(instance, "removed")
            self._apps.pop(app, None)
            if volumes:
                self.disk.remove(app)

    # --- Window -----------------------------------------------------------------------------------------------

    async def logs(
        self, instance: str, *, follow: bool = False, since: datetime | None = None, tail: int | None = None
    ) -> AsyncIterator[LogLine]:
        await self._enter("logs", instance)
        self._instance(instance)
        async for line in self.log.read(instance, follow, since, tail, self._may_write):
            yield line

    async def execute(self, instance: str, command: Sequence[str], *, stdin: bytes = b"") -> ExecResult:
        await self._enter("execute", instance, *command)
        if self._instance(instance).state in ENDED:
            raise Conflict(f"{instance} is not running", "choose a running instance")
        return self.answers.get(tuple(command), ExecResult(0, b"", b""))

    async def usage(self, instance: str) -> AsyncIterator[Usage]:
        await self._enter("usage", instance)
        limit = self.releases[self._instance(instance).id].workload.resources.memory or self.capacity.memory
        while instance in self._where:
            self._answering()
            yield Usage(instance, self.clock(), cpu=0.1, memory=8 << 20, memory_limit=limit, received=100, sent=200)
            await asyncio.sleep(0)

    # --- Volumes ----------------------------------------------------------------------------------------------

    async def volumes(self, app: str) -> Sequence[Stored]:
        await self._enter("volumes", app)
        return self.disk.stored(app)

    async def pack(self, release: Release, volume: str) -> AsyncIterator[bytes]:
        await self._enter("pack", release.app, volume)
        for chunk in self.disk.read(release.app, volume):
            self._answering()
            yield chunk
            await asyncio.sleep(0)

    async def unpack(self, release: Release, volume: str, archive: AsyncIterator[bytes]) -> None:
        await self._enter("unpack", release.app, volume)
        if self._apps[release.app]:
            raise Conflict(f"the volume {volume} of {release.app} is in use", "stop the app first")
        self.disk.make_anew(release.app, volume)
        async for chunk in archive:
            self._answering()
            self.disk.append(release.app, volume, chunk)

    # --- how it works -----------------------------------------------------------------------------------------

    def _may_write(self, instance: str) -> bool:
        self._answering()
        return instance in self._where and self._instance(instance).state not in ENDED

    def _instance(self, instance: str) -> Instance:
        if instance not in self._where:
            raise NotFound(f"{self.name} has no instance {instance}", "look at the app's instances")
        return self._apps[self._where[instance]][instance]

    def _create(self, release: Release, revision: str, secrets: Mapping[str, bytes]) -> str:
        self._made += 1
        id_ = f"{release.app}-{revision[:6]}-{self._made}"
        self._where[id_] = release.app
        self.releases[id_] = release
        self.secrets[id_] = {one.path: secrets[one.name] for one in release.workload.secrets}
        for volume in release.workload.volumes:
            self.disk.make(release.app, volume.name)
        self._apps[release.app][id_] = Instance(
            id=id_,
            app=release.app,
            release=release.number,
            revision=revision,
            state=InstanceState.STARTING,
            node=self.name,
            created_at=self.clock() + timedelta(microseconds=self._made),
        )
        return id_

    def _start(self, instance: str) -> None:
        release = self.releases[instance]
        number = int(instance.rsplit("-", 1)[1])
        port = release.workload.port
        address = f"{self.network}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}:{port}" if port else ""
        self._become(instance, state=InstanceState.STARTING, address=address, failure="")
        behaviour = self._by_image.get(release.image.reference) or self._by_image.get(release.image.digest)
        match behaviour or self._default:
            case Ready(after):
                self._after(instance, after, lambda: self.make_ready(instance))
            case NeverReady(failure, after):
                health = release.workload.health
                patience = health.start_period + health.retries * health.interval if after is None else after
                self._become(instance, failure=failure)
                self._after(instance, patience, lambda: self.sicken(instance, failure))
            case Exits(code, oom, after):
                self._after(instance, after, lambda: self.exit(instance, code=code, oom=oom))
            case Waits():
                pass

    def _after(self, instance: str, seconds: float, become: Callable[[], None]) -> None:
        self._due[instance] = _Due(self.clock() + timedelta(seconds=seconds), become)

    def _become(self, instance: str, **what: object) -> None:
        before = self._instance(instance)
        after = replace(before, **what)  # type: ignore[arg-type]
        self._apps[before.app][instance] = after
        self._tell(Change(before.app, f"{instance} is {after.state}"))
        if after.state in ENDED:
            self.log.wake()

    def _forget(self, instance: str, what: str) -> None:
        app = self._instance(instance).app
        for table in (self._apps[app], self._where, self._due, self.secrets, self.releases):
            table.pop(instance, None)
        self._tell(Change(app, f"{instance} {what}"))
        self.log.wake()

    def _tell(self, change: Change) -> None:
        for queue in self._watchers:
            queue.put_nowait(change)


def _age(instance: Instance) -> tuple[datetime, str]:
    return instance.created_at or datetime.min.replace(tzinfo=UTC), instance.id
