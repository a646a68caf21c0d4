"""The record of a rollout, written while the work goes on.

Every change goes to the store under the lease, so that a worker that lost its lease can no longer write. Steps are
written behind the work's back, in order, and the work waits for that where it is about to touch something: what a crash
can cost is the news of a step, never its trace.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from naru.control.bulletin import Bulletin
from naru.domain.choice import Choice
from naru.domain.errors import Conflict, NaruError
from naru.domain.rollout import LayerProgress, Rollout, RolloutState, Step, StepName, StepState
from naru.store import Store

PROGRESS_SECONDS = 0.5
ANNOUNCED = frozenset({StepName.COPY, StepName.ROLL, StepName.PROVE, StepName.ROLL_BACK, StepName.REMOVE})
"""Steps that are written before they begin: they touch an engine, or load an endpoint."""
ON_REQUEST = "cancelled on request"
Clock = Callable[[], datetime]

log = logging.getLogger(__name__)


class StepFailed(Exception):
    """A step of the rollout failed, and its record says why."""

    def __init__(self, step: Step) -> None:
        super().__init__(step.reason or step.outcome)
        self.step = step


@dataclass(slots=True)
class Entry:
    """The step under way: fill in what came of it."""

    outcome: str = ""
    choice: Choice | None = None


class Record:
    """One rollout under one lease."""

    def __init__(
        self,
        rollout: Rollout,
        lease: int,
        store: Store,
        bulletin: Bulletin,
        clock: Clock,
        underway: MutableMapping[str, Rollout],
    ) -> None:
        self.rollout = rollout
        self._underway = underway
        self._lease = lease
        self._store = store
        self._bulletin = bulletin
        self._clock = clock
        self._cancelled = False
        self._progress_at: datetime | None = None
        self._unwritten: dict[StepName, Step] = {}
        self._writing: asyncio.Task[None] | None = None

    @property
    def app(self) -> str:
        """The app that the rollout changes."""
        return self.rollout.app

    def now(self) -> datetime:
        """Tell the time."""
        return self._clock()

    @property
    def cancelled(self) -> bool:
        """Whether someone asked to stop."""
        return self._cancelled

    def cancel(self) -> None:
        """Ask the work to stop at the next point where it can."""
        self._cancelled = True
        self._bulletin.tell(self.app)

    def interruption(self) -> str:
        """Say why the work should stop here, or nothing; going back is never interrupted."""
        going_back = self.rollout.state is RolloutState.ROLLING_BACK
        return ON_REQUEST if self._cancelled and not going_back else ""

    def check(self) -> None:
        """Raise Conflict when the work should stop here."""
        if why := self.interruption():
            raise Conflict(why)

    async def save(self, rollout: Rollout) -> None:
        """Keep what changed about the rollout; raises Conflict when the lease is lost."""
        await self._written()
        await self._store.rollouts.save(rollout, self._lease)
        self._show(rollout)

    @asynccontextmanager
    async def step(self, name: StepName) -> AsyncIterator[Entry]:
        """Store the step's start, end, outcome and reason; any error ends it as failed with StepFailed."""
        started = next((s.started_at for s in self.rollout.steps if s.name is name), self.now())
        self._put(Step(name, StepState.RUNNING, started))
        if name in ANNOUNCED:
            await self._written()
        entry = Entry()
        try:
            self.check()
            yield entry
        except NaruError as error:
            outcome = entry.outcome or error.cause
            failed = Step(name, StepState.FAILED, started, self.now(), outcome, str(error), entry.choice)
        except Exception as error:
            log.exception("rollout %s of %s, step %s", self.rollout.id, self.app, name)
            failed = Step(name, StepState.FAILED, started, self.now(), "", f"Naru itself failed: {error!r}")
        else:
            self._put(Step(name, StepState.PASSED, started, self.now(), entry.outcome, choice=entry.choice))
            return
        self._put(failed)
        await self._written()
        raise StepFailed(failed)

    async def interrupt_steps(self) -> None:
        """End the steps that a worker which died left under way."""
        for step in self.rollout.steps:
            if step.state is StepState.RUNNING:
                ended = replace(step, state=StepState.FAILED, ended_at=self.now(), outcome="interrupted")
                self._put(ended)

    async def progress(self, layers: Sequence[LayerProgress]) -> None:
        """Show how far the layers have come, twice a second at most."""
        self.check()
        now = self.now()
        if self._progress_at and (now - self._progress_at).total_seconds() < PROGRESS_SECONDS:
            return
        self._progress_at = now
        await self._store.rollouts.set_progress(self.rollout.id, self._lease, tuple(layers))
        self._show(replace(self.rollout, progress=tuple(layers)))

    async def tell(self, kind: str, text: str) -> None:
        """Write an event of this rollout into the journal."""
        await self._store.journal.append(
            at=self.now(),
            app=self.app,
            kind=kind,
            subject=self.rollout.requested_by,
            text=text,
            rollout=self.rollout.id,
        )
        self._bulletin.tell(self.app)

    def _put(self, step: Step) -> None:
        steps = [*(s for s in self.rollout.steps if s.name is not step.name), step]
        self._show(replace(self.rollout, steps=tuple(sorted(steps, key=lambda s: s.started_at))))
        self._unwritten[step.name] = step
        self._writing = self._writing or asyncio.create_task(self._write())

    def _show(self, rollout: Rollout) -> None:
        self.rollout = rollout
        self._underway[rollout.id] = rollout
        self._bulletin.tell(self.app)

    async def _write(self) -> None:
        """Write steps until none is left: those that come while a write is under way share the next."""
        while self._unwritten:
            steps, self._unwritten = list(self._unwritten.values()), {}
            await self._store.rollouts.put_steps(self.rollout.id, self._lease, steps)
        self._writing = None

    async def _written(self) -> None:
        """Wait until all is written; raise what went wrong with it."""
        if self._writing:
            await self._writing
