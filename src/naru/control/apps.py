"""What operators can ask of apps. Changes become rollouts, which the worker carries out."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar, assert_never

from naru.control import rolling
from naru.control.bulletin import QUEUE, Bulletin
from naru.control.choose import directed, elsewhere
from naru.control.deploy import Pipeline
from naru.control.record import Clock
from naru.domain.account import Subject
from naru.domain.app import App, AppState, Event
from naru.domain.errors import Conflict, NotFound, Stale
from naru.domain.image import Image
from naru.domain.proof import Answer, ProbeRequest
from naru.domain.release import Release
from naru.domain.rollout import Kind, Rollout, RolloutState
from naru.domain.status import AppStatus
from naru.domain.workload import Address, Workload
from naru.oci.reference import Reference

NEWS_SECONDS = 1.0

T = TypeVar("T")
FreePort = Callable[[Iterable[int]], int]


class Apps:
    """Deploys, changes, shows and removes apps; what runs of them is the room of Instances.

    `free_port` picks a port of the front door that none of these is.
    """

    def __init__(self, pipeline: Pipeline, bulletin: Bulletin, clock: Clock, free_port: FreePort) -> None:
        self._pipeline = pipeline
        self._store = pipeline.store
        self._bulletin = bulletin
        self._clock = clock
        self._free_port = free_port

    async def deploy(self, workload: Workload, *, subject: Subject, if_version: int | None = None) -> Rollout:
        """Create the app, or make a new release of it.

        Raises Invalid for a malformed image reference, Conflict when a rollout of the app is under way or its address
        belongs to another app, and Stale when the app is not at `if_version` any more.
        """
        Reference.parse(workload.image)
        try:
            app = await self._at_version(workload.app, if_version)
        except NotFound:
            if if_version is not None:
                raise
            app = await self._create(workload, subject)
        return await self._enqueue(Kind.DEPLOY, await self._addressed(workload, app), subject)

    async def update(self, app: str, *, image: str, subject: Subject, if_version: int | None = None) -> Rollout:
        """Make a new release with another image and everything else as it is."""
        return await self.change(app, image=image, subject=subject, if_version=if_version)

    async def scale(self, app: str, *, replicas: int, subject: Subject, if_version: int | None = None) -> Rollout:
        """Make a new release with another replica count; the instances that stay are not touched."""
        return await self.change(app, replicas=replicas, subject=subject, if_version=if_version)

    async def change(
        self,
        app: str,
        *,
        image: str | None = None,
        replicas: int | None = None,
        subject: Subject,
        if_version: int | None = None,
    ) -> Rollout:
        """Make a new release with another image, another replica count, or both.

        A new image is resolved anew, and its secrets are the newest.
        """
        await self._at_version(app, if_version)
        current = await self._current(app)
        workload = current.workload
        if replicas is not None:
            workload = replace(workload, replicas=replicas)
        if image is None:
            return await self._enqueue(Kind.SCALE, workload, subject, image=current.image)
        Reference.parse(image)
        newest = tuple(replace(secret, version=0) for secret in workload.secrets)
        return await self._enqueue(Kind.DEPLOY, replace(workload, image=image, secrets=newest), subject)

    async def roll_back(
        self, app: str, *, release: int | None = None, subject: Subject, if_version: int | None = None
    ) -> Rollout:
        """Make a new release of what an earlier one was; without a number, of the one that was live before."""
        found = await self._at_version(app, if_version)
        current = await self._current(app)
        earlier = await self._store.releases.get(app, release) if release else await self._before(current)
        address = current.workload.address if earlier.workload.served else Address()
        workload = await self._addressed(replace(earlier.workload, address=address), found)
        return await self._enqueue(Kind.ROLLBACK, workload, subject, image=earlier.image, restores=earlier.number)

    async def move(
        self,
        app: str,
        *,
        to: str = "",
        copy_volumes: bool = False,
        subject: Subject,
        if_version: int | None = None,
    ) -> Rollout:
        """Run the live release on another target, the best other one when none is named, without a failed request.

        An app with volumes moves only with `copy_volumes`: it is stopped while they are copied. Raises NotFound for an
        unknown target, and Conflict, with the reason, when the app cannot run there or its volumes cannot come along.
        """
        found = await self._at_version(app, if_version)
        current = await self._current(app)
        workload = current.workload
        if to:
            self._pipeline.worlds.enrolment(to)
        if to == found.target:
            raise Conflict(f"{app} runs on {to} already", "name another target")
        if workload.kind.runs_once:
            raise Conflict(
                f"{app} runs once, to its end: to move it would be to run it again", "deploy it again when it has ended"
            )
        seen = replace(await self._pipeline.options(current, home=""), carried=copy_volumes)
        choice = directed(workload, seen, to) if to else elsewhere(workload, seen)
        if not choice.target:
            mend = "see what each target lacks: naru choose"
            if workload.volumes:
                mend = "name a target that takes them, or bring its data there yourself"
                if not copy_volumes:
                    mend = f"to stop it while they are copied: naru move {app} --copy-volumes"
            raise Conflict(f"{app} cannot move: {choice.reason}", mend)
        if workload.volumes:
            await self._pipeline.demand_copyable(current, found.target, choice.target)
        return await self._enqueue(
            Kind.MOVE,
            workload,
            subject,
            image=current.image,
            release=current.number,
            source=found.target,
            target=choice.target,
        )

    async def remove(
        self, app: str, *, volumes: bool = False, subject: Subject, if_version: int | None = None
    ) -> Rollout:
        """Take the app away; its named volumes too when asked. Its history stays."""
        found = await self._at_version(app, if_version)
        newest = await self._store.rollouts.page(app, limit=1)
        workload = newest[0].workload if newest else Workload(app, "none", 1, 0, address=found.address)
        return await self._enqueue(Kind.PURGE if volumes else Kind.REMOVE, workload, subject)

    async def cancel(self, rollout: str, *, subject: Subject) -> Rollout:
        """Stop a rollout that is under way; what was live before comes back."""
        await self._store.rollouts.request_cancel(rollout)
        self._bulletin.call(rollout)
        found = await self._store.rollouts.get(rollout)
        await self._tell(found.app, "cancel", subject, f"asked to cancel the rollout {rollout}", rollout)
        return found

    async def status(self, app: str) -> AppStatus:
        """Return the app at a glance; raise NotFound."""
        return await self._status(await self._store.apps.get(app))

    async def statuses(self, *, after: str = "", limit: int = 50) -> Sequence[AppStatus]:
        """Return up to `limit` apps whose names come after `after`, by name."""
        apps = await self._store.apps.page(after, limit)
        live = {release.app: release for release in await self._store.releases.live(after, limit)}
        latest = {rollout.app: rollout for rollout in await self._store.rollouts.latest([app.name for app in apps])}
        return [self._glance(app, live.get(app.name), latest.get(app.name)) for app in apps]

    async def release(self, app: str, number: int) -> Release:
        """Return one release; raise NotFound."""
        return await self._store.releases.get(app, number)

    async def releases(self, app: str, *, before: int | None = None, limit: int = 50) -> Sequence[Release]:
        """Return the app's releases, newest first."""
        await self._store.apps.get(app)
        return await self._store.releases.page(app, before, limit)

    async def rollout(self, rollout: str) -> Rollout:
        """Return one rollout with its steps; raise NotFound."""
        return await self._store.rollouts.get(rollout)

    async def rollouts(self, app: str = "", *, before: str = "", limit: int = 50) -> Sequence[Rollout]:
        """Return rollouts of an app or of all, newest first."""
        return await self._store.rollouts.page(app or None, before, limit)

    async def follow(self, rollout: str) -> AsyncIterator[Rollout]:
        """Yield the rollout as it is, then at each change, until it has ended."""
        seen: Rollout | None = None
        app = (await self._store.rollouts.get(rollout)).app
        async for _ in self._bulletin.listen(app, patience=NEWS_SECONDS):
            now = self._pipeline.underway.get(rollout) or await self._store.rollouts.get(rollout)
            if now != seen:
                yield now
            if now.state.ended:
                return
            seen = now

    async def watch(self, app: str = "") -> AsyncIterator[None]:
        """Yield at once, then whenever an app, or any app, may look different."""
        async for _ in self._bulletin.listen(app, patience=30.0):
            yield

    async def request(self, app: str, request: ProbeRequest, *, subject: Subject) -> Answer:
        """Send one test request through the app's endpoint."""
        found = await self._store.apps.get(app)
        if not found.address.given:
            raise Conflict(f"{app} has no endpoint to send a request to", "look at its logs: naru logs " + app)
        endpoint = self._pipeline.door.endpoint(found.address)
        await self._tell(app, "request", subject, f"sent {request.method} {request.path[:200]}")
        return await self._pipeline.prober.send(endpoint, request)

    async def events(self, app: str = "", *, after: int = 0, limit: int = 100) -> Sequence[Event]:
        """Return what happened after the event with that number, oldest first."""
        return await self._store.journal.after(after, app or None, limit)

    async def latest_events(self, app: str = "", limit: int = 50) -> Sequence[Event]:
        """Return what happened last, newest first."""
        return await self._store.journal.latest(app or None, limit)

    async def _create(self, workload: Workload, subject: Subject) -> App:
        """Store a new app; one that another request has just stored under the name will do as well."""
        asked = workload.address
        while True:
            address = asked
            if workload.served and not asked.given:
                address = replace(asked, port=self._free_port(await self._store.apps.ports_in_use()))
            try:
                return await self._store.apps.create(
                    App(workload.app, AppState.NEW, address, 0, str(subject), self._clock())
                )
            except Conflict:
                with suppress(NotFound):
                    return await self._store.apps.get(workload.app)
                if address == asked:
                    raise  # else the port that was free a moment ago went to another app

    async def _addressed(self, workload: Workload, app: App) -> Workload:
        """Give the workload the address that it asks for, else the app's own, else a free port; none to the unserved.

        Raises Conflict when the address belongs to another app.
        """
        address = workload.address
        if workload.served and not address.given:
            address = replace(app.address, tls=address.tls)
        if workload.served and not address.given:
            address = replace(address, port=self._free_port(await self._store.apps.ports_in_use()))
        await self._demand(address, app)
        return replace(workload, address=address)

    async def _demand(self, address: Address, app: App) -> None:
        """Raise Conflict when the address belongs to another app."""
        if not address.given:
            return
        for holder in (await self._store.apps.by_host(address.host), await self._store.apps.by_port(address.port)):
            if holder and holder.name != app.name:
                place = address.host or f"port {address.port}"
                raise Conflict(f"{place} belongs to the app {holder.name}", "choose another address")

    async def _at_version(self, app: str, version: int | None) -> App:
        found = await self._store.apps.get(app)
        if version is not None and found.version != version:
            raise Stale(f"{app} is at version {found.version}, not {version}", "fetch it again and repeat the change")
        return found

    async def _current(self, app: str) -> Release:
        found = await self._store.apps.get(app)
        if not found.live:
            raise Conflict(f"{app} has no live release yet", "deploy it first")
        return await self._store.releases.get(app, found.live)

    async def _before(self, current: Release) -> Release:
        for release in await self._store.releases.page(current.app, before=current.number, limit=100):
            if release.state.was_live:
                return release
        raise Conflict(f"{current.app} has no release before {current.number} to go back to", "name a release")

    async def _enqueue(
        self,
        kind: Kind,
        workload: Workload,
        subject: Subject,
        *,
        image: Image | None = None,
        release: int = 0,
        restores: int = 0,
        source: str = "",
        target: str = "",
    ) -> Rollout:
        rollout = Rollout(
            id=f"{workload.app}-{secrets.token_hex(4)}",
            app=workload.app,
            kind=kind,
            workload=workload,
            state=RolloutState.QUEUED,
            requested_by=str(subject),
            requested_at=self._clock(),
            image=image,
            release=release,
            restores=restores,
            source=source,
            target=target,
        )
        await self._store.rollouts.enqueue(rollout)
        self._bulletin.call(QUEUE)
        await self._tell(workload.app, str(kind), subject, f"asked for {_words(rollout)}", rollout.id)
        return rollout

    async def _tell(self, app: str, kind: str, subject: Subject, text: str, rollout: str = "") -> None:
        await self._store.journal.append(self._clock(), app, kind, str(subject), text, rollout)
        self._bulletin.tell(app)

    async def _status(self, app: App) -> AppStatus:
        release = await self._store.releases.get(app.name, app.live) if app.live else None
        rollouts = await self._store.rollouts.page(app.name, limit=1)
        return self._glance(app, release, rollouts[0] if rollouts else None)

    def _glance(self, app: App, release: Release | None, rollout: Rollout | None) -> AppStatus:
        instances = self._pipeline.worlds.home(app).instances(app.name)
        standing = rolling.standing(release, instances) if release else instances
        stillborn = app.state is AppState.NEW and rollout is not None and rollout.state is RolloutState.FAILED
        return AppStatus(
            app=replace(app, state=AppState.FAILED) if stillborn else app,
            endpoint=self._pipeline.endpoint(app.address),
            release=release,
            rollout=rollout,
            instances=tuple(instances),
            desired=rolling.count(release.workload, len(standing), 0) if release else 0,
            ready=sum(i.sound for i in standing),
        )


def _words(rollout: Rollout) -> str:
    workload = rollout.workload
    match rollout.kind:
        case Kind.DEPLOY:
            return f"{workload.image} with {_counted(workload.replicas)}"
        case Kind.SCALE:
            return _counted(workload.replicas)
        case Kind.ROLLBACK:
            return f"release {rollout.restores} again"
        case Kind.MOVE:
            return f"its move from {rollout.source} to {rollout.target}"
        case Kind.REMOVE:
            return "its removal"
        case Kind.PURGE:
            return "its removal with all volumes"
        case _:
            assert_never(rollout.kind)


def _counted(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"
