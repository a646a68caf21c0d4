"""The platform as its users see it: everything that the API and the console may ask for."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from naru.control.accounts import Accounts
from naru.control.apps import Apps, FreePort
from naru.control.bulletin import Bulletin
from naru.control.choose import choose
from naru.control.comparisons import Bench, Comparisons
from naru.control.deploy import Pipeline
from naru.control.fleet import Fleet
from naru.control.images import Images
from naru.control.instances import Instances
from naru.control.joining import Joining
from naru.control.reconcile import Reconciler
from naru.control.record import Clock
from naru.control.survey import survey
from naru.control.vault import Vault
from naru.control.work import Worker
from naru.domain.choice import Choice
from naru.domain.target import Target
from naru.domain.workload import Workload

ANSWERS_KEPT = timedelta(days=1)
EVENTS_KEPT = timedelta(days=90)
SWEEP_SECONDS = 3600.0


class Platform:
    """Brings the use cases together and keeps them at work.

    `owner` names this process in the leases that it takes. No other living process may use the name, because leases
    found under it at the start are taken to be a dead one's.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        bulletin: Bulletin,
        clock: Clock,
        *,
        owner: str,
        free_port: FreePort,
        bench: Bench | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.bulletin = bulletin
        self.clock = clock
        self.answers = pipeline.store.answers
        self.apps = Apps(pipeline, bulletin, clock, free_port)
        self.instances = Instances(pipeline.store, pipeline.worlds, bulletin, clock)
        self.fleet = Fleet(pipeline, self.apps, bulletin, clock)
        self.nodes = pipeline.nodes
        self.joining = Joining(pipeline.store, pipeline.nodes, bulletin, clock)
        self.comparisons = Comparisons(pipeline, bulletin, clock, server=owner, bench=bench)
        self.images = Images(pipeline.images, pipeline.store, clock)
        self.vault = Vault(pipeline.store, clock)
        self.accounts = Accounts(pipeline.store, clock)
        self.reconciler = Reconciler(pipeline, bulletin, clock)
        self._owner = owner
        self._worker = Worker(owner, pipeline, pipeline.store, bulletin, clock)

    async def targets(self) -> Sequence[Target]:
        """Describe every target; one that does not answer says why in its `problem`."""
        return await self.pipeline.worlds.describe()

    async def choose(self, workload: Workload) -> Choice:
        """Say where the workload would run as things stand now, and why; its image is not looked at yet."""
        return choose(workload, await survey(self.pipeline.store, await self.targets(), workload))

    async def prepare(self) -> None:
        """Make the store ready: the admin, the configured target, and the leases of a process of ours that died."""
        await self.accounts.prepare()
        await self.pipeline.worlds.prepare()
        await self.pipeline.store.rollouts.release_leases_of(self._owner)

    async def keep(self) -> None:
        """Watch, work, reconcile and tidy up until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pipeline.worlds.keep(), name="watch")
            await self.pipeline.worlds.opened()
            tasks.create_task(self._worker.keep(), name="work")
            tasks.create_task(self.reconciler.keep(), name="reconcile")
            tasks.create_task(self._sweep(), name="sweep")
            tasks.create_task(self.comparisons.keep(), name="compare")

    async def _sweep(self) -> None:
        while True:
            now = self.clock()
            await self.pipeline.store.answers.forget(now - ANSWERS_KEPT)
            await self.pipeline.store.sessions.sweep(now)
            await self.pipeline.store.journal.prune(now - EVENTS_KEPT)
            await self.nodes.prune(now - EVENTS_KEPT)
            await asyncio.sleep(SWEEP_SECONDS)
