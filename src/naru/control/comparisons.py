"""Comparisons of targets: a study at a time, in the background, and what it found, kept."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from naru.control.bulletin import Bulletin
from naru.control.deploy import Pipeline
from naru.control.record import Clock
from naru.control.worlds import first
from naru.domain.account import Subject as Operator
from naru.domain.comparison import Comparison, ComparisonState
from naru.domain.errors import Conflict, Invalid, NaruError, Unavailable
from naru.domain.image import Origin
from naru.domain.workload import Address
from naru.engines.base import OpenEngine
from naru.engines.guard import Guarded
from naru.lab.studies import daemons
from naru.lab.studies.comparison import compare
from naru.lab.studies.image import study_image
from naru.lab.studies.subject import Means, Plan, Subject, clear, describe
from naru.oci.reference import Reference
from naru.routing.base import Door

MAX_REPEATS = 50
MAX_TARGETS = 8
NEWS_SECONDS = 1.0
STOPPED = "the server stopped meanwhile"

log = logging.getLogger(__name__)


class Opener(Protocol):
    """Opens an engine for the owner of all that studies make; see naru.engines.catalogue."""

    def __call__(
        self, url: str, tasks: asyncio.TaskGroup, *, name: str, site: str
    ) -> AbstractAsyncContextManager[OpenEngine]:
        """Succeeds while the engine is away."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What studies are made with: engines under an owner of their own, a front door of their own and a port of it.

    `mark` tells what they make from what others' studies make on the same engine.
    """

    mark: str
    open_engine: Opener
    open_door: Callable[[], AbstractAsyncContextManager[Door]]
    free_port: Callable[[], int]


class Comparisons:
    """Starts, follows and stops comparisons. `server` names this process, as no other living one is named."""

    def __init__(
        self,
        pipeline: Pipeline,
        bulletin: Bulletin,
        clock: Clock,
        *,
        server: str,
        bench: Bench | None,
    ) -> None:
        self._pipeline = pipeline
        self._store = pipeline.store.comparisons
        self._journal = pipeline.store.journal
        self._worlds = pipeline.worlds
        self._bulletin = bulletin
        self._clock = clock
        self._server = server
        self._bench = bench
        self._asked: asyncio.Queue[Comparison] = asyncio.Queue()
        self._current: Comparison | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, targets: Sequence[str], *, repeats: int, image: str = "", subject: Operator) -> Comparison:
        """Compare targets, all of them when none is named, with the study's image or where it was pushed to.

        Raises NotFound for a target that there is not, Invalid for too many of anything, and Conflict while another
        comparison is under way: two would measure one another.
        """
        if self._bench is None:
            raise Unavailable("this server makes no studies")
        names = tuple(dict.fromkeys(targets)) or tuple(self._worlds)
        for name in names:
            self._worlds.enrolment(name)
        if image:
            Reference.parse(image)
        if not 1 <= len(names) <= MAX_TARGETS:
            raise Invalid(f"{len(names)} targets at once", f"name 1 to {MAX_TARGETS} of them")
        if not 1 <= repeats <= MAX_REPEATS:
            raise Invalid(f"{repeats} repeats", f"choose from 1 to {MAX_REPEATS}; from 3 on there are intervals")
        if self._current and not self._current.state.ended:
            raise Conflict(f"the comparison {self._current.id} is under way", "wait for it, or cancel it")
        comparison = Comparison(
            id=f"comparison-{secrets.token_hex(4)}",
            names=names,
            repeats=repeats,
            state=ComparisonState.RUNNING,
            requested_by=str(subject),
            started_at=self._clock(),
            image=image,
            machine=daemons.machine(),
            step="waiting for its turn",
        )
        self._current = comparison
        await self._keep(comparison)
        await self._tell(subject, f"asked to compare {', '.join(names)}, {repeats} times")
        self._asked.put_nowait(comparison)
        return comparison

    async def cancel(self, comparison: str, *, subject: Operator) -> Comparison:
        """Stop a comparison; all that it made is removed, and what it had measured is kept."""
        found = await self.get(comparison)
        if self._task and self._current and self._current.id == comparison and not found.state.ended:
            await self._tell(subject, f"asked to stop the {comparison}")
            self._task.cancel()
        return found

    async def get(self, comparison: str) -> Comparison:
        """Return one as it is now; raise NotFound."""
        if self._current and self._current.id == comparison:
            return self._current
        return await self._store.get(comparison)

    async def latest(self, limit: int = 20) -> Sequence[Comparison]:
        """Return comparisons, newest first."""
        return await self._store.latest(limit)

    async def follow(self, comparison: str) -> AsyncIterator[Comparison]:
        """Yield the comparison as it is, then at each change, until it has ended."""
        seen: Comparison | None = None
        async for _ in self._bulletin.listen(comparison, patience=NEWS_SECONDS):
            now = await self.get(comparison)
            if now != seen:
                yield now
            if now.state.ended:
                return
            seen = now

    async def keep(self) -> None:
        """Run what is asked for, until cancelled; first tidy up after a server of our name that died at it."""
        if self._bench is None:
            return
        await self._tidy(self._bench)
        while True:
            asked = await self._asked.get()
            self._task = asyncio.create_task(self._run(asked, self._bench))
            try:
                await asyncio.wait([self._task])
            finally:  # when the server stops, the study removes what it made before it ends
                self._task.cancel()
                await asyncio.wait([self._task])

    async def _tidy(self, bench: Bench) -> None:
        for left in await self._store.latest(MAX_REPEATS, server=self._server):
            if left.state.ended:
                continue
            log.warning("tidying up after the %s, which its server did not end", left.id)
            uncleared = [name for name in left.names if not await self._cleared(bench, name)]
            with suppress(NaruError):
                async with bench.open_door():
                    pass  # closing it stops what the dead server left running
            later = (
                f"; what it made on {' and '.join(uncleared)} goes with the next comparison there" if uncleared else ""
            )
            await self._store.save(self._ended(left, ComparisonState.FAILED, STOPPED + later), self._server)

    async def _cleared(self, bench: Bench, name: str) -> bool:
        """Remove what a study left on a target; False when that does not answer."""
        done = False
        try:
            async with asyncio.TaskGroup() as tasks, self._opened(bench, name, tasks) as engine:
                await clear(Guarded(engine), bench.mark)
                done = True
        except* NaruError as errors:
            log.warning("%s was not tidied up: %s", name, first(errors))
        return done

    async def _run(self, asked: Comparison, bench: Bench) -> None:
        try:
            why = await self._problem(asked, bench)
            end = ComparisonState.FAILED if why else ComparisonState.DONE
        except asyncio.CancelledError:
            end, why = ComparisonState.CANCELLED, "it was stopped"
        await self._keep(self._ended(self._current or asked, end, why))
        self._bulletin.call(asked.id)

    async def _problem(self, asked: Comparison, bench: Bench) -> str:
        """Carry the study out; return what went wrong, if anything did."""
        problem = ""
        try:
            await self._study(asked, bench)
        except* NaruError as errors:
            problem = str(first(errors))
        except* Exception as errors:
            log.error("the %s failed", asked.id, exc_info=errors)
            problem = f"Naru itself failed: {errors.exceptions[0]!r}"
        return problem

    async def _study(self, asked: Comparison, bench: Bench) -> None:
        async def tell(step: str) -> None:
            self._current = replace(self._current or asked, step=step)
            self._bulletin.call(asked.id)

        await tell("opening the targets")
        async with asyncio.TaskGroup() as tasks, AsyncExitStack() as stack:
            door = await stack.enter_async_context(bench.open_door())
            subjects = []
            for name in asked.names:
                engine = await stack.enter_async_context(self._opened(bench, name, tasks))
                subjects.append(Subject(name, Guarded(engine), Means(self._sockets(name))))
            await tell("looking at the targets")
            targets = tuple([await describe(subject) for subject in subjects])
            self._current = replace(self._current or asked, targets=targets)
            plan = await self._plan(asked, bench, subjects[0], stack)
            async for results in compare(subjects, door, plan, self._clock, tell):
                self._current = replace(self._current, results=results)
                await self._keep(self._current)

    async def _plan(self, asked: Comparison, bench: Bench, subject: Subject, stack: AsyncExitStack) -> Plan:
        """Look up the image that was named, as a deployment would, or make the one that Naru carries with it."""
        address = Address(port=bench.free_port())
        if not asked.image:
            image = await study_image(self._pipeline.images)
            archive = await stack.enter_async_context(self._pipeline.images.export(image))
            return Plan(asked.repeats, bench.mark, image, archive, None, address)
        platform = (await subject.engine.describe()).platform
        image = await self._pipeline.resolver.resolve(asked.image, subject.engine, platform)
        credentials = await self._pipeline.credentials(image) if image.origin is Origin.REGISTRY else None
        return Plan(asked.repeats, bench.mark, image, None, credentials, address)

    def _opened(self, bench: Bench, name: str, tasks: asyncio.TaskGroup) -> AbstractAsyncContextManager[OpenEngine]:
        enrolment = self._worlds.enrolment(name)
        return bench.open_engine(enrolment.url, tasks, name=name, site=enrolment.site)

    def _sockets(self, name: str) -> tuple[Path, ...]:
        """Return the socket through which a program of this machine is asked, if the target has one."""
        url = urlsplit(self._worlds.enrolment(name).url)
        return (Path(url.path),) if url.scheme.endswith("unix") else ()

    def _ended(self, comparison: Comparison, state: ComparisonState, reason: str) -> Comparison:
        return replace(comparison, state=state, reason=reason, step="", ended_at=self._clock())

    async def _keep(self, comparison: Comparison) -> None:
        self._current = comparison
        await self._store.save(comparison, self._server)

    async def _tell(self, subject: Operator, text: str) -> None:
        await self._journal.append(self._clock(), "", "comparison", str(subject), text)
