"""Carries a roll plan out: starts, routes, drains and stops instances until the plan is complete."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from naru.control import rolling
from naru.control.bulletin import Bulletin, wait
from naru.control.rolling import Move, Scene
from naru.control.world import World
from naru.domain.errors import Conflict, NaruError, Unavailable
from naru.domain.instance import Instance, InstanceState
from naru.domain.kind import WorkloadKind
from naru.domain.release import Release
from naru.domain.workload import Strategy
from naru.routing.base import Door, Route, Upstream

LOOK_AGAIN_SECONDS = 5.0
RETRY_SECONDS = 1.0
MARGIN_SECONDS = 60.0
ENGINE_PATIENCE_SECONDS = 120.0
LAST_LINES = 12
ASIDE_SECONDS = 5.0
_STANDS = {
    WorkloadKind.BATCH: "started",
    WorkloadKind.TRAINING: "started",
    WorkloadKind.SCHEDULED: "scheduled",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """What a roll works with: `find` gives a release of the app by number, `secrets` the values a release names.

    `aside` is another target whose instances of the app are to be replaced as well; while it is away, they count as
    gone.
    """

    world: World
    door: Door
    bulletin: Bulletin
    find: Callable[[int], Awaitable[Release]]
    secrets: Callable[[Release], Awaitable[Mapping[str, bytes]]]
    aside: World | None = None

    @property
    def worlds(self) -> tuple[World, ...]:
        """The worlds that count."""
        return (self.world, self.aside) if self.aside and not self.aside.away else (self.world,)

    def elsewhere(self, app: str) -> list[Instance]:
        """Return the app's instances in the other world, their ids marked: two engines may give the same ones."""
        return [replace(one, id=self.mark(world) + one.id) for world in self.worlds[1:] for one in world.instances(app)]

    def mark(self, world: World) -> str:
        """Return what a roll puts before the ids of a world's instances."""
        return "" if world is self.world else f"{world.engine.name}/"

    async def look(self, app: str) -> None:
        """Observe the app now, for a few seconds in the other world."""
        await self.world.look(app)
        for world in self.worlds[1:]:
            with suppress(NaruError, TimeoutError):
                async with asyncio.timeout(ASIDE_SECONDS):
                    await world.look(app)


class Roll:
    """Brings one release to its full count in place of everything else that runs of its app.

    `phase` is how many steps of a canary are done already; `count_phase` is told of each further one. `vital` says
    why the roll should be given up, or nothing, and is asked all through.
    """

    def __init__(
        self,
        stage: Stage,
        release: Release,
        strategy: Strategy,
        *,
        phase: int = 0,
        count_phase: Callable[[int], Awaitable[None]] | None = None,
        vital: Callable[[], str] = lambda: "",
    ) -> None:
        self._stage = stage
        self._release = release
        self._strategy = strategy
        self._phase = phase
        self._count_phase = count_phase
        self._vital = vital
        self._retiring: dict[str, Instance] = {}
        self._retirement: asyncio.Task[None] | None = None
        self._routed: tuple[Upstream, ...] | None = None
        self._held_since: float | None = None
        self._away_since: float | None = None
        self._standing: tuple[int, int, int] | None = None
        self._moved_at = 0.0
        self._rest = LOOK_AGAIN_SECONDS

    async def run(self) -> str:
        """Roll to the end and say in one line what was done.

        Raises Conflict, with what an operator needs to mend it, when the release cannot get ready, and Unavailable
        when the engine stays away.
        """
        self._moved_at = _now()
        with self._stage.bulletin.waiting(self._release.app) as news:
            try:
                looked = False
                while True:
                    news.take()
                    if await self._advance_or_wait(look=not looked):
                        break
                    looked = await wait(news, self._rest)
            finally:
                await self._leave()
        if not self._release.workload.served and self._release.app in await self._stage.door.routes():
            await self._stage.door.remove(self._release.app)
        replaced = f", {len(self._retiring)} replaced" if self._retiring else ""
        return f"{self._release.workload.count} {_STANDS.get(self._release.workload.kind, 'ready')}{replaced}"

    async def _advance_or_wait(self, *, look: bool) -> bool:
        try:
            if look:
                await self._stage.look(self._release.app)
            done = await self._advance()
        except Unavailable:
            self._away_since = self._away_since or _now()
            if _now() - self._away_since > ENGINE_PATIENCE_SECONDS:
                raise
            self._moved_at, self._rest = _now(), RETRY_SECONDS
            return False
        self._away_since = None
        return done

    async def _advance(self) -> bool:
        """Do what the plan says now; return whether nothing is left to do."""
        seen = self._stage.world.instances(self._release.app)
        new, old = self._sides(seen)
        count = rolling.count(self._release.workload, len(new), len(old))
        leaving = self._leaving((*seen, *self._stage.elsewhere(self._release.app)))
        scene = Scene(count, new, old, self._phase, leaving)
        if culprit := rolling.broken(self._release.workload, new):
            raise await explained(self._stage.world, self._release, culprit)
        if problem := self._vital():
            raise Conflict(problem)
        move = rolling.plan(self._strategy, scene)
        spoilt = any(i.drift and not i.sound for i in new)
        if len(new) < move.new or spoilt:
            await together(self._route(move, new, old), self._start(max(move.new, len(new)), seen))
            new, old = self._sides(self._stage.world.instances(self._release.app))
        await self._route(move, new, old)
        self._retire([i for i in (*new, *old) if i.id in move.retire])
        if move.complete and self._all_gone():
            return True
        self._rest = await self._hold(move.hold)
        await self._check_progress(new, old)
        return False

    def _sides(self, seen: Sequence[Instance]) -> tuple[list[Instance], list[Instance]]:
        """Split what is seen into the wanted revision and the rest, leaving out what is on its way out."""
        staying = self._staying(seen)
        others = [i for i in staying if i.revision != self._release.revision]
        new = rolling.standing(self._release, staying)
        return new, [*others, *self._staying(self._stage.elsewhere(self._release.app))]

    def _staying(self, seen: Sequence[Instance]) -> list[Instance]:
        return [i for i in seen if i.state is not InstanceState.STOPPING and i.id not in self._retiring]

    def _leaving(self, seen: Sequence[Instance]) -> int:
        return sum(i.state is InstanceState.STOPPING or i.id in self._retiring for i in seen)

    async def _start(self, count: int, seen: Sequence[Instance]) -> None:
        leaving = [i.id for i in seen if i.id in self._retiring and i.revision == self._release.revision]
        secrets = await self._stage.secrets(self._release)
        engine = self._stage.world.engine
        await engine.apply(self._release, count + len(leaving), secrets=secrets, retire=leaving)
        await self._stage.world.look(self._release.app)

    async def _route(self, move: Move, new: Sequence[Instance], old: Sequence[Instance]) -> None:
        wanted = rolling.upstreams(
            [i for i in new if i.id not in move.retire], [i for i in old if i.id not in move.retire], move.share
        )
        workload = self._release.workload
        if workload.served and wanted != self._routed:
            await self._stage.door.apply(Route(workload.app, workload.address, wanted, workload.health))
            self._routed = wanted

    def _retire(self, instances: Collection[Instance]) -> None:
        """Let instances drain and stop while the roll goes on, one batch after the other."""
        self._retiring |= {instance.id: instance for instance in instances}
        if self._retirement and self._retirement.done():
            done, self._retirement = self._retirement, None
            done.result()
        if self._retirement is None and not self._all_gone():
            self._retirement = asyncio.create_task(self._take_out())

    async def _take_out(self) -> None:
        app, grace = self._release.app, self._release.workload.stop_grace
        try:
            await self._stage.door.drain([i.address for i in self._retiring.values() if i.address], grace)
            for number in {i.release for i in self._retiring.values()}:
                await stop(self._stage, app, number, self._retiring)
            await self._stage.look(app)
        finally:
            self._stage.bulletin.tell(app)

    def _all_gone(self) -> bool:
        app = self._release.app
        seen = (*self._stage.world.instances(app), *self._stage.elsewhere(app))
        return not any(i.id in self._retiring for i in seen)

    async def _leave(self) -> None:
        if self._retirement:
            self._retirement.cancel()
            await asyncio.wait([self._retirement])

    async def _hold(self, seconds: float | None) -> float:
        """Count the canary's phase up once its hold is over; return how long to rest."""
        if seconds is None:
            self._held_since = None
            return LOOK_AGAIN_SECONDS
        self._held_since = self._held_since or _now()
        left = self._held_since + seconds - _now()
        if left > 0:
            return min(left, LOOK_AGAIN_SECONDS)
        self._phase, self._held_since = self._phase + 1, None
        if self._count_phase:
            await self._count_phase(self._phase)
        return 0.0

    async def _check_progress(self, new: Sequence[Instance], old: Sequence[Instance]) -> None:
        standing = (sum(i.sound for i in new), len(old), self._phase)
        if standing != self._standing or self._held_since is not None:
            self._standing, self._moved_at = standing, _now()
        health, grace = self._release.workload.health, self._release.workload.stop_grace
        patience = health.start_period + health.retries * (health.interval + health.timeout) + grace + MARGIN_SECONDS
        if _now() - self._moved_at > patience:
            waiting = next((i for i in new if not i.sound), None)
            if waiting:
                raise await explained(self._stage.world, self._release, waiting)
            raise Conflict(f"the rollout made no progress for {patience:.0f} s", "look at the instances' events")


async def stop(stage: Stage, app: str, release: int, leaving: Collection[str]) -> None:
    """Stop those instances of one release that are leaving, and keep the others."""
    for world in stage.worlds:
        seen, mark = world.instances(app), stage.mark(world)
        revisions = {i.revision for i in seen if i.release == release and mark + i.id in leaving}
        for revision in revisions:
            same = [i for i in seen if i.revision == revision]
            going = [i.id for i in same if mark + i.id in leaving]
            made_by = await stage.find(release)
            secrets = await stage.secrets(made_by)
            await world.engine.apply(made_by, len(same) - len(going), secrets=secrets, retire=going)


async def explained(world: World, release: Release, instance: Instance) -> Conflict:
    """Say why an instance did not get ready: the check and its answer, the exit code, the last log lines."""
    lines: list[str] = []
    try:
        async for line in world.engine.logs(instance.id, tail=LAST_LINES):
            lines.append(line.text)
    except NaruError as error:
        lines.append(f"(no logs: {error.cause})")
    said = "\n".join(f"  {text}" for text in lines) if lines else "  (it wrote nothing)"
    return Conflict(f"instance {instance.id} {_how(release, instance)}\nlast log lines:\n{said}")


def _how(release: Release, instance: Instance) -> str:
    if instance.oom_killed:
        limit = release.workload.resources.memory
        size = f" of {limit / 1024**2:.0f} MiB" if limit else ""
        return f"was killed for using more than its memory limit{size} (OOM): raise the limit or make it use less"
    if instance.exit_code is not None and instance.exits:
        times = f", {instance.exits} times" if instance.exits > 1 else ""
        early = (
            "" if release.workload.kind.ends else " before it was proven" if instance.ready else " before it was ready"
        )
        return f"exited with code {instance.exit_code}{times}{early}"
    return f"did not get ready: {instance.failure or instance.state}"


async def together(*works: Coroutine[object, object, None]) -> None:
    """Do several things at once, each to its end; raise the first error."""
    for result in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def _now() -> float:
    return asyncio.get_running_loop().time()
