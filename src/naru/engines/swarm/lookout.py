"""Looks after Naru's services: what they are, where their tasks run, whether their checks pass, and what changes.

A swarm tells of services and nodes by events, of tasks not at all: they are listed, often while something is under way
and about once a second otherwise.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress

from naru.cancellation import heeded
from naru.domain.errors import NaruError, NotFound, Unavailable
from naru.domain.instance import Instance
from naru.domain.workload import CommandCheck
from naru.engines.base import APP_LABEL, OWNER_LABEL, Change
from naru.engines.dockerapi.answers import Event
from naru.engines.dockerapi.probe import Patient, Prober
from naru.engines.feed import Feed
from naru.engines.swarm import translate
from naru.engines.swarm.answers import Task
from naru.engines.swarm.nodes import Reach
from naru.engines.swarm.translate import Known, Owned
from naru.engines.swarm.wire import SwarmWire

BREATH = 0.05
"""Seconds between two looks at the least, however many events come."""
PACE = (0.1, 1.0)
"""Seconds between two looks while something is under way, and otherwise."""
SHARE = (0.3, 0.1)
"""The share of the time that looking may take, then and otherwise: a large swarm is looked at less often."""
RECONNECT = (0.1, 5.0)
"""Seconds before the first and between later attempts to listen again."""
OOM_EXIT = 137
DOUBT_SECONDS = 5.0
"""How long after a task's end its engine may still hear that the memory ran out."""
TELLING = frozenset({"create", "start", "die", "destroy", "oom", "health_status", "update", "remove"})
"""The events after which a look is worth while."""


class Lookout:
    """Listens and looks from its making until `close`, in `tasks`."""

    def __init__(self, wire: SwarmWire, reach: Reach, tasks: asyncio.TaskGroup) -> None:
        self.feed = Feed()
        self._wire = wire
        self._reach = reach
        self._tasks = tasks
        self._prober = Prober(tasks, self.feed.tell, _no_commands)
        self._ends: dict[str, dict[str, bool]] = defaultdict(dict)
        """By service, then by task: whether the kernel killed it for want of memory."""
        self._doubted: dict[str, float] = {}
        """Until when the engines of killed tasks are asked again whether their memory ran out."""
        self._told: Mapping[str, Instance] = {}
        self._listening = asyncio.Event()
        self._woken = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._spawn(self._listen())

    async def close(self) -> None:
        """Stop listening and checking; the instances stay as they are."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._prober.close()

    async def look(self, app: str = "") -> Sequence[Owned]:
        """Return Naru's services with their tasks, the oldest first, and check those that run."""
        with heeded():
            services, tasks, nodes = await asyncio.gather(
                self._wire.services(app), self._wire.tasks(app), self._wire.nodes()
            )
        by_service: dict[str, list[Task]] = defaultdict(list)
        for task in tasks:
            by_service[task.service_id].append(task)
        seen = [translate.owned(one, by_service[one.id], nodes, self._wire.owner) for one in services]
        mine = sorted((one for one in seen if one), key=translate.age)
        for one in mine:
            await self._note_ends(one)
            self._attend(one)
        if not app:
            self._retain(mine)
        return mine

    async def find(self, instance: str) -> Owned:
        """Return one of Naru's services by the instance's id, else raise NotFound."""
        one = next((one for one in await self.look() if one.id == instance), None)
        if one is None:
            raise NotFound(f"{self._wire.name} has no instance {instance}", "look at the app's instances")
        return one

    def tell(self, one: Owned) -> Instance:
        """Tell a service in Naru's words."""
        ends = self._ends[one.service.id]
        last = one.ended[0].id if one.ended else ""
        return translate.instance(one, Known(self._prober.course(one.id), len(ends), ends.get(last, False)))

    def wake(self) -> None:
        """Look again soon."""
        self._woken.set()

    async def watch(self) -> AsyncIterator[Change]:
        """Yield changes; raises Unavailable when the manager goes away or is."""
        if not self._listening.is_set():
            await self._wire.nodes()
            try:
                async with asyncio.timeout(RECONNECT[1] * 2):
                    await self._listening.wait()
            except TimeoutError:
                raise Unavailable(f"{self._wire.name} sends no events", "restart it") from None
        async with aclosing(self.feed.watch()) as changes:
            async for change in changes:
                yield change

    # --- knowing ----------------------------------------------------------------------------------------------

    async def _note_ends(self, one: Owned) -> None:
        """Remember how tasks ended; only the engine of the node where one ran can say whether its memory ran out.

        It may hear of that after the end, so that it is asked for a while. Nothing is noted before it has answered:
        whoever looks meanwhile would be told that the memory sufficed.
        """
        ends, now = self._ends[one.service.id], time.monotonic()
        for task in one.ended:
            if task.id in ends and task.id not in self._doubted:
                continue
            if task.status.container_status.exit_code != OOM_EXIT:
                ends[task.id] = False
                continue
            until = self._doubted.setdefault(task.id, now + DOUBT_SECONDS)
            ends[task.id] = await self._lacked_memory(task)
            if ends[task.id] or now > until:
                self._doubted.pop(task.id, None)

    async def _lacked_memory(self, task: Task) -> bool:
        container = task.status.container_status.container_id
        with suppress(NaruError):
            if container and (wire := await self._reach.engine(task.node_id)):
                return await wire.lacked_memory(container)
        return False

    def _attend(self, one: Owned) -> None:
        """Check the instance if it runs and its check is ours to perform."""
        where = "" if one.stopping else translate.address(one)
        if not where or one.task is None or one.shape is None or isinstance(one.shape.health.check, CommandCheck):
            self._prober.forget(one.id)
            return
        host, _, port = where.rpartition(":")
        container = one.task.status.container_status
        self._prober.follow(
            Patient(
                id=one.id,
                app=one.app,
                container=container.container_id,
                pid=container.pid,
                host=host,
                port=int(port),
                inner_port=one.shape.port,
                forwarded=True,
                health=one.shape.health,
            )
        )

    def _retain(self, seen: Sequence[Owned]) -> None:
        """Forget all services but these."""
        for gone in self._ends.keys() - {one.service.id for one in seen}:
            del self._ends[gone]
            self._prober.forget(translate.short(gone))

    # --- listening and looking --------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Follow the swarm for ever; end the watches whenever the manager goes away."""
        wait = RECONNECT[0]
        while True:
            try:
                async with self._wire.events() as events:
                    # Not a task of the group: what it raises is raised below, where it is given its name.
                    hearing = asyncio.create_task(self._hear(events))
                    try:
                        await self._look_around()
                        self._listening.set()
                        wait = RECONNECT[0]
                        self.feed.tell("", f"{self._wire.name} answers")
                        while not hearing.done():
                            await self._look_around()
                        await hearing
                    finally:
                        hearing.cancel()
                        await asyncio.gather(hearing, return_exceptions=True)
                gone = Unavailable(f"{self._wire.name} ended its events", "see whether it still runs")
            except NaruError as error:
                gone = Unavailable(error.cause, error.mend)
            finally:
                self._listening.clear()
            self.feed.end(gone)
            await asyncio.sleep(wait)
            wait = min(wait * 2, RECONNECT[1])

    async def _look_around(self) -> None:
        """Look once, tell what is another than before, and wait until it is time to look again."""
        began = time.monotonic()
        self._woken.clear()
        seen = await self.look()
        now = {one.id: self.tell(one) for one in seen}
        for instance in self._told.keys() | now.keys():
            before, after = self._told.get(instance), now.get(instance)
            if before != after and (either := after or before):
                self.feed.tell(either.app, f"{instance} is {after.state if after else 'gone'}")
        self._told = now
        calm = all(translate.settled(one) for one in seen)
        await asyncio.sleep(BREATH)
        with suppress(TimeoutError):
            # Not wait_for, which before Python 3.12 forgets a cancellation that comes with the wakening.
            async with asyncio.timeout(max(PACE[calm], (time.monotonic() - began) / SHARE[calm])):
                await self._woken.wait()

    async def _hear(self, events: AsyncIterator[Event]) -> None:
        try:
            async for event in events:
                if self._concerns_us(event):
                    self._woken.set()
        finally:
            self._woken.set()

    def _concerns_us(self, event: Event) -> bool:
        """Whether to look at once; an event of a service has its name alone, so all services count."""
        if event.action.partition(":")[0] not in TELLING:
            return False
        attributes = event.actor.attributes
        ours = APP_LABEL in attributes and attributes.get(OWNER_LABEL) == self._wire.owner
        return ours or event.type != "container"

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task


async def _no_commands(instance: str, command: tuple[str, ...]) -> tuple[int, bytes]:
    """Commands are checked by Swarm itself."""
    raise AssertionError(f"{instance} is not to be asked {command}")
