"""What runs on a target, as last seen.

One watcher an engine keeps the picture true; everybody else reads it, so that a list of a thousand apps costs the
engine nothing.
"""

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from naru.control.bulletin import Bulletin
from naru.domain.errors import NaruError, Unavailable
from naru.domain.image import Platform
from naru.domain.instance import Instance
from naru.domain.target import Capacity, Target
from naru.engines.base import OpenEngine

RESYNC_SECONDS = 30.0
DESCRIBE_SECONDS = 2.0
"""How long a list waits for a target to say what it is."""
RETRY_SECONDS = 1.0

NOT_YET = "not looked at yet"

log = logging.getLogger(__name__)


class World:
    """The instances of one engine, by app."""

    def __init__(self, engine: OpenEngine, bulletin: Bulletin, problem: str = NOT_YET) -> None:
        self.engine = engine
        self.problem = problem
        self._bulletin = bulletin
        self._apps: dict[str, tuple[Instance, ...]] = {}
        self._asked = 0
        self._answered: defaultdict[str, int] = defaultdict(int)
        self._described_at = -math.inf
        self._describing: asyncio.Task[None] | None = None
        self._asked_at = -math.inf
        self._target = Target(engine.name, engine.name, "", "", Platform(), (), Capacity(0, 0, 0, 0))

    @property
    def apps(self) -> Mapping[str, Sequence[Instance]]:
        """All instances, by app; apps without any are left out."""
        return self._apps

    @property
    def away(self) -> bool:
        """Whether the engine was asked and did not answer, so that the picture may be old."""
        return self.problem not in ("", NOT_YET)

    def instances(self, app: str) -> tuple[Instance, ...]:
        """Return the app's instances as last seen, oldest first."""
        return self._apps.get(app, ())

    async def describe(self, max_age: float = 0.0, patience: float = DESCRIBE_SECONDS) -> Target:
        """Say what the target is and had room for `max_age` seconds ago; `problem` says why it does not answer.

        Takes `patience` seconds at most, counted from the question that hangs: whoever asks after that long does not
        wait at all.
        """
        now = asyncio.get_running_loop().time()
        if not self.problem and now - self._described_at < max_age:
            return self._target
        if self._describing is None:
            self._describing, self._asked_at = asyncio.create_task(self._describe()), now
        asked, asked_at = self._describing, self._asked_at
        await asyncio.wait([asked], timeout=max(0.0, asked_at + patience - now))
        if not asked.done():
            return replace(self._target, problem=f"{self.engine.name} did not describe itself within {patience:g} s")
        if self._describing is asked:
            self._describing = None
        if asked.cancelled():
            return replace(self._target, problem=f"{self.engine.name} is being closed")
        try:
            asked.result()
        except NaruError as error:
            return replace(self._target, problem=error.cause)
        return self._target

    async def _describe(self) -> None:
        self._target = await self.engine.describe()
        self._described_at = asyncio.get_running_loop().time()

    async def look(self, app: str) -> tuple[Instance, ...]:
        """Observe one app now."""
        asked = self._ask()
        seen = tuple(await self.engine.observe(app))
        self._keep(app, seen, asked)
        return seen

    async def look_at_all(self) -> None:
        """Observe everything now."""
        asked = self._ask()
        grouped: defaultdict[str, list[Instance]] = defaultdict(list)
        for instance in await self.engine.observe():
            grouped[instance.app].append(instance)
        for app in {*grouped, *self._apps}:
            self._keep(app, tuple(grouped.get(app, ())), asked)
        if self.problem:
            self.problem = ""
            self._bulletin.tell_all()

    async def keep(self) -> None:
        """Keep the picture true until cancelled, whatever the engine does."""
        try:
            while True:
                try:
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(self._resync())
                        tasks.create_task(self._follow())
                except* NaruError as errors:
                    problem = str(errors.exceptions[0])
                    if problem != self.problem:
                        log.warning("engine %s: %s", self.engine.name, problem)
                        self.problem = problem
                        self._bulletin.tell_all()
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            if self._describing:
                self._describing.cancel()

    async def _resync(self) -> None:
        while True:
            await self.look_at_all()
            await asyncio.sleep(RESYNC_SECONDS)

    async def _follow(self) -> None:
        async for change in self.engine.watch():
            if change.app:
                await self.look(change.app)
            else:
                await self.look_at_all()
        raise Unavailable(f"engine {self.engine.name} ended its event stream")

    def _ask(self) -> int:
        self._asked += 1
        return self._asked

    def _keep(self, app: str, seen: tuple[Instance, ...], asked: int) -> None:
        """Keep what was seen, unless a question that was asked later has been answered already."""
        if asked < self._answered[app]:
            return
        self._answered[app] = asked
        if seen == self.instances(app):
            return
        if seen:
            self._apps[app] = seen
        else:
            self._apps.pop(app, None)
        self._bulletin.tell(app)
