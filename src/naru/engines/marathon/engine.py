"""The Marathon engine: does what it is told, and tells what it sees."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import httpx

from naru.domain.account import Credentials
from naru.domain.errors import Conflict, NotFound
from naru.domain.image import Image, Platform
from naru.domain.instance import ExecResult, Instance, InstanceState, LogLine, Usage
from naru.domain.release import Release
from naru.domain.rollout import LayerProgress
from naru.domain.target import Capacity, Target
from naru.engines.base import Change
from naru.engines.marathon import translate
from naru.engines.marathon.answers import Task
from naru.engines.marathon.opinion import second_opinion
from naru.engines.marathon.sandbox import Mesos
from naru.engines.marathon.translate import Owned, Place
from naru.engines.marathon.wire import Wire
from naru.engines.scale import leaving
from naru.engines.uncopied import Uncopied

POLL_SECONDS = 1.0
"""How often the instances are looked at while somebody watches; an event of Marathon makes it sooner."""
GATHER_SECONDS = 0.1
"""Events seldom come alone, and those of all other applications come too."""
LISTEN_AGAIN = 5.0
STOP_PATIENCE = 120.0
"""Seconds beyond an instance's grace after which a stop counts as hanging."""
_SCHEME = "marathon+"


@asynccontextmanager
async def open_marathon(
    url: str,
    tasks: asyncio.TaskGroup,
    *,
    name: str = "marathon",
    site: str = "home",
    owner: str = "naru",
    group: str = "naru",
) -> AsyncIterator["MarathonEngine"]:
    """Open the Marathon at a URL such as marathon+https://user:password@marathon.example.org.

    Succeeds while it is away; the methods then raise Unavailable. Listening to events runs in `tasks`. Everything is
    made below `group`; `owner` names this Naru among those that share the group.
    """
    async with Wire(url.removeprefix(_SCHEME), name, Place(group, owner)) as wire:
        yield MarathonEngine(wire, tasks, site=site)


class MarathonEngine(Uncopied):
    """Implements Engine and Window; opened by `open_marathon`."""

    def __init__(self, wire: Wire, tasks: asyncio.TaskGroup, *, site: str) -> None:
        self.name = wire.name
        self._site = site
        self._wire = wire
        self._tasks = tasks
        self._apps: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    # --- Engine -----------------------------------------------------------------------------------------------

    async def describe(self) -> Target:
        """See Engine. What there is room for is known to the Mesos master only."""
        info, seen = await asyncio.gather(self._wire.info(), self.observe())
        async with self._mesos(info.marathon_config.mesos_leader_ui_url) as mesos:
            metrics = await mesos.metrics()
        return Target(
            name=self.name,
            engine="marathon",
            version=info.version,
            site=self._site,
            platform=Platform(),
            features=translate.FEATURES,
            capacity=Capacity(
                cpus=metrics.cpus,
                memory=round(metrics.memory) << 20,
                disk_free=round(max(0.0, metrics.disk - metrics.disk_used)) << 20,
                instances=sum(bool(one.address) for one in seen),
            ),
        )

    async def find(self, reference: str) -> Image | None:
        """See Engine. Agents build nothing."""
        return None

    async def fetch(
        self, image: Image, *, credentials: Credentials | None = None, archive: Path | None = None
    ) -> AsyncGenerator[Sequence[LayerProgress], None]:
        """See Engine. Each agent pulls by digest when it starts a task, with the credentials of its own machine."""
        translate.image_name(image)
        return
        yield ()

    async def apply(
        self, release: Release, replicas: int, *, secrets: Mapping[str, bytes], retire: Collection[str] = ()
    ) -> None:
        """See Engine."""
        for secret in release.workload.secrets:
            if secret.name not in secrets:
                raise NotFound(f"no value was given for the secret {secret.name}", "store it, then deploy again")
        if replicas:
            translate.refuse_what_is_lacking(release)
        async with self._apps[release.app]:
            owned = await self._owned(release.app)
            await self._sweep(owned, release)
            one = next((one for one in owned if one.revision == release.revision), None)
            if not replicas:
                if one:
                    await self._take_away(one)
            elif one and not translate.drift(one):
                await self._rescale(one, replicas, retire)
            else:
                await self._define(release, replicas, anew=one is None)

    async def observe(self, app: str = "") -> Sequence[Instance]:
        """See Engine. Instances that wait for an agent's offer are listed as starting, with the reason."""
        owned = await self._owned(app)
        short_of_tasks = any(len(one.app.tasks) < one.app.instances for one in owned)
        queue = {one.app.id: one for one in (await self._wire.queue()).queue} if short_of_tasks else {}
        seen = [(one, instance) for one in owned for instance in translate.instances(one, queue.get(one.app.id))]
        told = await asyncio.gather(*(self._explained(one, instance) for one, instance in seen))
        return sorted(told, key=translate.age)

    async def watch(self) -> AsyncIterator[Change]:
        """See Engine. What is true comes from looking every second; events only say when to look at once."""
        before = _by_app(await self.observe())
        news = asyncio.Event()
        listening = self._tasks.create_task(self._listen(news))
        try:
            while True:
                with suppress(TimeoutError):
                    # Not wait_for, which before Python 3.12 forgets a cancellation that comes with the wakening.
                    async with asyncio.timeout(POLL_SECONDS):
                        await news.wait()
                    await asyncio.sleep(GATHER_SECONDS)
                news.clear()
                now = _by_app(await self.observe())
                for app in sorted(before.keys() | now.keys()):
                    if before.get(app) != now.get(app):
                        yield Change(app, f"{self.name} shows another picture of {app}")
                before = now
        finally:
            listening.cancel()

    async def remove(self, app: str, *, volumes: bool = False) -> None:
        """See Engine."""
        async with self._apps[app]:
            for one in await self._owned(app):
                await self._take_away(one)
            await self._wire.remove_group_if_empty(app)

    # --- Window -----------------------------------------------------------------------------------------------

    async def logs(
        self, instance: str, *, follow: bool = False, since: datetime | None = None, tail: int | None = None
    ) -> AsyncGenerator[LogLine, None]:
        """See Window. Read from the sandbox on the Mesos agent, which Naru must be able to reach."""
        task = await self._task(instance)
        info = await self._wire.info()
        async with self._mesos(info.marathon_config.mesos_leader_ui_url) as mesos:
            sandbox = await mesos.sandbox(task)
            lines = [line for line in await sandbox.read(to_the_end=not follow) if since is None or line.at >= since]
            for line in lines if tail is None else lines[max(0, len(lines) - tail) :]:
                yield line
            while follow:
                await asyncio.sleep(POLL_SECONDS)
                follow = await self._runs(task)
                for line in await sandbox.read(to_the_end=not follow):
                    yield line

    async def execute(self, instance: str, command: Sequence[str], *, stdin: bytes = b"") -> ExecResult:
        """Raise Conflict: Marathon has no such thing."""
        task = await self._task(instance)
        raise Conflict("marathon runs no commands inside instances", f"use docker exec on the Mesos agent {task.host}")

    async def usage(self, instance: str) -> AsyncGenerator[Usage, None]:
        """Raise Conflict: Marathon does not measure."""
        task = await self._task(instance)
        raise Conflict("marathon does not measure instances", f"look at the Mesos agent {task.host}")
        yield  # a generator, as Window asks for

    # --- changing ---------------------------------------------------------------------------------------------

    async def _rescale(self, one: Owned, replicas: int, retire: Collection[str]) -> None:
        """Change nothing but the count, so that Marathon restarts nothing; who leaves is chosen here."""
        app = one.app
        if outdated := translate.stale(one):
            await self._wire.replace(one.name, [task.id for task in outdated])
        seen = [instance for instance in translate.instances(one) if instance.state is not InstanceState.STOPPING]
        tasks = {translate.instance_id(task.id): task.id for task in app.tasks}
        leave = [i.id for i in leaving(seen, app.instances - replicas, retire)]
        stop = [tasks[instance] for instance in leave if instance in tasks]
        if stop:
            await self._wire.stop(one.name, stop, patience=_patience(one))
        if app.instances - len(stop) != replicas:
            await self._wire.scale(one.name, app.id, replicas)
        if replicas > app.instances:
            await self._wire.launch_now(app.id)

    async def _define(self, release: Release, replicas: int, *, anew: bool) -> None:
        """Make the application of the release's revision; raise Conflict when somebody else has its name."""
        definition = translate.definition(release, replicas, self._wire.place)
        name = self._wire.place.of(release.app, release.revision)
        if anew and await self._wire.exists(name):
            raise Conflict(f"an application that this Naru did not make is called {name}", "remove it")
        await self._wire.define(release.app, name, definition)

    async def _take_away(self, one: Owned) -> None:
        """Stop every task, then remove the application: Marathon would let it disappear before its tasks do."""
        await self._wire.scale(one.name, one.app.id, 0, patience=_patience(one))
        await self._wire.remove(one.name, one.app.id)

    async def _sweep(self, owned: Sequence[Owned], release: Release) -> None:
        """Remove the empty applications of other revisions, which are left when a stop is not waited for."""
        for one in owned:
            if one.revision != release.revision and not one.app.instances and not one.app.tasks:
                await self._wire.remove(one.name, one.app.id)

    # --- looking ----------------------------------------------------------------------------------------------

    async def _owned(self, app: str = "") -> Sequence[Owned]:
        found = [self._wire.place.owned(one) for one in await self._wire.apps(app)]
        return [one for one in found if one and app in ("", one.name)]

    async def _explained(self, one: Owned, instance: Instance) -> Instance:
        """Add the answer of a check that fails: Mesos performs it and keeps that to itself."""
        if instance.state is not InstanceState.UNHEALTHY or not instance.address or one.shape is None:
            return instance
        return replace(instance, failure=await second_opinion(one.shape.health, instance) or instance.failure)

    async def _task(self, instance: str) -> Task:
        for one in await self._owned():
            failure = one.app.last_task_failure
            for task in one.app.tasks:
                if translate.instance_id(task.id) == instance:
                    return task
            if failure and translate.instance_id(failure.task_id) == instance:
                return Task(id=failure.task_id, app_id=one.app.id, host=failure.host, slave_id=failure.slave_id)
        raise NotFound(f"{self.name} has no instance {instance}", "look at the app's instances")

    async def _runs(self, task: Task) -> bool:
        return any(task.id == other.id for one in await self._owned() for other in one.app.tasks)

    async def _listen(self, news: asyncio.Event) -> None:
        """Set `news` at every event, for ever; whatever goes wrong here, looking goes on without."""
        while True:
            with suppress(Exception):
                async with self._wire.events() as events:
                    async for _ in events:
                        news.set()
            await asyncio.sleep(LISTEN_AGAIN)

    def _mesos(self, url: str | None) -> Mesos:
        if not url:
            raise Conflict(
                f"{self.name} does not say where its Mesos master is", "start Marathon with --mesos_leader_ui_url"
            )
        return Mesos(str(httpx.URL(self._wire.url).join(url)))


def _patience(one: Owned) -> float:
    return STOP_PATIENCE + (one.shape.stop_grace if one.shape else 0)


def _by_app(seen: Sequence[Instance]) -> Mapping[str, Sequence[Instance]]:
    apps: dict[str, list[Instance]] = defaultdict(list)
    for one in seen:
        apps[one.app].append(one)
    return apps
