"""The worlds of all targets, opened and closed as targets come and go.

Each target has a task of its own. What hangs, fails or is away there is seen in that target's `problem` and nowhere
else.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import urlsplit

from naru.control.bulletin import Bulletin, wait
from naru.control.record import Clock
from naru.control.world import DESCRIBE_SECONDS, World
from naru.domain.app import App
from naru.domain.errors import Conflict, NaruError, NotFound, Unavailable
from naru.domain.image import Image, Origin
from naru.domain.target import CONFIGURED, Enrolment, Target, TargetState
from naru.engines.base import OpenEngine
from naru.engines.closed import Closed
from naru.engines.guard import Guarded
from naru.store.targets import Targets

TARGETS = "targets/"
"""The topic of whoever follows which targets there are; no app is called so."""
FOLLOW_SECONDS = 5.0
"""How late a target is noticed that another replica of the control plane added."""
OPEN_SECONDS = 5.0
REOPEN_SECONDS = 10.0
DESCRIBED_SECONDS = 2.0
"""How old a target's description may be when a deployment is decided by it."""
HOME_SECONDS = 30.0
"""How long the target where an app lives may take to describe itself: to be slow is no reason to be left."""
CLOSE_SECONDS = 5.0
ROLLOUTS_AT_ONCE = 8

_NO_TARGET = Unavailable("there is no target that takes new apps", "add one: naru targets add NAME URL")

log = logging.getLogger(__name__)


class Opener(Protocol):
    """Opens the engine at a URL under a target's name; see naru.engines.catalogue."""

    def __call__(
        self, url: str, tasks: asyncio.TaskGroup, *, name: str, site: str
    ) -> AbstractAsyncContextManager[OpenEngine]:
        """Succeeds while the engine is away; raises Invalid for a URL that can never be an engine's."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The target that the server's configuration names: its engine, opened by whoever starts the server."""

    engine: OpenEngine
    url: str
    site: str


@dataclass(slots=True)
class _Berth:
    """One target's place: how it was added, its world, and the task that keeps it."""

    enrolment: Enrolment
    world: World
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None


class Worlds(Mapping[str, World]):
    """The worlds by their targets' names, the configured one first, then in the order in which they were added."""

    def __init__(
        self,
        targets: Targets,
        open_engine: Opener,
        bulletin: Bulletin,
        clock: Clock,
        configured: Configured | None = None,
    ) -> None:
        self.open_engine = open_engine
        self._targets = targets
        self._bulletin = bulletin
        self._configured = configured
        self._berths: dict[str, _Berth] = {}
        self._rooms: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(ROLLOUTS_AT_ONCE))
        self._kept = False
        self._turn = asyncio.Lock()
        if configured:
            engine = configured.engine
            enrolment = Enrolment(engine.name, configured.url, configured.site, CONFIGURED, clock())
            self._berths[engine.name] = berth = _Berth(enrolment, World(engine, bulletin))
            berth.opened.set()

    def __getitem__(self, name: str) -> World:
        return self._berths[name].world

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._berths))

    def __len__(self) -> int:
        return len(self._berths)

    def home(self, app: App) -> World:
        """Return the world that the app runs in; while it runs nowhere, that of the first target which answers."""
        if app.target:
            return self[app.target] if app.target in self else self._missing(app)
        berths = [berth for berth in self._berths.values() if berth.enrolment.state is TargetState.ACTIVE]
        berths.sort(key=lambda berth: bool(berth.world.problem))
        return berths[0].world if berths else World(Closed("naru", _NO_TARGET), self._bulletin)

    def _missing(self, app: App) -> World:
        reason = Unavailable(
            f"the target {app.target}, where {app.name} runs, is no target any more", "add it again: naru targets add"
        )
        return World(Closed(app.target, reason), self._bulletin, problem=str(reason))

    def room(self, name: str) -> asyncio.Semaphore:
        """Return what a rollout holds while it is at work on a target: one that hangs keeps no other target waiting."""
        return self._rooms[name]

    def enrolment(self, name: str) -> Enrolment:
        """Say how the target was added; raise NotFound."""
        if berth := self._berths.get(name):
            return berth.enrolment
        raise NotFound(f"there is no target {name}", "list the targets to see their names")

    def is_configured(self, name: str) -> bool:
        """Say whether the server's configuration names the target."""
        return self._configured is not None and self._configured.engine.name == name

    async def describe(self, max_age: float = 0.0, patience: float = DESCRIBE_SECONDS) -> list[Target]:
        """Describe all targets at once, as World.describe does; one that does not answer delays none of the others."""
        return list(await asyncio.gather(*(self.describe_one(name, max_age, patience) for name in self)))

    async def describe_one(self, name: str, max_age: float = 0.0, patience: float = DESCRIBE_SECONDS) -> Target:
        """Describe one target; raise NotFound."""
        enrolment = self.enrolment(name)
        berth = self._berths[name]
        if self._kept and not berth.opened.is_set():
            await wait(berth.opened, patience)
        target = await berth.world.describe(max_age, patience)
        return replace(
            target,
            name=name,
            site=enrolment.site,
            state=enrolment.state,
            address=without_password(enrolment.url),
            added_by=enrolment.added_by,
            added_at=enrolment.added_at,
        )

    async def prospects(self, home: str, image: Image) -> list[Target]:
        """Describe all targets for a choice; one that does not hold an image which was built on an engine says so.

        None is waited for longer than a list would be, but for the one where the app lives.
        """
        targets = await asyncio.gather(
            *(
                self.describe_one(name, DESCRIBED_SECONDS, HOME_SECONDS if name == home else DESCRIBE_SECONDS)
                for name in self
            )
        )
        if image.origin is not Origin.ENGINE:
            return list(targets)
        return list(await asyncio.gather(*(self._holding(target, image) for target in targets)))

    async def _holding(self, target: Target, image: Image) -> Target:
        found: Image | None = None
        with suppress(NaruError, TimeoutError, KeyError):
            async with asyncio.timeout(DESCRIBE_SECONDS):
                found = await self[target.name].engine.find(image.reference)
        if target.problem or (found and found.digest == image.digest):
            return target
        return replace(target, problem=f"it does not hold {image.reference}, which was built on another engine")

    async def prepare(self) -> None:
        """Enrol the configured target and see which others there are; they are opened once `keep` runs.

        Raises Conflict when an operator gave the configured target's name to another engine.
        """
        if self._configured:
            ours = self._berths[self._configured.engine.name].enrolment
            _demand_ours(ours, await self._targets.all())
            await self._targets.put(ours)
        await self.follow()

    async def keep(self) -> None:
        """Keep every target's picture true, and follow which targets there are, until cancelled."""
        self._kept = True
        try:
            with self._bulletin.waiting(TARGETS) as news:
                while True:
                    news.take()
                    try:
                        await self.follow()
                    except NaruError as error:
                        log.warning("cannot see which targets there are: %s", error)
                    await wait(news, FOLLOW_SECONDS)
        finally:
            self._kept = False
            tasks = [berth.task for berth in self._berths.values() if berth.task]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=CLOSE_SECONDS)

    async def opened(self) -> None:
        """Wait until every target is opened or has failed to, five seconds at most."""
        waiting = [asyncio.create_task(berth.opened.wait()) for berth in self._berths.values()]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=OPEN_SECONDS)
            for task in late:
                task.cancel()

    async def follow(self) -> None:
        """Open and close worlds so that they are those of the targets that are stored."""
        async with self._turn:
            stored = {enrolment.name: enrolment for enrolment in await self._targets.all()}
            for name in [*self]:
                if name not in stored and not self.is_configured(name):
                    await self._close(name)
            for name, enrolment in stored.items():
                berth = self._berths.get(name)
                if berth is None or (_moved(berth.enrolment, enrolment) and not self.is_configured(name)):
                    await self._close(name)
                    away = Closed(name, Unavailable(f"{name} is still being opened", "try again in a moment"))
                    self._berths[name] = berth = _Berth(enrolment, World(away, self._bulletin))
                berth.enrolment = enrolment
                if berth.task is None and self._kept:
                    berth.task = asyncio.create_task(self._serve(berth), name=f"watch {name}")

    async def _close(self, name: str) -> None:
        berth = self._berths.pop(name, None)
        if berth and berth.task:
            berth.task.cancel()
            await asyncio.wait([berth.task], timeout=CLOSE_SECONDS)
        self._bulletin.tell_all()

    async def _serve(self, berth: _Berth) -> None:
        """Keep one target's world, opened again whenever that fails, until cancelled."""
        name = berth.enrolment.name
        if self.is_configured(name):
            await berth.world.keep()
        while True:
            problem: NaruError
            try:
                await self._open(berth)
            except* NaruError as errors:
                problem = first(errors)
            except* Exception as errors:
                log.error("the target %s failed", name, exc_info=errors)
                problem = Unavailable(f"Naru itself failed at {name}: {errors.exceptions[0]!r}", "its log tells more")
            berth.world = World(Closed(name, problem), self._bulletin, problem=str(problem))
            berth.opened.set()
            await asyncio.sleep(REOPEN_SECONDS)

    async def _open(self, berth: _Berth) -> None:
        name, url, site = berth.enrolment.name, berth.enrolment.url, berth.enrolment.site
        async with asyncio.TaskGroup() as tasks, self.open_engine(url, tasks, name=name, site=site) as engine:
            berth.world = World(Guarded(engine), self._bulletin)
            berth.opened.set()
            await berth.world.keep()


def without_password(url: str) -> str:
    """Return the URL without the user and password that it may hold."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _demand_ours(ours: Enrolment, stored: Sequence[Enrolment]) -> None:
    for found in stored:
        if found.name == ours.name and found.added_by != CONFIGURED and found.url != ours.url:
            raise Conflict(
                f"{ours.name} is the target at {without_password(found.url)}, which {found.added_by} added",
                "start with the NARU_ENGINE from before, drain and remove that target, then start again",
            )


def _moved(before: Enrolment, now: Enrolment) -> bool:
    return (before.url, before.site) != (now.url, now.site)


def first(errors: BaseExceptionGroup[NaruError]) -> NaruError:
    """Return the first error of a group, however deep it lies."""
    inner = errors.exceptions[0]
    return first(inner) if isinstance(inner, BaseExceptionGroup) else inner
