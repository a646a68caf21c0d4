"""Takes rollouts from the queue and carries them out, each under a lease.

A worker that dies leaves a lease whose time ends; the next one goes on from what the record says.
"""

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta

from naru.control.bulletin import QUEUE, Bulletin, wait
from naru.control.deploy import Pipeline
from naru.control.record import Clock, Record
from naru.domain.errors import NaruError
from naru.domain.rollout import Rollout
from naru.store import Store

LEASE = timedelta(seconds=10)
RENEW_SECONDS = 3.0
IDLE_SECONDS = 1.0
AGAIN_SECONDS = 2.0
AT_ONCE = 64

log = logging.getLogger(__name__)


class Worker:
    """Works on up to 64 rollouts at once, one an app, and on eight of them on one target: see Worlds.room."""

    def __init__(self, owner: str, pipeline: Pipeline, store: Store, bulletin: Bulletin, clock: Clock) -> None:
        self._owner = owner
        self._pipeline = pipeline
        self._store = store
        self._bulletin = bulletin
        self._clock = clock
        self._room = asyncio.Semaphore(AT_ONCE)

    async def keep(self) -> None:
        """Work until cancelled; what is under way then is given back for the next worker to go on with."""
        async with asyncio.TaskGroup() as tasks:
            with self._bulletin.waiting(QUEUE) as news:
                while True:
                    news.take()
                    await self._room.acquire()
                    claimed = await self._claim()
                    if claimed is None:
                        self._room.release()
                        await wait(news, IDLE_SECONDS)
                    else:
                        tasks.create_task(self._work(*claimed))

    async def _claim(self) -> tuple[Rollout, int] | None:
        try:
            return await self._store.rollouts.claim(self._owner, self._clock(), LEASE)
        except NaruError as error:
            log.warning("cannot claim work: %s", error)
            return None

    async def _work(self, rollout: Rollout, lease: int) -> None:
        record = Record(rollout, lease, self._store, self._bulletin, self._clock, self._pipeline.underway)
        work = asyncio.create_task(self._carry(record))
        guard = asyncio.create_task(self._guard(record, lease))
        try:
            await asyncio.wait([work, guard], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, guard):
                task.cancel()
            await asyncio.wait([work, guard])
            self._pipeline.underway.pop(rollout.id, None)
            self._room.release()
            with suppress(NaruError):
                await self._store.rollouts.release_lease(rollout.id, lease)

    async def _carry(self, record: Record) -> None:
        try:
            async with self._pipeline.turns.of(record.app):
                await self._pipeline.carry(record)
            self._bulletin.tell(record.app)
        except NaruError as error:
            # The lease is lost or the store cannot be written: whoever claims the rollout next goes on with it.
            log.warning("rollout %s of %s stops here: %s", record.rollout.id, record.app, error)
            await asyncio.sleep(AGAIN_SECONDS)
        except Exception as error:
            log.exception("rollout %s of %s", record.rollout.id, record.app)
            with suppress(NaruError):
                await self._pipeline.go_back(record, f"Naru itself failed: {error!r}")

    async def _guard(self, record: Record, lease: int) -> None:
        """Renew the lease and pass requests to cancel on; return when the lease is lost."""
        now = asyncio.get_running_loop().time
        due = now() + RENEW_SECONDS
        with self._bulletin.waiting(record.rollout.id) as news:
            while True:
                news.take()
                if now() >= due:
                    due = now() + RENEW_SECONDS
                    if not await self._renewed(record.rollout, lease):
                        return
                if not record.cancelled and await self._cancel_requested(record.rollout):
                    record.cancel()
                await wait(news, RENEW_SECONDS)

    async def _renewed(self, rollout: Rollout, lease: int) -> bool:
        try:
            return await self._store.rollouts.renew(rollout.id, lease, self._clock(), LEASE)
        except NaruError as error:
            log.warning("cannot renew the lease of rollout %s: %s", rollout.id, error)
            return True

    async def _cancel_requested(self, rollout: Rollout) -> bool:
        try:
            return await self._store.rollouts.cancel_requested(rollout.id)
        except NaruError as error:
            log.warning("cannot see whether rollout %s is to be cancelled: %s", rollout.id, error)
            return False
