"""What runs is made to match what should, for every app that no rollout is changing.

Instances that disappear are replaced, drift is repaired and recorded, leftovers go, and the door sends traffic to
the ready ones. The comparison is a pure function over what is stored and what is seen.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from naru.control import rolling
from naru.control.bulletin import ANY, Bulletin, wait
from naru.control.deploy import Pipeline
from naru.control.record import Clock
from naru.control.roll import Stage, stop
from naru.control.rolling import standing, upstreams
from naru.control.world import World
from naru.domain.errors import NaruError, NotFound
from naru.domain.instance import Instance, InstanceState
from naru.domain.release import Release
from naru.engines.scale import leaving
from naru.routing.base import Route

PASS_SECONDS = 30.0
SETTLE_SECONDS = 0.1
HEAL_SECONDS = 60.0
PAGE = 500
DRAIN_SECONDS = 30.0
IDENTITY_SECONDS = 600.0
"""How old the word of an engine on what it is may be."""
AT_ONCE = 32
"""How many apps of one target are put right at once: one that hangs keeps no other target waiting."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Repair:
    """What to put right about one app.

    `route` is what the door should have, None when it has it; `unroute` takes away one that should not be there.
    `missing` asks the engine for the full count again, `replace` names instances to drain and replace, `leftovers`
    those of other revisions to drain and stop. `notes` are for the journal.
    """

    route: Route | None = None
    unroute: bool = False
    missing: bool = False
    replace: frozenset[str] = frozenset()
    leftovers: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def compare(live: Release, seen: Sequence[Instance], route: Route | None, *, heal: bool = True) -> Repair:
    """Say what must be put right for a live release to be as it was asked for; an empty Repair when all is well.

    Instances that fail their checks are replaced only when `heal` allows it: the caller paces that. Of those that
    someone changed and that serve all the same, one goes at a time.
    """
    workload = live.workload
    here = [i for i in seen if i.state is not InstanceState.STOPPING]
    leftovers = frozenset(i.id for i in here if i.revision != live.revision)
    left_over = [f"{len(leftovers)} instances of another revision were left over"] if leftovers else []
    unroute = route is not None and not workload.served
    if workload.kind.runs_once:  # a run that has ended, or was lost after it went live, is not repeated
        return Repair(unroute=unroute, leftovers=leftovers, notes=tuple(left_over))
    wanted = standing(live, here)
    count = rolling.count(workload, len(wanted), 0)
    drifted = _made_anew(count, wanted)
    sick = [i for i in wanted if heal and i.state is InstanceState.UNHEALTHY and not i.drift]
    sound = [i for i in wanted if i not in drifted and i not in sick]
    surplus = leaving(sound, len(sound) - count)
    missing = max(0, count - len(wanted))
    should = Route(
        workload.app, workload.address, upstreams([i for i in sound if i not in surplus], [], None), workload.health
    )
    notes = (
        *([f"{missing} of {count} instances are missing"] if missing else []),
        *(f"{i.id} was changed by someone else: {', '.join(i.drift)}" for i in drifted),
        *(f"{i.id} fails its check: {i.failure}" for i in sick),
        *([f"{len(surplus)} instances too many"] if surplus else []),
        *left_over,
    )
    return Repair(
        None if route == should or not workload.served else should,
        unroute,
        bool(missing),
        frozenset(i.id for i in (*drifted, *sick, *surplus)),
        leftovers,
        notes,
    )


def _made_anew(replicas: int, wanted: Sequence[Instance]) -> list[Instance]:
    """Choose which changed instances go now: those that serve nobody, and one that serves while all others do."""
    idle = [i for i in wanted if i.drift and not i.sound]
    serving = [i for i in wanted if i.drift and i.sound]
    calm = len(wanted) >= replicas and all(i.sound for i in wanted)
    return [*idle, *serving[:1]] if calm else idle


@dataclass(frozen=True, slots=True)
class _Task:
    """What to put right about an app, and on which target; None where it is at the door alone."""

    app: str
    world: World | None
    repair: Callable[[], Awaitable[bool]]


class Reconciler:
    """Puts right what is not as it should be, whenever something changes and at least every half minute."""

    def __init__(self, pipeline: Pipeline, bulletin: Bulletin, clock: Clock) -> None:
        self._pipeline = pipeline
        self._store = pipeline.store
        self._bulletin = bulletin
        self._clock = clock
        self._healed: dict[str, float] = {}
        self._rooms: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))

    async def keep(self) -> None:
        """Reconcile until cancelled; an app that drains slowly keeps none of the others waiting."""
        async with asyncio.TaskGroup() as tasks:
            with self._bulletin.waiting() as news:
                news.apps.add(ANY)
                while True:
                    apps = news.take()
                    try:
                        for task in await self._repairs(() if ANY in apps else apps):
                            tasks.create_task(self._in_turn(task))
                    except NaruError as error:
                        log.warning("cannot reconcile: %s", error)
                    if await wait(news, PASS_SECONDS):
                        await asyncio.sleep(SETTLE_SECONDS)
                    else:
                        news.apps.add(ANY)

    async def reconcile(self, apps: Collection[str] = ()) -> int:
        """Look at these apps, or at all of them, once; return how many were repaired."""
        return sum(await asyncio.gather(*(self._in_turn(task) for task in await self._repairs(apps))))

    async def _repairs(self, apps: Collection[str]) -> Sequence["_Task"]:
        if apps and not (apps := [app for app in apps if not self._pipeline.turns.of(app).locked()]):
            return ()
        busy = {rollout.app for rollout in await self._store.rollouts.unended()}
        if apps and busy.issuperset(apps):
            return ()
        routes = await self._pipeline.door.routes()
        known = set[str]()
        homes: dict[str, World] = {}
        tasks: list[_Task] = []
        async for live in self._live(apps):
            known.add(live.app)
            if live.app not in busy and (world := await self._home(live)):
                homes[live.app] = world
                route = routes.get(live.app)
                if compare(live, world.instances(live.app), route, heal=True) != Repair():
                    tasks.append(_Task(live.app, world, partial(self._reconcile_app, world, live, route)))
        for world in self._pipeline.worlds.values():
            there = set(world.apps) if not apps else set(world.apps).intersection(apps)
            for app in there - known - busy:
                tasks.append(_Task(app, world, partial(self._remove_orphans, world, app)))
            for app in there & homes.keys():
                if (home := homes[app]) is not world and not world.away:
                    tasks.append(_Task(app, world, partial(self._remove_strays, home, world, app)))
        for app in routes.keys() - known - busy - {task.app for task in tasks}:
            if not apps or app in apps:
                tasks.append(_Task(app, None, partial(self._remove_orphans, None, app)))
        return tasks

    async def _in_turn(self, task: "_Task") -> bool:
        """Repair an app unless a rollout has its turn, which leaves it as it should be."""
        turn = self._pipeline.turns.of(task.app)
        if turn.locked():
            return False
        async with turn, self._rooms[task.world.engine.name if task.world else ""]:
            try:
                if await self._store.rollouts.unended(task.app):
                    return False
                return await task.repair()
            except NaruError as error:
                log.warning("cannot reconcile %s: %s", task.app, error)
                return False

    async def _live(self, apps: Collection[str]) -> AsyncIterator[Release]:
        """Yield the live releases of these apps, or of all."""
        for app in apps:
            with suppress(NotFound):
                if number := (await self._store.apps.get(app)).live:
                    yield await self._store.releases.get(app, number)
        after, full = "", not apps
        while full:
            page = await self._store.releases.live(after, PAGE)
            for release in page:
                yield release
            full = len(page) == PAGE
            after = page[-1].app if page else after

    async def _reconcile_app(self, world: World, live: Release, route: Route | None) -> bool:
        if (await self._store.apps.get(live.app, include_removed=True)).live != live.number:
            return False
        seen = world.instances(live.app)
        repair = compare(live, seen, route, heal=self._may_heal(live.app))
        if repair == Repair():
            return False
        if any(i.state is InstanceState.UNHEALTHY and i.id in repair.replace for i in seen):
            self._healed[live.app] = _now()
        await self._put_right(world, live, repair, seen)
        return True

    def _may_heal(self, app: str) -> bool:
        return _now() - self._healed.get(app, -HEAL_SECONDS) >= HEAL_SECONDS

    async def _put_right(self, world: World, live: Release, repair: Repair, seen: Sequence[Instance]) -> None:
        if repair.route:
            await self._pipeline.door.apply(repair.route)
        if repair.unroute:
            await self._pipeline.door.remove(live.app)
        going = repair.replace | repair.leftovers
        if going:
            addresses = [i.address for i in seen if i.id in going and i.address]
            await self._pipeline.door.drain(addresses, live.workload.stop_grace)
        if repair.leftovers:
            await self._stop_leftovers(world, live, repair, seen)
        if repair.replace or repair.missing:
            await self._replace(world, live, repair, seen)
        for note in repair.notes:
            await self._store.journal.append(at=self._clock(), app=live.app, kind="repaired", subject="naru", text=note)
        await world.look(live.app)

    async def _replace(self, world: World, live: Release, repair: Repair, seen: Sequence[Instance]) -> None:
        secrets = await self._pipeline.secrets_of(live)
        mine = standing(live, seen)
        count = rolling.count(live.workload, len(mine), 0)
        if any(not i.drift for i in seen if i.id in repair.replace):
            left = sum(i.id not in repair.replace for i in mine)
            await world.engine.apply(live, min(left, count), secrets=secrets, retire=repair.replace)
        await world.engine.apply(live, count, secrets=secrets, retire=repair.replace)

    async def _stop_leftovers(self, world: World, live: Release, repair: Repair, seen: Sequence[Instance]) -> None:
        async def find(number: int) -> Release:
            return await self._store.releases.get(live.app, number)

        stage = Stage(world, self._pipeline.door, self._bulletin, find, self._pipeline.secrets_of)
        for number in {i.release for i in seen if i.id in repair.leftovers}:
            await stop(stage, live.app, number, repair.leftovers)

    async def _home(self, live: Release) -> World | None:
        app = await self._store.apps.get(live.app)
        world = self._pipeline.worlds.get(app.target)
        return None if world is None or world.problem else world

    async def _remove_strays(self, home: World, world: World, app: str) -> bool:
        """Remove what is left of a live app on a target that is not its own: it moved, or a move was given up.

        Where the home shows the same instances, two targets are one engine, and nothing may be touched.
        """
        found = await self._store.apps.get(app)
        seen = await world.look(app)
        route = (await self._pipeline.door.routes()).get(app)
        serving = {upstream.address for upstream in route.upstreams} if route else set[str]()
        if not seen or found.target != home.engine.name or await _are_one(home, world, app):
            return False
        addresses = [one.address for one in seen if one.address]
        if not serving.isdisjoint(addresses):
            return False
        await self._pipeline.door.drain(addresses, DRAIN_SECONDS)
        await world.engine.remove(app)
        await world.look(app)
        text = f"{len(seen)} instances on {world.engine.name} were left over; it lives on {found.target}"
        await self._store.journal.append(at=self._clock(), app=app, kind="repaired", subject="naru", text=text)
        return True

    async def _remove_orphans(self, world: World | None, app: str) -> bool:
        """Remove what is left of an app that has no live release and no rollout: nothing may be left behind.

        What runs under a name that this store has never known belongs to another Naru and is left alone.
        """
        try:
            if (await self._store.apps.get(app, include_removed=True)).live:
                return False
        except NotFound:
            return False
        await self._pipeline.door.remove(app)
        if world:
            await world.engine.remove(app)
            await world.look(app)
        log.warning("removed what was left of %s, which has no live release", app)
        return True


async def _are_one(home: World, world: World, app: str) -> bool:
    """Say whether two targets are the same engine; where an engine has no name for itself, its instances' ids tell."""
    here, there = await home.describe(IDENTITY_SECONDS), await world.describe(IDENTITY_SECONDS)
    if here.identity and there.identity:
        return here.identity == there.identity
    return not {one.id for one in home.instances(app)}.isdisjoint(one.id for one in world.instances(app))


def _now() -> float:
    return asyncio.get_running_loop().time()
