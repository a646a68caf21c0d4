"""Looks after Naru's containers: what they are, whether their checks pass, and what happens to them."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from naru.domain.errors import NaruError, NotFound, Unavailable
from naru.domain.image import Platform
from naru.domain.instance import Instance
from naru.domain.target import Feature
from naru.domain.workload import CommandCheck
from naru.engines.base import APP_LABEL, OWNER_LABEL, Change
from naru.engines.docker import translate
from naru.engines.docker.ledger import Ledger
from naru.engines.docker.translate import Owned, Reach, short
from naru.engines.dockerapi.answers import Event, Row
from naru.engines.dockerapi.probe import Patient, Prober
from naru.engines.dockerapi.wire import Wire
from naru.engines.feed import Feed

INSPECT_AT_ONCE = 16
CHECK_OUTPUT = 4096
"""Bytes kept of what a command check says."""
RECONNECT = (0.1, 5.0)
"""Seconds before the first and between later attempts to listen again."""
GONE = frozenset({"destroy", "remove"})
TELLING = GONE | {"create", "start", "restart", "die", "died", "oom", "stop", "pause", "unpause", "rename", "update"}
TELLING |= {"health_status", "connect", "disconnect"}
"""The events after which a container may be another than before; Docker and Podman differ in some."""


@dataclass(frozen=True, slots=True)
class Nature:
    """What kind of engine this is, and what its machine has: cores and bytes."""

    kind: str
    version: str
    platform: Platform
    reach: Reach
    limits: bool
    cpus: int
    memory: int
    root: Path
    identity: str = ""

    @property
    def lacks(self) -> frozenset[Feature]:
        """What it cannot do of what others can: Podman's networks know names by a plugin only, which it hides."""
        lacking = {Feature.LIMITS: not self.limits, Feature.PROJECT_NETWORKS: self.podman}
        return frozenset(feature for feature, lacks in lacking.items() if lacks)

    @property
    def podman(self) -> bool:
        """Podman runs health checks by systemd timers only, and wants a network before its containers."""
        return self.kind == "podman"


class Lookout:
    """Listens to the engine's events from its making until `close`, in `tasks`."""

    def __init__(self, wire: Wire, tasks: asyncio.TaskGroup, *, publish: bool | None) -> None:
        self.ledger = Ledger()
        self.feed = Feed()
        self._wire = wire
        self._publish = publish
        self._tasks = tasks
        self._prober = Prober(tasks, self.feed.tell, self._run_check)
        self._nature: Nature | None = None
        self._listening = asyncio.Event()
        self._looks = asyncio.Semaphore(INSPECT_AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()
        self._spawn(self._listen())

    async def close(self) -> None:
        """Stop listening and checking; the instances stay as they are."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._prober.close()

    async def nature(self, *, anew: bool = False) -> Nature:
        """Say what kind of engine this is; asked once for every time it comes back, or `anew`."""
        if self._nature is None or anew:
            version, info = await asyncio.gather(self._wire.version(), self._wire.info())
            podman = any("podman" in component.name.lower() for component in version.components)
            rootless = any("rootless" in option for option in info.security_options)
            self._nature = Nature(
                kind="podman" if podman else "docker",
                version=version.version,
                platform=Platform(version.os, version.arch),
                reach=translate.reached(self._wire.url, rootless=rootless, publish=self._publish),
                limits=podman or (info.memory_limit and info.cpu_cfs_quota),
                cpus=info.n_cpu,
                memory=info.mem_total,
                root=Path(info.docker_root_dir or "/"),
                # Engines of one machine share the id, as copies of a machine do.
                identity=" ".join((info.id, info.name, info.docker_root_dir)) if info.id else "",
            )
        return self._nature

    async def look(self, app: str = "") -> Sequence[Owned]:
        """Return Naru's containers, the oldest first, inspecting only those that may have changed."""
        rows = await self._wire.containers(app)
        seen = [self.ledger.recall(row) for row in rows]
        if not all(seen):
            seen = await asyncio.gather(*(self._recall_or_inspect(row) for row in rows))
        if not app:
            self.ledger.retain([short(row.id) for row in rows])
        return sorted((one for one in seen if one), key=translate.age)

    async def find(self, instance: str) -> Owned:
        """Return one of Naru's containers by the instance's id, else raise NotFound."""
        one = self.ledger.find(instance) or await self._inspect(instance)
        if one is None:
            raise NotFound(f"{self._wire.name} has no instance {instance}", "look at the app's instances")
        return one

    def tell(self, one: Owned, nature: Nature) -> Instance:
        """Tell a container in Naru's words."""
        known = replace(self.ledger.known(one), course=self._prober.course(one.id))
        return translate.instance(one, known, reach=nature.reach, node=self._wire.name)

    def leave(self, one: Owned) -> None:
        """Check a container no more."""
        self._prober.forget(one.id)

    async def watch(self) -> AsyncIterator[Change]:
        """Yield changes; raises Unavailable when the engine goes away or is."""
        if not self._listening.is_set():
            await self._wire.version()
            try:
                # Not wait_for, which before Python 3.12 forgets a cancellation that comes with the wakening.
                async with asyncio.timeout(RECONNECT[1] * 2):
                    await self._listening.wait()
            except TimeoutError:
                raise Unavailable(f"{self._wire.name} sends no events", "restart it") from None
        async with aclosing(self.feed.watch()) as changes:
            async for change in changes:
                yield change

    # --- inspecting and checking ------------------------------------------------------------------------------

    async def _recall_or_inspect(self, row: Row) -> Owned | None:
        return self.ledger.recall(row) or await self._inspect(row.id)

    async def _inspect(self, container: str) -> Owned | None:
        edition = self.ledger.edition(short(container))
        async with self._looks:
            found = await self._wire.container(container)
        one = translate.owned(found, self._wire.owner) if found else None
        if one:
            self.ledger.keep(one, edition)
            await self._attend(one)
        return one

    async def _attend(self, one: Owned) -> None:
        """Check the container if it runs and its check is ours to perform."""
        if one.container.state.status != "running" or one.shape is None or one.id in self.ledger.stopping:
            self._prober.forget(one.id)
            return
        nature = await self.nature()
        where = translate.address(one, nature.reach)
        by_command = isinstance(one.shape.health.check, CommandCheck)
        if not one.shape.checked or (by_command and not nature.podman) or not (where or by_command):
            return
        host, _, port = where.rpartition(":")
        self._prober.follow(
            Patient(
                id=one.id,
                app=one.app,
                container=one.container.id,
                pid=one.container.state.pid,
                host=host,
                port=int(port or 0),
                inner_port=one.shape.port,
                forwarded=nature.reach.published,
                health=one.shape.health,
            )
        )

    async def _run_check(self, instance: str, command: tuple[str, ...]) -> tuple[int, bytes]:
        one = await self.find(instance)
        exit_code, out, err = await self._wire.run(one.container.id, command, b"", CHECK_OUTPUT)
        return exit_code, out + err

    # --- listening --------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Follow the engine's events for ever; end the watches whenever it goes away."""
        wait = RECONNECT[0]
        while True:
            try:
                async with self._wire.events() as events:
                    self.ledger.listening = True
                    self._listening.set()
                    wait = RECONNECT[0]
                    looking = self._spawn(self._look_around())
                    try:
                        async for event in events:
                            self._heard(event)
                    finally:
                        looking.cancel()
                gone = Unavailable(f"{self._wire.name} ended its events", "see whether it still runs")
            except NaruError as error:
                gone = Unavailable(error.cause, error.mend)
            finally:
                self.ledger.stop_listening()
                self._listening.clear()
            self._nature = None
            self.feed.end(gone)
            await asyncio.sleep(wait)
            wait = min(wait * 2, RECONNECT[1])

    async def _look_around(self) -> None:
        """See what happened while nobody listened, and begin to check what runs."""
        with suppress(NaruError):
            await self.look()
            self.feed.tell("", f"{self._wire.name} answers")

    async def _look_at(self, container: str) -> None:
        with suppress(NaruError):
            await self._inspect(container)

    def _heard(self, event: Event) -> None:
        action = event.action.partition(":")[0]
        if action not in TELLING:
            return
        attributes = event.actor.attributes
        if event.type == "network":
            if one := self.ledger.find(short(attributes.get("container", ""))):
                self._changed(one.id, one.app, f"network {action}")
        elif (app := attributes.get(APP_LABEL)) and attributes.get(OWNER_LABEL) == self._wire.owner:
            self._note(event, action)
            self._changed(short(event.actor.id), app, event.action, gone=action in GONE)

    def _note(self, event: Event, action: str) -> None:
        instance = short(event.actor.id)
        match action:
            case "oom":
                self.ledger.ran_out_of_memory(instance)
            case "die" | "died":
                self.ledger.ended(instance, translate.exit_code(event))
                self._prober.forget(instance)
            case "start" | "restart" | "unpause":
                self._spawn(self._look_at(event.actor.id))

    def _changed(self, instance: str, app: str, what: str, *, gone: bool = False) -> None:
        if gone:
            self._prober.forget(instance)
            self.ledger.forget(instance)
        else:
            self.ledger.spoil(instance)
        self.feed.tell(app, f"{instance}: {what}")

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task
