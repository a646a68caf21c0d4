"""The proof of what answers nobody: instances that stay ready for a while, or that run to their end."""

import asyncio
from collections.abc import Callable

from naru.control import rolling
from naru.control.bulletin import Bulletin, wait
from naru.control.roll import ENGINE_PATIENCE_SECONDS, LOOK_AGAIN_SECONDS, RETRY_SECONDS, explained
from naru.control.world import World
from naru.domain.errors import Conflict, Unavailable
from naru.domain.instance import Instance, InstanceState
from naru.domain.kind import WorkloadKind
from naru.domain.release import Release


class Vigil:
    """Watches the instances of a release that has rolled out; `check` is called at every look and may raise to stop."""

    def __init__(self, world: World, bulletin: Bulletin, release: Release, check: Callable[[], None]) -> None:
        self._world = world
        self._bulletin = bulletin
        self._release = release
        self._check = check
        self._began = _now()
        self._exits: dict[str, int] = {}
        self._away_since: float | None = None

    async def keep(self) -> str:
        """Watch until the release is proven, and say how in one line.

        Raises Conflict, with what an operator needs to mend it, when an instance fails or goes, and Unavailable when
        the engine stays away.
        """
        with self._bulletin.waiting(self._release.app) as news:
            while True:
                news.take()
                self._check()
                if proven := await self._look():
                    return proven
                await wait(news, self._rest())

    async def _look(self) -> str:
        try:
            seen = await self._world.look(self._release.app)
        except Unavailable:
            self._away_since = self._away_since or _now()
            if _now() - self._away_since > ENGINE_PATIENCE_SECONDS:
                raise
            return ""
        self._away_since = None
        return await self._judge(rolling.standing(self._release, seen))

    async def _judge(self, mine: list[Instance]) -> str:
        workload = self._release.workload
        if culprit := rolling.broken(workload, mine) or self._fallen(mine):
            raise await explained(self._world, self._release, culprit)
        if workload.kind is WorkloadKind.SCHEDULED:
            return f"{self._release.workload.schedule} (UTC) is kept by {self._world.engine.name}"
        if workload.kind.ends:
            if len(mine) < workload.count:
                gone = workload.count - len(mine)
                raise Conflict(f"{gone} of {workload.count} instances went before they ended", "deploy it again")
            done = sum(one.state is InstanceState.COMPLETED for one in mine)
            return f"{done} ended with exit code 0" if done >= workload.count else ""
        return f"{len(mine)} stayed ready for {workload.proof.steady:g} s" if self._left() <= 0 else ""

    def _fallen(self, mine: list[Instance]) -> Instance | None:
        """Return an instance that did not stay as it was when the vigil began, of a kind that should."""
        if self._release.workload.kind.ends:
            return None
        for one in mine:
            if not one.ready or one.exits > self._exits.setdefault(one.id, one.exits):
                return one
        return None

    def _left(self) -> float:
        return self._began + self._release.workload.proof.steady - _now()

    def _rest(self) -> float:
        if self._away_since is not None:
            return RETRY_SECONDS
        steady = not self._release.workload.kind.ends
        return min(LOOK_AGAIN_SECONDS, max(0.0, self._left())) if steady else LOOK_AGAIN_SECONDS


def _now() -> float:
    return asyncio.get_running_loop().time()
