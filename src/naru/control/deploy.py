"""One deployment, step by step: this file reads as the story that the operator sees.

Every step is stored with its start, end, outcome and reason. Each can be taken again: after a crash the pipeline
starts from the top, finds what is done, and goes on.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from naru.control.bulletin import Bulletin
from naru.control.choose import Survey, choose, directed, placed
from naru.control.copying import Copying, demand_copyable, is_copied
from naru.control.draft import draft, drafted
from naru.control.fetch import Fetching
from naru.control.nodes import Nodes
from naru.control.prove import Prober, Tally, probing, prove
from naru.control.record import ON_REQUEST, Record, StepFailed
from naru.control.resolve import Resolver
from naru.control.roll import Roll, Stage, stop
from naru.control.rolling import serves_throughout, way, way_over
from naru.control.survey import survey
from naru.control.turns import Turns
from naru.control.vigil import Vigil
from naru.control.world import World
from naru.control.worlds import DESCRIBED_SECONDS, HOME_SECONDS, Worlds
from naru.domain.account import Credentials
from naru.domain.app import AppState, Endpoint
from naru.domain.errors import Conflict, Forbidden, NaruError, Unavailable
from naru.domain.image import Image
from naru.domain.proof import Proof
from naru.domain.release import Release, ReleaseState
from naru.domain.rollout import Kind, Rollout, RolloutState, StepName
from naru.domain.verdict import Passed, Refused
from naru.domain.workload import Address, Recreate, Rolling, Strategy, Workload
from naru.gate.gate import Gate
from naru.oci.layout import ImageStore
from naru.oci.reference import Reference
from naru.routing.base import Door
from naru.store import Store

LEAVE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Carries rollouts out, from wherever they stand to their end.

    `underway` shows, by id, how far those are that this process works on, for who follows them.
    """

    store: Store
    images: ImageStore
    resolver: Resolver
    gate: Gate
    worlds: Worlds
    door: Door
    prober: Prober
    bulletin: Bulletin
    nodes: Nodes
    turns: Turns = field(default_factory=Turns)
    underway: dict[str, Rollout] = field(default_factory=dict)

    async def carry(self, record: Record) -> None:
        """Bring a rollout to its end; a step that fails brings back what was live before."""
        if record.rollout.state is RolloutState.ROLLING_BACK:
            await self.go_back(record, record.rollout.reason)
            return
        await record.save(replace(record.rollout, state=RolloutState.RUNNING))
        try:
            if record.rollout.kind.takes_away:
                await self._take_away(record)
            elif record.rollout.kind is Kind.MOVE:
                await self._move(record)
            else:
                await self._deploy(record)
        except StepFailed as failure:
            await self.go_back(record, str(failure))
            return
        await self._end(record, RolloutState.SUCCEEDED)

    async def _deploy(self, record: Record) -> None:
        release = await self._resolve(record)
        if release.state is ReleaseState.LIVE:  # a worker died between making it live and saying so
            await self._watch(record, release, self.worlds[record.rollout.target])
            return
        await self._gate(record, release)
        world = await self._place(record, release)
        async with self.worlds.room(record.rollout.target):
            await self._bring_up(record, release, world, way(release.workload))
            await self._watch(record, release, world)

    async def _move(self, record: Record) -> None:
        """Run the live release on another target: both do, requests go over step by step, then the old instances go."""
        rollout = record.rollout
        release = await self.store.releases.get(rollout.app, rollout.release)
        if (await self.store.apps.get(rollout.app)).target != rollout.target:
            async with record.step(StepName.PLACE) as entry:
                seen = replace(await self.options(release, home=rollout.target), carried=rollout.copies)
                entry.choice = directed(release.workload, seen, rollout.target)
                placed(entry.choice, seen)
                if rollout.copies and not is_copied(rollout):
                    await self.demand_copyable(release, rollout.source, rollout.target)
                entry.outcome = entry.choice.reason
            async with self.worlds.room(rollout.target):
                await self._bring_up(record, release, self.worlds[rollout.target], way_over(release.workload))
        await self._watch(record, release, self.worlds[rollout.target])

    async def _bring_up(self, record: Record, release: Release, world: World, strategy: Strategy) -> None:
        """Have the release running on the target and proven; what it replaces may run still."""
        await self._distribute(record, release, world)
        if record.rollout.copies and not is_copied(record.rollout):
            await self._copy(record, release, world)
        tally = Tally.after(record.rollout.proof)
        try:
            await self._roll(record, release, world, tally, strategy)
            await self._prove(record, release, tally)
        finally:
            await record.save(replace(record.rollout, proof=tally.proof()))

    async def options(self, release: Release, *, home: str) -> Survey:
        """Look at all targets for a release; only the one called `home` is waited for while it is slow."""
        targets = await self.worlds.prospects(home, release.image)
        return await survey(self.store, targets, release.workload, image=release.image)

    async def demand_copyable(self, release: Release, source: str, target: str) -> None:
        """Raise Unavailable while a side of a copy of the app's volumes does not answer, Conflict when it cannot be."""
        for name in (source, target):
            seen = await self.worlds.describe_one(name, DESCRIBED_SECONDS, HOME_SECONDS)
            if seen.problem:
                raise Unavailable(f"the volumes of {release.app} cannot go from {source} to {target}: {seen.problem}")
        await demand_copyable(release, self.worlds[source].engine, self.worlds[target].engine)

    async def _resolve(self, record: Record) -> Release:
        rollout = record.rollout
        async with record.step(StepName.RESOLVE) as entry:
            release = await drafted(self.store, rollout)
            release = release or await draft(self.store, self.resolver, self.worlds, rollout, record.now())
            if not rollout.release:
                made = replace(rollout, image=release.image, release=release.number, workload=release.workload)
                await record.save(made)
            entry.outcome = f"{release.image.reference} is {release.image.digest[:19]}… for {release.image.platform}"
        return release

    async def _gate(self, record: Record, release: Release) -> None:
        async with record.step(StepName.GATE) as entry:
            verdict = await self.gate.judge(release.image)
            await self.store.releases.set_verdict(release.app, release.number, verdict)
            match verdict:
                case Passed(evidence):
                    entry.outcome = "; ".join(item.detail for item in evidence)
                case Refused():
                    await self.store.releases.set_state(release.app, release.number, ReleaseState.REFUSED)
                    raise Forbidden("the gate refuses: " + "; ".join(verdict.reasons), "change the image or the policy")

    async def _place(self, record: Record, release: Release) -> World:
        async with record.step(StepName.PLACE) as entry:
            if release.workload.served:
                await self.door.demand(record.app, release.workload.address)
            home = (await self.store.apps.get(record.app)).target
            seen = await self.options(release, home=home)
            if record.rollout.target:  # chosen before a crash, and perhaps begun there
                seen = replace(seen, current=record.rollout.target)
            entry.choice = choose(release.workload, seen)
            target = placed(entry.choice, seen)
            source = home if home != target.name else record.rollout.source
            await record.save(replace(record.rollout, target=target.name, source=source))
            entry.outcome = entry.choice.reason
        return self.worlds[target.name]

    async def _distribute(self, record: Record, release: Release, world: World) -> None:
        async with record.step(StepName.DISTRIBUTE) as entry:
            entry.outcome = await Fetching(self.images, self.nodes, self.credentials, world, record).run(release.image)

    async def _copy(self, record: Record, release: Release, world: World) -> None:
        async with record.step(StepName.COPY) as entry:
            source = self.worlds[record.rollout.source]
            entry.outcome = await Copying(self._stage(record, source), release, world, record).run()

    async def _roll(self, record: Record, release: Release, world: World, tally: Tally, strategy: Strategy) -> None:
        workload = release.workload
        endpoint = self.endpoint(workload.address)
        before = await self._live(record.app)
        answers = before is not None and before.workload.served and before.workload.replicas > 0
        answers = answers and workload.served and workload.replicas > 0

        async def count_phase(phase: int) -> None:
            await record.save(replace(record.rollout, phase=phase, proof=tally.proof()))

        def alarm() -> None:
            self.bulletin.tell(record.app)

        def vital() -> str:
            dead = tally.vital() if serves_throughout(strategy, workload.replicas) else ""
            return record.interruption() or (dead and f"the endpoint stopped answering during the rollout: {dead}")

        async with (
            record.step(StepName.ROLL) as entry,
            probing(self.prober, endpoint, workload.proof, tally, alarm, wanted=answers),
        ):
            entry.outcome = await Roll(
                self._stage(record, world, aside=record.rollout.source),
                release,
                strategy,
                phase=record.rollout.phase,
                count_phase=count_phase,
                vital=vital,
            ).run()

    async def _prove(self, record: Record, release: Release, tally: Tally) -> None:
        endpoint = self.endpoint(release.workload.address)
        policy = release.workload.proof
        async with record.step(StepName.PROVE) as entry:
            if not policy.count or not release.workload.replicas:
                entry.outcome = "no proof asked for" if release.workload.replicas else "nothing runs, nothing to prove"
                return
            if not release.workload.served:
                world = self.worlds[record.rollout.target]
                entry.outcome = await Vigil(world, self.bulletin, release, record.check).keep()
                return
            problem = await prove(self.prober, endpoint, policy, tally, record.check)
            proof = tally.proof()
            entry.outcome = f"{proof.sent} sent, {proof.failed} failed, {_milliseconds(proof)}"
            if problem:
                raise Conflict(
                    f"the endpoint {endpoint.url} did not prove itself: {problem}",
                    f"send a request yourself with: naru request {record.app} {policy.request.path}",
                )

    async def _watch(self, record: Record, release: Release, world: World) -> None:
        """Take away what the release replaces, and make it the live one; only then is another target left."""
        async with record.step(StepName.WATCH) as entry:
            others = [i for i in world.instances(record.app) if i.revision != release.revision]
            if others:
                everything = Rolling(max_surge=0, max_unavailable=max(1, release.workload.replicas))
                await Roll(self._stage(record, world), release, everything).run()
            app = await self.store.apps.get(record.app)
            wanted = replace(app, address=release.workload.address, target=record.rollout.target)
            if wanted != app:
                await self.store.apps.update(wanted, app.version)
            await self.store.releases.go_live(record.app, release.number)
            where = f" at {self.endpoint(release.workload.address).url}" if release.workload.served else ""
            entry.outcome = f"release {release.number} is live{where}"
            if record.rollout.source:
                left = await self._leave(record, record.rollout.source)
                left += ", and its volumes are kept there as they were" if record.rollout.copies else ""
                entry.outcome = f"{entry.outcome}, on {record.rollout.target}; {left}"
            await record.tell("live", entry.outcome)

    async def _leave(self, record: Record, target: str, *, volumes: bool = False) -> str:
        """Remove what is left of the app on a target that no request goes to any more, and say so in one line.

        What does not answer now is left to the reconciler.
        """
        world, grace = self.worlds.get(target), record.rollout.workload.stop_grace
        if world is None:
            return f"{target} is no target any more"
        try:
            async with asyncio.timeout(LEAVE_SECONDS + 2 * grace):
                addresses = [i.address for i in await world.look(record.app) if i.address]
                await self.door.drain(addresses, grace)
                await world.engine.remove(record.app, volumes=volumes)
                await world.look(record.app)
        except (NaruError, TimeoutError):
            kept = ", but for copies of its volumes" if volumes else ""
            return f"{target} does not answer, and what is left there goes when it does{kept}"
        return f"{target} is left"

    async def _take_away(self, record: Record) -> None:
        async with record.step(StepName.REMOVE) as entry:
            app = await self.store.apps.get(record.app, include_removed=True)
            world = self.worlds.home(app)
            seen = await world.look(app.name)
            if route := (await self.door.routes()).get(app.name):
                await self.door.apply(replace(route, upstreams=()))
                grace = record.rollout.workload.stop_grace
                await self.door.drain([i.address for i in seen if i.address], grace)
            await self.door.remove(app.name)
            await world.engine.remove(app.name, volumes=record.rollout.kind is Kind.PURGE)
            await world.look(app.name)
            if app.live:
                await self.store.releases.set_state(app.name, app.live, ReleaseState.SUPERSEDED)
            if app.state is not AppState.REMOVED:
                await self.store.apps.update(replace(app, state=AppState.REMOVED, live=0), app.version)
            entry.outcome = "removed" if record.rollout.kind is Kind.REMOVE else "removed with its volumes"
            await record.tell("removed", f"{app.name} was {entry.outcome}")

    async def go_back(self, record: Record, why: str) -> None:
        """Bring back what was live before the rollout, and end it as failed or cancelled with its reason."""
        rollout = record.rollout
        end = RolloutState.CANCELLED if why == ON_REQUEST else RolloutState.FAILED
        touched = any(step.name in (StepName.COPY, StepName.ROLL, StepName.ROLL_BACK) for step in rollout.steps)
        await record.interrupt_steps()
        await record.save(replace(record.rollout, state=RolloutState.ROLLING_BACK, reason=why))
        if touched and not rollout.kind.takes_away:
            try:
                await self._restore(record)
            except StepFailed as failure:
                why = f"{why}\nand going back failed as well: {failure}"
        await self._end(record, end, why)

    async def _restore(self, record: Record) -> None:
        rollout = record.rollout
        async with record.step(StepName.ROLL_BACK) as entry:
            world = self.worlds[rollout.target]
            if live := await self._live(rollout.app):
                home = self.worlds.home(await self.store.apps.get(rollout.app))
                away = rollout.target if home is not world else ""
                entry.outcome = f"back to release {live.number}"
                if not live.workload.kind.runs_once:
                    stage = self._stage(record, home, aside=away)
                    strategy = Recreate() if rollout.copies else _way_back(rollout.workload, live.workload)
                    done = await Roll(stage, live, strategy).run()
                    entry.outcome = f"{entry.outcome}: {done}"
                elif not away:
                    entry.outcome = f"{entry.outcome}: {await self._clear(record, world, live)}"
                if away:
                    entry.outcome = f"{entry.outcome}; {await self._leave(record, away, volumes=rollout.copies)}"
            else:
                await self.door.remove(rollout.app)
                await world.engine.remove(rollout.app)
                await world.look(rollout.app)
                entry.outcome = "removed what was started; there is no earlier release"

    async def _clear(self, record: Record, world: World, live: Release) -> str:
        """Take away what the live release did not make, and start nothing: a run that has ended is not repeated."""
        others = [i for i in await world.look(live.app) if i.revision != live.revision]
        for number in {i.release for i in others}:
            await stop(self._stage(record, world), live.app, number, [i.id for i in others])
        if live.app in await self.door.routes():
            await self.door.remove(live.app)
        await world.look(live.app)
        return f"{len(others)} stopped"

    async def _end(self, record: Record, state: RolloutState, why: str = "") -> None:
        rollout = record.rollout
        if state is not RolloutState.SUCCEEDED:
            release = await drafted(self.store, rollout)
            if release and release.state is ReleaseState.PENDING:
                await self.store.releases.set_state(release.app, release.number, ReleaseState.FAILED)
            await record.tell(str(state), why.split("\n", 1)[0])
        await record.save(replace(rollout, state=state, ended_at=record.now(), reason=why, progress=()))

    async def _live(self, app: str) -> Release | None:
        live = (await self.store.apps.get(app)).live
        return await self.store.releases.get(app, live) if live else None

    def _stage(self, record: Record, world: World, aside: str = "") -> Stage:
        async def find(number: int) -> Release:
            return await self.store.releases.get(record.app, number)

        other = self.worlds.get(aside)
        return Stage(world, self.door, self.bulletin, find, self.secrets_of, aside=None if other is world else other)

    def endpoint(self, address: Address) -> Endpoint:
        """Say where an address is reached; the URL is empty for none."""
        return self.door.endpoint(address) if address.given else Endpoint("")

    async def credentials(self, image: Image) -> Credentials | None:
        """Return the stored credentials of the image's registry, if there are any."""
        return await self.store.registries.get(Reference.parse(image.reference).domain)

    async def secrets_of(self, release: Release) -> Mapping[str, bytes]:
        """Read the values of the secrets that the release names, in the versions that it names."""
        return {
            secret.name: await self.store.secrets.value(secret.name, secret.version)
            for secret in release.workload.secrets
        }


def _way_back(tried: Workload, live: Workload) -> Strategy:
    """Bring the live instances back before the others go, unless the workload cannot run twice."""
    if isinstance(way(tried), Recreate) or isinstance(way(live), Recreate):
        return Recreate()
    return way(replace(live, strategy=Rolling(max_surge=max(1, live.replicas), max_unavailable=0)))


def _milliseconds(proof: Proof) -> str:
    return f"p50 {proof.p50 * 1000:.1f} ms, p99 {proof.p99 * 1000:.1f} ms"
