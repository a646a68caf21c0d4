"""Engines compared by measurement: installation, volumes, deployment, failures.

Targets take turns, round by round, so that a machine that is busy for a while is busy for all of them. Whatever a study
makes belongs to an owner of its own and to apps named by its mark; `clear` removes all of it, also after a crash.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

import httpx

from naru.domain.comparison import Measure, Result
from naru.domain.errors import Conflict, NaruError
from naru.domain.instance import Instance, InstanceState
from naru.domain.proof import ProofPolicy
from naru.domain.release import Release, ReleaseState
from naru.domain.workload import Health, HttpCheck, Volume, Workload
from naru.lab.studies import daemons
from naru.lab.studies.image import CRASH, NOTE, PORT, VOLUME
from naru.lab.studies.subject import SERVICE, START, VOLUMES, Break, Plan, Subject, apps, clear, fetch
from naru.lab.studies.traffic import LOOK, Traffic
from naru.routing.base import Door

REPLICAS = 3
PATIENCE = 180.0
"""Seconds after which a measure is given up."""
GRACE = 2.0
HEALTH = Health(HttpCheck("/"), interval=0.5, timeout=1.0, retries=2, start_period=10.0)

Values = Mapping[Measure, float]
Tell = Callable[[str], Awaitable[None]]


async def compare(
    subjects: Sequence[Subject], door: Door, plan: Plan, now: Callable[[], datetime], tell: Tell
) -> AsyncIterator[tuple[Result, ...]]:
    """Measure all subjects, and yield all results so far after every round on one of them.

    A measure that fails costs its own value, and its result says why; so do those of a subject that cannot be given the
    image. When the caller stops early, or anything breaks, all that was made is removed.
    """
    results: dict[tuple[str, Measure], Result] = {}
    try:
        able = []
        for subject in subjects:
            try:
                await clear(subject.engine, plan.mark)
                await fetch(subject.engine, plan)
            except NaruError as error:
                results |= {(subject.name, one): Result(subject.name, one, (), error.cause) for one in Measure}
            else:
                able.append(subject)
        yield tuple(results.values())
        for number in range(1, plan.repeats + 1):
            for subject in able:

                async def step(what: str, name: str = subject.name, number: int = number) -> None:
                    await tell(f"round {number} of {plan.repeats} on {name}: {what}")

                async for measure, value, note in _Round(subject, door, plan, now, step).run():
                    known = results.get((subject.name, measure), Result(subject.name, measure, ()))
                    values = known.values if value is None else (*known.values, value)
                    results[subject.name, measure] = replace(known, values=values, note=note or known.note)
                yield tuple(results.values())
    finally:
        for app in apps(plan.mark):
            with suppress(NaruError):
                await door.remove(app)
        for subject in subjects:
            with suppress(NaruError):
                await clear(subject.engine, plan.mark)


Taken = tuple[Measure, float | None, str]


class _Round:
    """One round on one subject: each measure once."""

    def __init__(self, subject: Subject, door: Door, plan: Plan, now: Callable[[], datetime], step: Tell) -> None:
        self._subject = subject
        self._engine = subject.engine
        self._door = door
        self._plan = plan
        self._now = now
        self._step = step

    async def run(self) -> AsyncIterator[Taken]:
        """Yield each measure with its value, or None and why there is none."""
        parts: tuple[tuple[str, tuple[Measure, ...], Callable[[], Awaitable[Values]]], ...] = (
            ("installation", (Measure.MEMORY, Measure.DISK), self._programs),
            ("bringing it up", (Measure.BRING_UP,), self._bring_up),
            *((f"starting {n}", (measure,), self._starting(measure, n)) for measure, n in self._plan.starts.items()),
            ("rolling update", (Measure.UPDATE, Measure.UPDATE_LOST), self._update),
            ("going back", (Measure.ROLLBACK, Measure.ROLLBACK_LOST), self._roll_back),
            ("crashed container", (Measure.CRASH, Measure.CRASH_LOST), self._crash),
            ("killed node", (Measure.NODE_LOSS, Measure.NODE_LOSS_LOST), self._lose_node),
            ("partition", (Measure.PARTITION, Measure.PARTITION_LOST), self._partition),
            ("volumes", (Measure.KEPT_BY_RESTART, Measure.KEPT_BY_RESCHEDULING), self._volumes),
        )
        for title, measures, take in parts:
            await self._step(title)
            values: Values = {}
            note = ""
            try:
                await clear(self._engine, self._plan.mark)
                async with asyncio.timeout(PATIENCE):
                    values = await take()
            except TimeoutError:
                note = f"not done within {PATIENCE:.0f} s"
            except NaruError as error:
                note = error.cause
            except httpx.HTTPError as error:
                note = f"an instance did not answer: {error!r}"
            for measure in measures:
                yield measure, values.get(measure), note
        with suppress(NaruError):
            if left := await clear(self._engine, self._plan.mark):
                yield Measure.KEPT_BY_RESCHEDULING, None, f"left behind: {left}"

    # --- installation -------------------------------------------------------------------------------------------

    async def _programs(self) -> Values:
        roots = [daemons.behind(socket) for socket in self._subject.means.sockets]
        if not roots or not all(roots):
            raise Conflict("its programs do not run on the machine of the server")
        families = [daemons.family(root) for root in roots]
        return {
            Measure.MEMORY: sum(daemons.memory(pids) for pids in families) / len(families),
            Measure.DISK: daemons.disk([pid for pids in families for pid in pids]),
        }

    async def _bring_up(self) -> Values:
        if self._subject.means.bring_up is None:
            raise Conflict("Naru found it running, and starts no engine")
        return {Measure.BRING_UP: await self._subject.means.bring_up()}

    # --- deployment ---------------------------------------------------------------------------------------------

    def _starting(self, measure: Measure, count: int) -> Callable[[], Awaitable[Values]]:
        async def take() -> Values:
            release = self._release(START, count)
            began = time.monotonic()
            await self._engine.apply(release, count, secrets={})
            await self._until(START, lambda seen: _ready(seen, release) == count)
            return {measure: time.monotonic() - began}

        return take

    async def _update(self) -> Values:
        old, new = self._release(SERVICE, REPLICAS), self._release(SERVICE, REPLICAS, VERSION="2")
        traffic = await self._serving(old)
        async with traffic.flowing() as tally:
            began = time.monotonic()
            for arrived in range(1, REPLICAS + 1):
                await self._exchange_one(old, new, arrived, traffic)
            await self._until(SERVICE, lambda seen: len(seen) == REPLICAS, traffic)
            took = time.monotonic() - began
        return {Measure.UPDATE: took, Measure.UPDATE_LOST: tally.failed}

    async def _exchange_one(self, old: Release, new: Release, arrived: int, traffic: Traffic) -> None:
        """Start the new release's instance of that number, then take one of the old away, as a rollout of Naru does."""
        await self._engine.apply(new, arrived, secrets={})
        seen = await self._until(SERVICE, lambda seen: _ready(seen, new) == arrived, traffic)
        leaving = next(one for one in seen if one.revision == old.revision)
        traffic.leaving.add(leaving.id)
        await traffic.lead(seen)
        await self._door.drain([leaving.address], GRACE)
        await self._engine.apply(old, REPLICAS - arrived, secrets={}, retire=[leaving.id])

    async def _roll_back(self) -> Values:
        old = self._release(SERVICE, REPLICAS)
        never = replace(HEALTH, check=HttpCheck("/nowhere"), start_period=0.0)
        bad = self._release(SERVICE, REPLICAS, health=never)
        traffic = await self._serving(old)
        async with traffic.flowing() as tally:
            await self._engine.apply(bad, 1, secrets={})
            await self._until(SERVICE, lambda seen: any(_broken(one, bad) for one in seen), traffic)
            began = time.monotonic()
            await self._engine.apply(bad, 0, secrets={})
            await self._until(SERVICE, lambda seen: _ready(seen, old) == len(seen) == REPLICAS, traffic)
            took = time.monotonic() - began
        return {Measure.ROLLBACK: took, Measure.ROLLBACK_LOST: tally.failed}

    # --- failures -----------------------------------------------------------------------------------------------

    async def _crash(self) -> Values:
        release = self._release(SERVICE, REPLICAS)
        traffic = await self._serving(release)
        victim = (await traffic.look())[0]
        async with traffic.flowing() as tally:
            began = time.monotonic()
            await self._strike_down(victim)
            await self._until(SERVICE, lambda seen: _replaced(seen, victim, release), traffic)
            took = time.monotonic() - began
        return {Measure.CRASH: took, Measure.CRASH_LOST: tally.failed}

    async def _lose_node(self) -> Values:
        return await self._without_node(self._subject.means.kill, Measure.NODE_LOSS, Measure.NODE_LOSS_LOST)

    async def _partition(self) -> Values:
        return await self._without_node(self._subject.means.cut, Measure.PARTITION, Measure.PARTITION_LOST)

    async def _without_node(self, break_node: Break | None, time_of: Measure, lost: Measure) -> Values:
        if (await self._engine.describe()).capacity.nodes < 2:
            raise Conflict("it has one node: without it nothing is left that could recover")
        if break_node is None:
            raise Conflict(self._subject.means.powerless)
        release = self._release(SERVICE, REPLICAS)
        traffic = await self._serving(release)
        nodes = sorted({one.node for one in await traffic.look()} - self._subject.means.vital)
        if not nodes:
            raise Conflict("no instance ran on a node that may be lost")
        async with traffic.flowing() as tally:
            began = time.monotonic()
            async with break_node(nodes[0]):
                await self._until(
                    SERVICE,
                    lambda seen: sum(one.ready and one.node != nodes[0] for one in seen) == REPLICAS,
                    traffic,
                )
                took = time.monotonic() - began
        return {time_of: took, lost: tally.failed}

    # --- volumes ------------------------------------------------------------------------------------------------

    async def _volumes(self) -> Values:
        release = self._release(VOLUMES, 1, volumes=(Volume("notes", VOLUME),))
        await self._engine.apply(release, 1, secrets={})
        (one,) = await self._until(VOLUMES, lambda seen: _ready(seen, release) == 1)
        await self._note(one, "kept")
        await self._strike_down(one)
        (one,) = await self._until(VOLUMES, lambda seen: _replaced(seen, one, release))
        restarted = await self._note(one)
        rescheduled = await self._note_after_rescheduling(one, release)
        return {
            Measure.KEPT_BY_RESTART: float(restarted == "kept"),
            Measure.KEPT_BY_RESCHEDULING: float(rescheduled == "kept"),
        }

    async def _note_after_rescheduling(self, one: Instance, release: Release) -> str:
        """Have the instance placed anew, on another node where that can be arranged, and read its note there."""
        means = self._subject.means
        if means.cut and one.node not in means.vital:
            async with means.cut(one.node):
                (moved,) = await self._until(
                    VOLUMES, lambda seen: _ready(seen, release) == 1 and seen[0].node != one.node
                )
                return await self._note(moved)
        await self._engine.apply(release, 0, secrets={})
        await self._until(VOLUMES, lambda seen: not seen)
        await self._engine.apply(release, 1, secrets={})
        (made,) = await self._until(VOLUMES, lambda seen: _ready(seen, release) == 1)
        return await self._note(made)

    # --- what all share -----------------------------------------------------------------------------------------

    def _release(
        self, app: str, replicas: int, *, health: Health = HEALTH, volumes: tuple[Volume, ...] = (), **variables: str
    ) -> Release:
        workload = Workload(
            self._name(app),
            self._plan.image.reference,
            PORT,
            replicas,
            environment=variables,
            health=health,
            volumes=volumes,
            stop_grace=GRACE,
            proof=ProofPolicy(count=0),
        )
        return Release(workload.app, 1, workload, self._plan.image, ReleaseState.LIVE, "study", self._now())

    def _name(self, part: str) -> str:
        return f"study-{self._plan.mark}-{part}"

    async def _serving(self, release: Release) -> Traffic:
        """Have the release's replicas ready behind the door, and the door answering."""
        traffic = Traffic(self._engine, self._door, self._name(SERVICE), self._plan.address, HEALTH)
        await self._engine.apply(release, REPLICAS, secrets={})
        await self._until(SERVICE, lambda seen: _ready(seen, release) == len(seen) == REPLICAS, traffic)
        url = self._door.endpoint(self._plan.address).url
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            answered = 0
            while answered < 2 * REPLICAS:  # the door's own checks have passed everywhere
                with suppress(httpx.HTTPError):
                    answered = answered + 1 if (await http.get(f"{url}/")).status_code == 200 else 0
                await asyncio.sleep(LOOK / 2)
        return traffic

    async def _until(
        self, app: str, holds: Callable[[Sequence[Instance]], bool], traffic: Traffic | None = None
    ) -> Sequence[Instance]:
        """Look until something holds; the pause grows with what a look costs, so that looking is never the load."""
        while True:
            asked = time.monotonic()
            seen = await (traffic.look() if traffic else self._engine.observe(self._name(app)))
            if holds(seen):
                return seen
            await asyncio.sleep(max(LOOK, 2 * (time.monotonic() - asked)))

    async def _strike_down(self, instance: Instance) -> None:
        """Let an instance end without warning; it may be gone before it can answer."""
        with suppress(httpx.HTTPError):
            await self._ask(instance, CRASH)

    async def _note(self, instance: Instance, query: str = "") -> str:
        """Have a ready instance note a word, or read what is noted; on a busy machine it may take more than one try."""
        while True:
            with suppress(httpx.HTTPError):
                return (await self._ask(instance, f"{NOTE}?{query}")).strip()
            await asyncio.sleep(LOOK)

    async def _ask(self, instance: Instance, path: str) -> str:
        async with httpx.AsyncClient(timeout=5.0, trust_env=False) as http:
            return (await http.get(f"http://{instance.address}{path}")).text


def _ready(seen: Sequence[Instance], release: Release) -> int:
    return sum(one.ready and one.revision == release.revision for one in seen)


def _broken(one: Instance, release: Release) -> bool:
    return one.revision == release.revision and one.state is InstanceState.UNHEALTHY


def _replaced(seen: Sequence[Instance], victim: Instance, release: Release) -> bool:
    """Whether as many are ready as should be, and the victim is another or has been started again."""
    same = next((one for one in seen if one.id == victim.id), None)
    again = same is None or same.exits > victim.exits
    return again and _ready(seen, release) == release.workload.replicas
