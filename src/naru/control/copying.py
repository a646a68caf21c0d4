"""The volumes of an app that moves: it stops, they are copied and compared, and it starts where they are then.

The volumes that it leaves stay as they are, so that whatever fails on the way costs nothing but time. Each can be
copied again: what a crash left half-written is made anew.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar, cast

from naru.control.cargo import Cargo, counted, shipped
from naru.control.record import Record
from naru.control.roll import Stage, stop
from naru.control.world import World
from naru.domain.errors import Conflict
from naru.domain.kind import WorkloadKind
from naru.domain.release import Release
from naru.domain.rollout import LayerProgress, Rollout, StepName, StepState
from naru.domain.workload import Workload
from naru.engines.base import Volumes

T = TypeVar("T")

_MIB = 1 << 20
_GLANCE = 0.2
"""Seconds between two looks whether a copy is to stop."""


def is_copied(rollout: Rollout) -> bool:
    """Say whether the volumes have arrived: from then on the target's are the ones that count."""
    return any(step.name is StepName.COPY and step.state is StepState.PASSED for step in rollout.steps)


async def demand_copyable(release: Release, source: Volumes, target: Volumes) -> None:
    """Raise Conflict when the volumes can never be copied there.

    Ask before anything is touched: a copy to where the volumes are would be the end of them.
    """
    app, here, there = release.app, source.name, target.name
    held = await source.volumes(app)
    if missing := sorted(_expected(release.workload) - {one.name for one in held}):
        raise Conflict(
            f"{here} does not show the volume {missing[0]} of {app}", "see that every node of it is there and in reach"
        )
    known = {one.storage for one in held if one.storage}
    if same := [one.name for one in await target.volumes(app) if one.storage in known]:
        raise Conflict(
            f"{here} and {there} show the same volume {same[0]} of {app}: they keep it in one place",
            "choose a target that keeps its volumes elsewhere",
        )


@dataclass(frozen=True, slots=True)
class Copying:
    """Brings the volumes of `release` from the stage's world to another one."""

    stage: Stage
    release: Release
    target: World
    record: Record

    async def run(self) -> str:
        """Stop the app, copy and compare each volume, and say in one line what was done.

        Raises Unavailable when a side is away, and Conflict when what arrived is not what was sent.
        """
        await self._stop()
        held = await self.stage.world.engine.volumes(self.release.app)
        copied = [await self._unless_cancelled(self._copy(one.name)) for one in held]
        entries, size = sum(one.entries for one in copied), sum(one.size for one in copied)
        what = "1 volume" if len(copied) == 1 else f"{len(copied)} volumes"
        return f"{what} copied and compared: {entries:,} entries, {size / _MIB:.1f} MiB"

    async def _stop(self) -> None:
        app, world, door = self.release.app, self.stage.world, self.stage.door
        seen = await world.look(app)
        if route := (await door.routes()).get(app):
            await door.apply(replace(route, upstreams=()))
        await door.drain([one.address for one in seen if one.address], self.release.workload.stop_grace)
        for number in {one.release for one in seen}:
            await stop(self.stage, app, number, [one.id for one in seen])
        if left := await world.look(app):
            raise Conflict(f"{left[0].id} does not stop, so its volumes may still change", "look at its events")

    async def _unless_cancelled(self, work: Coroutine[None, None, T]) -> T:
        """Do the work, and cut it off when the rollout is to stop, even where no byte comes through any more."""
        working = asyncio.create_task(work)
        try:
            while not working.done():
                self.record.check()
                await asyncio.wait([working], timeout=_GLANCE)
            return await working
        finally:
            working.cancel()
            await asyncio.wait([working])

    async def _copy(self, volume: str) -> Cargo:
        here, there = self.stage.world.engine, self.target.engine
        packed = self._watched(f"volume {volume}", "copying", here.pack(self.release, volume))
        sent = await shipped(packed, partial(there.unpack, self.release, volume))
        arrived = await counted(
            self._watched(f"volume {volume}", "comparing", there.pack(self.release, volume), sent.size)
        )
        if sent != arrived:
            raise Conflict(
                f"what arrived of the volume {volume} is not what was sent: {_words(arrived)}, not {_words(sent)}",
                f"see what {here.name} and {there.name} keep differently, and copy its data by other means",
            )
        return sent

    async def _watched(
        self, what: str, doing: str, archive: AsyncIterator[bytes], total: int = 0
    ) -> AsyncIterator[bytes]:
        """Pass an archive on, and show how far it has come."""
        passed = 0
        # Every engine writes its streams as generators; the Protocol promises only what callers need.
        async with aclosing(cast("AsyncGenerator[bytes]", archive)) as chunks:
            async for chunk in chunks:
                passed += len(chunk)
                await self.record.progress((LayerProgress(what, doing, passed, total),))
                yield chunk


def _expected(workload: Workload) -> set[str]:
    """Name the volumes without which the app has not all of its data."""
    count = workload.replicas if workload.kind is WorkloadKind.STATEFUL else min(1, workload.replicas)
    numbers = range(1, count + 1)
    return {one.name if number == 1 else f"{one.name}.{number}" for one in workload.volumes for number in numbers}


def _words(cargo: Cargo) -> str:
    return f"{cargo.entries:,} entries with {cargo.size:,} bytes ({cargo.digest[:12]})"
