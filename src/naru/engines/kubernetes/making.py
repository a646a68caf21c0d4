"""Makes and unmakes what runs an app: every kind of workload in its own way, a revision at a time.

A service is a Deployment that never changes but in its count. A run is a Job, a schedule a CronJob. Each instance of a
stateful app is a StatefulSet of one, so that Naru chooses which goes, and no two ever have the same volumes.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import NoReturn

from lightkube.core.resource import NamespacedResource
from lightkube.resources.apps_v1 import Deployment, StatefulSet
from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import PersistentVolumeClaim, Secret, Service
from lightkube.resources.networking_v1 import Ingress
from lightkube.resources.policy_v1 import PodDisruptionBudget

from naru.domain.account import Credentials
from naru.domain.errors import Conflict, Forbidden, Invalid
from naru.domain.instance import Instance
from naru.domain.kind import WorkloadKind
from naru.domain.release import Release
from naru.domain.workload import Workload
from naru.engines.base import REVISION_LABEL
from naru.engines.kubernetes import translate, ways
from naru.engines.kubernetes.answers import Holder
from naru.engines.kubernetes.mirror import Mirror
from naru.engines.kubernetes.naming import (
    NUMBER_LABEL,
    belongs,
    claim_name,
    numbered_name,
    pull_secret_name,
    revision_name,
    schedule_name,
)
from naru.engines.kubernetes.pods import Birth, first_to_go
from naru.engines.kubernetes.reading import Owned, Schedule
from naru.engines.kubernetes.wire import Wire
from naru.engines.scale import leaving, outworn
from naru.oci.reference import Reference

APPEARING = 15.0
"""Seconds in which the cluster's controllers have to make pods, before `make` returns while they are on their way."""
LOOK_AGAIN = 1.0
"""Seconds between two looks at why pods are not made."""
LEAVING = 30.0
"""Seconds for which a pod may be late to go, beyond its grace: its node may be lost."""
CLAIMED = 0.2
"""Seconds between two looks at claims, which are not watched."""
KINDS: Sequence[type[NamespacedResource]] = (
    CronJob,
    Job,
    HorizontalPodAutoscaler,
    Deployment,
    StatefulSet,
    Service,
    PodDisruptionBudget,
    Secret,
)
"""What is made for an app, but for its volumes."""
WAYS: Sequence[type[NamespacedResource]] = (Ingress, ways.HttpRoute)
"""What leads to an app from outside the cluster, where that is wanted."""
LIVING = (Deployment, StatefulSet, CronJob, Job, Service, PersistentVolumeClaim)
"""What keeps a project's namespace: without any of these nothing runs, nothing is kept, and nobody is reached."""

HOLDERS: Mapping[WorkloadKind, Sequence[type[NamespacedResource]]] = {
    WorkloadKind.SERVICE: (Deployment,),
    WorkloadKind.WORKER: (Deployment,),
    WorkloadKind.EDGE: (Deployment,),
    WorkloadKind.STATEFUL: (StatefulSet,),
    WorkloadKind.BATCH: (Job,),
    WorkloadKind.TRAINING: (Job,),
    WorkloadKind.SCHEDULED: (CronJob, Job),
}
"""What makes the pods of a kind, in the order in which it goes."""


class Making:
    """Acts in the namespace of `wire`, looking through `mirror`, with credentials for registries by their names."""

    def __init__(
        self, wire: Wire, mirror: Mirror, clock: Callable[[], datetime], credentials: Mapping[str, Credentials]
    ) -> None:
        self._wire = wire
        self._mirror = mirror
        self._clock = clock
        self._credentials = credentials

    async def make(
        self, release: Release, replicas: int, secrets: Mapping[str, bytes], retire: Collection[str]
    ) -> None:
        """See Engine.apply; `replicas` is at least 1."""
        await self._wire.ensure_namespace(
            translate.namespace_for(self._wire.owner, self._wire.access.namespace, release.workload.project)
        )
        await self._surround(release, secrets)
        match release.workload.kind:
            case WorkloadKind.SCHEDULED:
                await self._schedule(release)
            case WorkloadKind.BATCH | WorkloadKind.TRAINING:
                await self._run(release, replicas)
            case WorkloadKind.STATEFUL:
                await self._number(release, replicas, retire)
            case WorkloadKind.SERVICE | WorkloadKind.WORKER | WorkloadKind.EDGE:
                await self._deploy(release, replicas, retire)

    async def unmake(self, release: Release) -> None:
        """Let nothing of a revision be."""
        app, revision = release.app, release.revision
        before = self._pods(app, revision)
        if release.workload.autoscale:
            await self._wire.delete_all(HorizontalPodAutoscaler, app, revision)
        for kind in HOLDERS[release.workload.kind]:
            await self._wire.delete_all(kind, app, revision)
        await self._wire.delete_all(Secret, app, revision)
        await self._gone(before)
        await self._mirror.until(lambda: not self._schedules(app, revision), APPEARING)

    async def remove(self, app: str, *, volumes: bool) -> None:
        """Let nothing of an app be, but its volumes unless they are to go too."""
        before = self._pods(app)
        # A schedule that is still there could start one more run.
        await self._wire.delete_all(CronJob, app)
        exposed = WAYS if self._wire.access.expose else ()
        await together(self._wire.delete_all(kind, app) for kind in (*KINDS[1:], *exposed))
        await self._gone(before)
        await self._mirror.until(lambda: not self._schedules(app), APPEARING)
        if volumes:
            await self._wire.delete_all(PersistentVolumeClaim, app)
            await self._unclaimed(app)

    async def tidy(self) -> None:
        """Remove a project's namespace that holds nothing any more."""
        if await self._wire.is_empty(LIVING):
            await self._wire.delete_namespace()

    # --- kinds ------------------------------------------------------------------------------------------------

    async def _deploy(self, release: Release, replicas: int, retire: Collection[str]) -> None:
        app, revision = release.app, release.revision
        name = revision_name(app, revision)
        told = self._told(app, revision)
        drifted = [one for one, instance in told if instance.drift]
        whole = {one.id: one for one, instance in told if not instance.drift}
        held = await self._wire.held(Deployment, name)
        replicas = await self._scaled(release, replicas, held)
        surplus = leaving([i for _, i in told if not i.drift], len(whole) - replicas, retire)
        going = [whole[instance.id] for instance in surplus]
        await together(self._wire.annotate(one.id, first_to_go(True)) for one in going)
        born = self._birth(release, held)
        await self._wire.apply(translate.deployment(self._wire.owner, release, replicas, born), app, held)
        await together(self._wire.delete(one.id) for one in drifted)
        await self._appeared(release, replicas, Deployment, name)
        await self._dismiss(release, replicas, [*going, *drifted])

    async def _scaled(self, release: Release, replicas: int, held: Holder | None) -> int:
        """Let the cluster scale where it may, and return the count to ask for: the one that it chose, once it may."""
        scale = release.workload.autoscale
        if scale is None:
            return replicas
        if replicas < scale.min:  # on its way in or out: Naru counts
            await self._wire.delete_all(HorizontalPodAutoscaler, release.app, release.revision)
            return replicas
        await self._wire.apply(translate.autoscaler(self._wire.owner, release, scale), release.app)
        return held.spec.replicas if held and scale.min <= held.spec.replicas <= scale.max else replicas

    async def _run(self, release: Release, replicas: int) -> None:
        name = revision_name(release.app, release.revision)
        held = await self._wire.held(Job, name)
        born = self._birth(release, held)
        await self._wire.apply(translate.job(self._wire.owner, release, replicas, born), release.app, held)
        await self._appeared(release, replicas, Job, name)

    async def _schedule(self, release: Release) -> None:
        name = schedule_name(release.app, release.revision)
        held = await self._wire.holder(CronJob, name)
        born = self._birth(release, None)
        await self._wire.apply(translate.cron_job(self._wire.owner, release, born), release.app, held)
        await self._mirror.until(lambda: bool(self._schedules(release.app, release.revision)), APPEARING)

    async def _number(self, release: Release, replicas: int, retire: Collection[str]) -> None:
        app, owner = release.app, self._wire.owner
        sets = {_number(one): one for one in await self._wire.all_held(StatefulSet, app)}
        mine = {number: one for number, one in sets.items() if _revision(one) == release.revision}
        told = [(one, instance) for one, instance in self._told(app, release.revision) if one.number in mine]
        worn = [one for one, instance in told if outworn(instance, retire)]
        surplus = max(0, len(mine) - replicas)
        useless = [*sorted(mine.keys() - {one.number for one, _ in told}), *(one.number for one in worn)][:surplus]
        numbers = {one.id: one.number for one, _ in told}
        staying = [instance for one, instance in told if one not in worn]
        ending = {*useless, *(numbers[one.id] for one in leaving(staying, surplus - len(useless), retire))}
        going = [one for one, _ in told if one.number in ending or one in worn]
        await together(self._wire.delete_all(StatefulSet, app, release.revision, number) for number in ending)
        await together(self._wire.delete(one.id) for one in worn)
        await self._gone(going)
        free = (number for number in count(1) if number not in sets or number in ending)
        wanted = [*(mine.keys() - ending)]
        wanted += [next(free) for _ in range(replicas - len(wanted))]
        for number in sorted(wanted):
            held = None if number in ending else mine.get(number)
            await together(
                self._claim(app, volume, number) for volume in {one.name for one in release.workload.volumes}
            )
            one = translate.stateful_set(owner, release, number, self._birth(release, held))
            await self._wire.apply(one, app, held)
        await self._appeared(release, replicas, StatefulSet, *(numbered_name(app, number) for number in wanted))

    # --- steps ------------------------------------------------------------------------------------------------

    async def _surround(self, release: Release, secrets: Mapping[str, bytes]) -> None:
        """Make what the pods need: volumes, secrets, the name for clients, and the rule for drains."""
        workload, app, owner = release.workload, release.app, self._wire.owner
        steps: list[Coroutine[object, object, None]] = []
        if workload.port and not workload.kind.ends:
            on_nodes = await self._lead_in(workload)
            hosts = [translate.service(owner, workload, host, on_nodes=on_nodes) for host in workload.hosts]
            steps += [self._wire.apply(one, app) for one in hosts]
        if workload.replicas > 1 and not workload.kind.ends:
            steps.append(self._wire.apply(translate.budget(owner, app), app))
        registry = Reference.parse(release.image.reference).domain
        if workload.project and registry in self._credentials:
            steps.append(self._wire.apply_blindly(translate.pull_secret(owner, self._credentials[registry])))
        if workload.secrets:
            steps.append(self._wire.create(translate.secret(owner, release, secrets)))
        if workload.kind is not WorkloadKind.STATEFUL:
            steps += [self._claim(app, name) for name in {volume.name for volume in workload.volumes}]
        await together(steps)

    async def _lead_in(self, workload: Workload) -> bool:
        """Let the cluster lead to the app, where that is wanted, and say whether by a port of the nodes."""
        owner, app, wish = self._wire.owner, workload.app, self._wire.access.expose
        if not wish or not workload.served:
            return False
        gateways, classes = await asyncio.gather(self._wire.gateways(), self._wire.ingress_classes())
        way = ways.choose(wish, workload.address.host, gateways, classes)
        match way:
            case ways.ByGateway():
                await self._wire.apply(ways.http_route(owner, workload, way), app)
                await self._wire.delete_all(Ingress, app)
            case ways.ByIngress():
                await self._wire.apply(ways.ingress(owner, workload, way), app)
                await self._wire.delete_all(ways.HttpRoute, app)
            case ways.ByNodePort():
                await together(self._wire.delete_all(kind, app) for kind in WAYS)
        return isinstance(way, ways.ByNodePort)

    async def _claim(self, app: str, volume: str, number: int = 1) -> None:
        """Make a volume's claim; one that is there stays, as most of it can never change."""
        wanted = translate.claim(self._wire.owner, app, volume, self._wire.access.claim_size, number)
        held = await self._wire.holder(PersistentVolumeClaim, claim_name(app, volume, number))
        if held is None or not belongs(held.metadata.labels, self._wire.owner, app):
            await self._wire.apply(wanted, app)

    def _birth(self, release: Release, held: Holder | None) -> Birth:
        """What the revision's pods are made with, as those before them were."""
        registry = Reference.parse(release.image.reference).domain
        pull = pull_secret_name(self._wire.owner, registry) if registry in self._credentials else ""
        return (held and translate.birth(held)) or Birth(release.number, pull)

    def _told(self, app: str, revision: str) -> Sequence[tuple[Owned, Instance]]:
        """The revision's pods that were not told to go, with what is told of them."""
        return [(one, self._mirror.tell(one)) for one in self._staying(app, revision)]

    def _staying(self, app: str, revision: str) -> Sequence[Owned]:
        return [one for one in self._pods(app, revision) if not one.stopping]

    def _pods(self, app: str, revision: str = "") -> Sequence[Owned]:
        return [one for one in self._mirror.pods(app, revision) if one.namespace == self._wire.namespace]

    def _schedules(self, app: str, revision: str = "") -> Sequence[Schedule]:
        return [one for one in self._mirror.schedules(app, revision) if one.namespace == self._wire.namespace]

    async def _appeared(self, release: Release, replicas: int, kind: type[NamespacedResource], *names: str) -> None:
        """Wait until so many pods are there, none of them told to go; raise why the cluster makes none."""
        app, revision = release.app, release.revision
        deadline = self._clock() + timedelta(seconds=APPEARING)
        while not await self._mirror.until(lambda: len(self._staying(app, revision)) == replicas, LOOK_AGAIN):
            for name in names:
                await self._raise_refused(kind, name)
            if self._clock() > deadline:
                return

    async def _dismiss(self, release: Release, replicas: int, going: Sequence[Owned]) -> None:
        """Wait until pods are gone; controllers prefer those that are not ready over those that we name."""
        app, revision, old = release.app, release.revision, {one.uid for one in going}
        spared = [one for one in self._staying(app, revision) if one.uid in old]
        if spared:
            await together(self._wire.delete(one.id) for one in spared)
            await self._mirror.until(
                lambda: len(now := self._staying(app, revision)) == replicas and not any(one.uid in old for one in now),
                APPEARING,
            )
        await self._gone(going)

    async def _raise_refused(self, kind: type[NamespacedResource], name: str) -> None:
        """Raise what keeps the controllers from making pods, such as a quota."""
        held = await self._wire.held(kind, name)
        for condition in held.status.conditions if held else ():
            if condition.type == "ReplicaFailure" and condition.status == "True":
                _refused(condition.message)
        if kind is not Deployment:  # only that one's conditions tell
            for message in await self._wire.failures(name):
                _refused(message)

    async def _unclaimed(self, app: str) -> None:
        """Wait until the app's claims are gone: they stay as long as pods that are on their way out."""
        deadline = self._clock() + timedelta(seconds=LEAVING)
        while await self._wire.claims(app):
            if self._clock() > deadline:
                return
            await asyncio.sleep(CLAIMED)

    async def _gone(self, pods: Sequence[Owned]) -> None:
        """Wait until pods are gone, or so late that their nodes must be lost."""
        ids = {one.uid for one in pods}
        grace = max((one.shape.stop_grace for one in pods if one.shape), default=0.0)
        await self._mirror.until(lambda: not ids & {one.uid for one in self._mirror.pods()}, grace + LEAVING)


async def together(steps: Iterable[Coroutine[object, object, None]]) -> None:
    """Take steps side by side; all are taken before the first error is raised."""
    for result in await asyncio.gather(*steps, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def _refused(message: str) -> NoReturn:
    if "quota" in message:
        raise Conflict(message, "raise the namespace's quota, or ask for less")
    if "violates PodSecurity" in message or "forbidden" in message:
        raise Forbidden(message, "allow it in the namespace, or change the workload")
    raise Invalid(message, "change the workload")


def _number(held: Holder) -> int:
    return int(held.metadata.labels[NUMBER_LABEL])


def _revision(held: Holder) -> str:
    return held.metadata.labels.get(REVISION_LABEL, "")
