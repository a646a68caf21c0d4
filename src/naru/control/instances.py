"""What operators can ask of the instances of an app, on whichever targets they run."""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from naru.control.bulletin import Bulletin
from naru.control.gather import gathered, once
from naru.control.record import Clock
from naru.control.world import World
from naru.control.worlds import Worlds
from naru.domain.account import Subject
from naru.domain.app import App
from naru.domain.errors import Conflict, NotFound
from naru.domain.instance import ExecResult, Instance, LogLine, Usage
from naru.store import Store

LOOK_SECONDS = 30.0


class Instances:
    """Shows what runs, reads what it writes and uses, and runs commands in it."""

    def __init__(self, store: Store, worlds: Worlds, bulletin: Bulletin, clock: Clock) -> None:
        self._store = store
        self._worlds = worlds
        self._bulletin = bulletin
        self._clock = clock

    async def of(self, app: str) -> Sequence[Instance]:
        """Return the app's instances as last seen, oldest first; while it moves, those on its own target come first."""
        seen = self._seen(await self._store.apps.get(app))
        return [replace(one, target=world.engine.name) for world, one in seen]

    async def logs(
        self,
        app: str,
        *,
        instance: str = "",
        follow: bool = False,
        since: datetime | None = None,
        tail: int | None = None,
    ) -> AsyncIterator[LogLine]:
        """Yield what the app's instances wrote: by time what is there, then, with `follow`, as it comes.

        Following goes over to the instances of later releases and of other targets, and ends with the app.
        """
        seen = await self._named(app, instance)
        if follow:
            batches = once(seen) if instance else self._names(app, seen)

            def stream_of(one: str, there_before: bool) -> AsyncIterator[LogLine]:
                world, name = seen[one]
                return world.engine.logs(name, follow=True, since=since, tail=tail if there_before else None)

            async for line in gathered(batches, stream_of):
                yield line
            return
        lines = [line for world, one in seen.values() async for line in world.engine.logs(one, since=since, tail=tail)]
        lines.sort(key=lambda line: line.at)
        for line in lines[-tail:] if tail else lines:
            yield line

    async def execute(
        self, app: str, instance: str, command: Sequence[str], *, stdin: bytes = b"", subject: Subject
    ) -> ExecResult:
        """Run a command inside an instance, the first ready one when none is named, and record who did it."""
        seen = await self._named(app, instance)
        if not seen:
            raise Conflict(f"{app} has no instance to run a command in", "scale it up first")
        world, chosen = next(iter(seen.values()))
        ran = f"ran {' '.join(command)[:200]} in {chosen}"
        await self._store.journal.append(self._clock(), app, "exec", str(subject), ran, "")
        self._bulletin.tell(app)
        return await world.engine.execute(chosen, command, stdin=stdin)

    async def usage(self, app: str) -> AsyncIterator[Sequence[Usage]]:
        """Yield what each instance uses, about once a second."""
        seen = await self._named(app)
        latest: dict[str, Usage] = {}

        def usage_of(one: str, _: bool) -> AsyncIterator[Usage]:
            world, name = seen[one]
            return world.engine.usage(name)

        async for usage in gathered(self._names(app, seen), usage_of):
            if usage.instance in latest:
                yield tuple(latest.values())
                latest = {}
            latest[usage.instance] = usage
        if latest:
            yield tuple(latest.values())

    async def _names(self, app: str, known: dict[str, tuple[World, str]]) -> AsyncIterator[Sequence[str]]:
        """Yield names of the app's instances whenever they may have changed, until the app is removed.

        `known` learns where each of them runs, and its id there.
        """
        with suppress(NotFound):
            async for _ in self._bulletin.listen(app, patience=LOOK_SECONDS):
                known |= (seen := await self._named(app))
                yield list(seen)

    def _seen(self, app: App) -> list[tuple[World, Instance]]:
        """Return the app's instances on all targets, those on its own first: while it moves it runs on two."""
        home = self._worlds.home(app)
        others = [world for world in self._worlds.values() if world is not home]
        return [(world, one) for world in (home, *others) for one in world.instances(app.name)]

    async def _named(self, app: str, instance: str = "") -> dict[str, tuple[World, str]]:
        """Say where each of the app's instances runs and its id there, the ready ones first, or the one with that id.

        They go by names that no two have: two engines may give the same ids.
        """
        seen = sorted(self._seen(await self._store.apps.get(app)), key=lambda one: not one[1].ready)
        found = {f"{world.engine.name}/{one.id}": (world, one.id) for world, one in seen if instance in ("", one.id)}
        if instance and not found:
            raise NotFound(f"{app} has no instance {instance}", "list its instances to see their names")
        return dict([next(iter(found.items()))]) if instance else found
