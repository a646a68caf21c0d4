"""The picture of Naru's pods and schedules, kept from what the API server tells: reading it costs nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

from naru.domain.errors import Forbidden, NaruError, NotFound, Unavailable
from naru.domain.instance import Instance
from naru.engines.base import Change
from naru.engines.feed import Feed
from naru.engines.kubernetes import reading
from naru.engines.kubernetes.answers import Event, Object, Pod
from naru.engines.kubernetes.naming import namespace_of, selector
from naru.engines.kubernetes.reading import Owned, Schedule
from naru.engines.kubernetes.reflector import Reflector
from naru.engines.kubernetes.wire import Wire

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
STRAY_ANSWERS = 1000
"""Answers of checks that are kept for pods that are gone or not seen yet."""


class Mirror:
    """Follows pods and their failing checks from its making until `close`, in `tasks`; `clock` tells the time."""

    def __init__(self, wire: Wire, tasks: asyncio.TaskGroup, clock: Callable[[], datetime]) -> None:
        self.feed = Feed()
        self._wire = wire
        self._clock = clock
        self._pods: dict[str, Owned] = {}
        self._schedules: dict[str, Schedule] = {}
        self._answers: dict[str, str] = {}
        self._problem: NaruError | None = None
        self._tried = asyncio.Event()
        self._scheduled = asyncio.Event()
        self._moved = asyncio.Event()
        self._pod_reflector = Reflector(
            wire,
            "api/v1",
            "pods",
            Pod,
            {"labelSelector": selector(wire.owner)},
            replaced=self._replace,
            changed=self._change,
            lost=self._lose,
        )
        events = Reflector(
            wire,
            "api/v1",
            "events",
            Event,
            {"fieldSelector": "involvedObject.kind=Pod,reason=Unhealthy"},
            replaced=self._hear_all,
            changed=self._hear,
            lost=lambda _: None,
        )
        schedules = Reflector(
            wire,
            "apis/batch/v1",
            "cronjobs",
            Object,
            {"labelSelector": selector(wire.owner)},
            replaced=self._reschedule_all,
            changed=self._reschedule,
            lost=lambda _: self._scheduled.set(),
        )
        followed = (self._pod_reflector, events, schedules)
        self._running = [tasks.create_task(one.run()) for one in followed]

    async def close(self) -> None:
        """Follow no more."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def in_step(self) -> None:
        """Return once the picture is true; raise why it is not, after having tried again."""
        if self._problem:
            self._tried.clear()
            self._pod_reflector.hurry()
        await self._tried.wait()
        self._raise_problem()
        # An account that may not see schedules has none.
        await self._scheduled.wait()

    def pods(self, app: str = "", revision: str = "") -> Sequence[Owned]:
        """Return Naru's pods, the oldest first."""
        found = [
            one
            for one in self._pods.values()
            if (not app or one.app == app) and (not revision or one.revision == revision)
        ]
        return sorted(found, key=lambda one: (one.born or _LONG_AGO, one.id))

    def schedules(self, app: str = "", revision: str = "") -> Sequence[Schedule]:
        """Return Naru's schedules."""
        return [
            one
            for one in self._schedules.values()
            if (not app or one.app == app) and (not revision or one.revision == revision)
        ]

    def find(self, instance: str) -> Owned:
        """Return a pod by its name, else raise NotFound."""
        if one := self._pods.get(instance):
            return one
        raise NotFound(f"{self._wire.name} has no instance {instance}", "look at the app's instances")

    def tell(self, one: Owned) -> Instance:
        """Tell a pod in Naru's words."""
        return reading.instance(one, self._answers.get(one.id, ""), self._clock())

    async def until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait until something holds of the pods, and say whether it does; raises when the cluster goes away."""
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    self._moved.clear()
                    await self._moved.wait()
                    self._raise_problem()
        except TimeoutError:
            return False
        return True

    async def watch(self) -> AsyncIterator[Change]:
        """Yield changes; raises Unavailable when the cluster goes away or is."""
        await self.in_step()
        async with aclosing(self.feed.watch()) as changes:
            async for change in changes:
                yield change

    def _raise_problem(self) -> None:
        match self._problem:
            case None:
                return
            case Unavailable(cause=cause, mend=mend, retry_after=wait):
                raise Unavailable(cause, mend, retry_after=wait) from self._problem
            case Forbidden(cause=cause, mend=mend):
                raise Forbidden(cause, mend) from self._problem
            case NaruError(cause=cause, mend=mend):
                raise Unavailable(cause, mend) from self._problem

    # --- what is told -----------------------------------------------------------------------------------------

    def _replace(self, found: Sequence[Pod]) -> None:
        before, self._pods = self._pods, {}
        for pod in found:
            self._keep(pod, before.get(pod.metadata.name))
        self._problem = None
        self._move("", f"{self._wire.name} answers")
        self._tried.set()

    def _change(self, pod: Pod, gone: bool) -> None:
        name = pod.metadata.name
        before = self._pods.pop(name, None)
        if gone:
            self._answers.pop(name, None)
        else:
            self._keep(pod, before)
        if one := self._pods.get(name) or before:
            self._move(one.app, f"{name} {'is gone' if gone else 'changed'}")

    def _keep(self, pod: Pod, before: Owned | None) -> None:
        one = reading.owned(pod, (before and before.born) or self._clock())
        if one and self._is_ours(one):
            self._pods[one.id] = one

    def _is_ours(self, one: Owned | Schedule) -> bool:
        """Whether it is where this engine would make it: another Naru of that name may have another home."""
        return one.namespace == namespace_of(self._wire.access.namespace, one.project)

    def _lose(self, problem: NaruError) -> None:
        self._problem = problem
        self.feed.end(Unavailable(problem.cause, problem.mend))
        self._moved.set()
        self._tried.set()

    def _hear_all(self, found: Sequence[Event]) -> None:
        for event in found:
            self._hear(event, False)

    def _hear(self, event: Event, gone: bool) -> None:
        name = event.involved_object.name
        if gone or not (answer := reading.probe_answer(event)):
            return
        if len(self._answers) > len(self._pods) + STRAY_ANSWERS:
            self._answers = {known: said for known, said in self._answers.items() if known in self._pods}
        self._answers[name] = answer
        if one := self._pods.get(name):
            self._move(one.app, f"{name} fails its check")

    def _reschedule_all(self, found: Sequence[Object]) -> None:
        self._schedules.clear()
        for one in found:
            self._reschedule(one, False)
        self._scheduled.set()

    def _reschedule(self, found: Object, gone: bool) -> None:
        before = self._schedules.pop(found.metadata.name, None)
        if not gone and (one := reading.schedule(found)) and self._is_ours(one):
            self._schedules[one.id] = one
        if one := self._schedules.get(found.metadata.name) or before:
            self._move(one.app, f"{one.id} {'is gone' if gone else 'changed'}")

    def _move(self, app: str, what: str) -> None:
        self.feed.tell(app, what)
        self._moved.set()
