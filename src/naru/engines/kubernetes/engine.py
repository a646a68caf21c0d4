"""The Kubernetes engine: does what it is told, and tells what it sees."""

import asyncio
import math
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NoReturn

from lightkube.core.resource import NamespacedResource
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import PersistentVolumeClaim, Secret, Service
from lightkube.resources.policy_v1 import PodDisruptionBudget

from naru.domain.account import Credentials
from naru.domain.errors import Conflict, Forbidden, Invalid, NotFound
from naru.domain.image import Image, Platform
from naru.domain.instance import ExecResult, Instance, LogLine, Usage
from naru.domain.release import Release
from naru.domain.rollout import LayerProgress
from naru.domain.target import Capacity, Feature, Target
from naru.engines.base import Change
from naru.engines.kubernetes import reading, translate
from naru.engines.kubernetes.access import access
from naru.engines.kubernetes.answers import Deployment as Seen
from naru.engines.kubernetes.answers import Node
from naru.engines.kubernetes.mirror import Mirror
from naru.engines.kubernetes.reading import Owned
from naru.engines.kubernetes.translate import Birth, amount, deployment_name
from naru.engines.kubernetes.wire import Wire
from naru.engines.scale import leaving
from naru.oci.reference import Reference

ABILITIES = (
    Feature.VOLUMES,
    Feature.SECRET_FILES,
    Feature.COMMAND_CHECKS,
    Feature.LIMITS,
    Feature.EXEC,
    Feature.STATS,
)
APPEARING = 15.0
"""Seconds in which the cluster's controllers have to make pods, before `apply` returns while they are on their way."""
LOOK_AGAIN = 1.0
"""Seconds between two looks at why pods are not made."""
LEAVING = 30.0
"""Seconds for which a pod may be late to go, beyond its grace: its node may be lost."""
SKEW = 60.0
"""Seconds by which a node's clock may differ from ours."""
SAMPLING = 1.0
"""Seconds between two looks for a new sample of what a pod uses."""
_STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?(.*)", re.DOTALL)


@asynccontextmanager
async def open_kubernetes(
    url: str,
    tasks: asyncio.TaskGroup,
    *,
    name: str = "kubernetes",
    site: str = "home",
    owner: str = "naru",
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> AsyncIterator["KubernetesEngine"]:
    """Open the cluster that an URL names (see `access`), and follow its pods until the end, in `tasks`.

    Succeeds while the cluster is away; the engine's methods then raise Unavailable. `owner` names this Naru among those
    that share the namespace.
    """
    async with Wire(access(url), name, owner) as wire:
        engine = KubernetesEngine(wire, tasks, name=name, site=site, clock=clock)
        try:
            yield engine
        finally:
            await engine.close()


class KubernetesEngine:
    """Implements Engine and Window; opened by `open_kubernetes`."""

    def __init__(
        self, wire: Wire, tasks: asyncio.TaskGroup, *, name: str, site: str, clock: Callable[[], datetime]
    ) -> None:
        self.name = name
        self._site = site
        self._wire = wire
        self._clock = clock
        self._mirror = Mirror(wire, tasks, clock)
        self._apps: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._pull_secrets: dict[str, str] = {}

    async def close(self) -> None:
        """Follow no more; the instances stay as they are."""
        await self._mirror.close()

    # --- Engine -----------------------------------------------------------------------------------------------

    async def describe(self) -> Target:
        """See Engine. Without the right to list nodes, the capacity is unknown and told as none."""
        version, nodes, measures, _ = await asyncio.gather(
            self._wire.version(), self._nodes(), self._wire.measures(), self._mirror.in_step()
        )
        usable = [node for node in nodes if not node.spec.unschedulable]
        instances = [self._mirror.tell(one) for one in self._mirror.pods()]
        return Target(
            name=self.name,
            engine="kubernetes",
            version=version.git_version,
            site=self._site,
            platform=_platform(usable or nodes),
            features=tuple(f for f in ABILITIES if measures or f is not Feature.STATS),
            capacity=Capacity(
                cpus=sum(amount(node.status.allocatable.get("cpu", "0")) for node in usable),
                memory=round(sum(amount(node.status.allocatable.get("memory", "0")) for node in usable)),
                disk_free=0,
                instances=sum(bool(one.address) for one in instances),
                nodes=max(1, len(usable)),
            ),
        )

    async def find(self, reference: str) -> Image | None:
        """See Engine. Nodes pull what they run, so a cluster holds no image of its own."""
        return None

    async def fetch(
        self, image: Image, *, credentials: Credentials | None = None, archive: object = None
    ) -> AsyncIterator[Sequence[LayerProgress]]:
        """See Engine. The nodes pull by themselves when a pod starts; they are given the registry's credentials."""
        translate.image_name(image)
        await self._mirror.in_step()
        if credentials:
            await self._wire.ensure_namespace(translate.namespace(self._wire.access.namespace))
            await self._wire.apply_blindly(translate.pull_secret(self._wire.owner, credentials))
            name = translate.pull_secret_name(self._wire.owner, credentials.registry)
            self._pull_secrets[credentials.registry] = name
        return
        yield

    async def apply(
        self, release: Release, replicas: int, *, secrets: Mapping[str, bytes], retire: Collection[str] = ()
    ) -> None:
        """See Engine. A revision of which nothing shall run has no Deployment."""
        translate.refuse(release, secrets)
        await self._mirror.in_step()
        async with self._apps[release.app]:
            mine = self._mirror.pods(release.app, release.revision)
            if replicas == 0:
                for kind in (Deployment, Secret):
                    await self._wire.delete_all(kind, release.app, release.revision)
                await self._gone(mine)
                return
            told = [(one, self._mirror.tell(one)) for one in mine if not one.stopping]
            drifted = [one for one, instance in told if instance.drift]
            whole = {one.id: one for one, instance in told if not instance.drift}
            surplus = leaving([i for _, i in told if not i.drift], len(whole) - replicas, retire)
            going = [whole[instance.id] for instance in surplus]
            await self._together(self._wire.annotate(one.id, translate.first_to_go(True)) for one in going)
            _, held = await asyncio.gather(
                self._wire.ensure_namespace(translate.namespace(self._wire.access.namespace)),
                self._wire.deployment(deployment_name(release.app, release.revision)),
            )
            await self._surround(release, secrets)
            born = self._birth(release, held)
            await self._wire.apply(translate.deployment(self._wire.owner, release, replicas, born), release.app, held)
            await self._together(self._wire.delete(one.id) for one in drifted)
            await self._appeared(release, replicas, going, drifted)
            await self._gone([*going, *drifted])

    async def observe(self, app: str = "") -> Sequence[Instance]:
        """See Engine."""
        await self._mirror.in_step()
        return [self._mirror.tell(one) for one in self._mirror.pods(app)]

    def watch(self) -> AsyncIterator[Change]:
        """See Engine."""
        return self._mirror.watch()

    async def remove(self, app: str, *, volumes: bool = False) -> None:
        """See Engine."""
        await self._mirror.in_step()
        kinds: list[type[NamespacedResource]] = [Deployment, Service, PodDisruptionBudget, Secret]
        async with self._apps[app]:
            before = self._mirror.pods(app)
            await self._together(self._wire.delete_all(kind, app) for kind in kinds)
            await self._gone(before)
            if volumes:
                await self._wire.delete_all(PersistentVolumeClaim, app)

    # --- Window -----------------------------------------------------------------------------------------------

    async def logs(
        self, instance: str, *, follow: bool = False, since: datetime | None = None, tail: int | None = None
    ) -> AsyncIterator[LogLine]:
        """See Window. The API does not tell the streams apart: every line is of stdout."""
        await self._mirror.in_step()
        restarts = _restarts(self._mirror.find(instance))
        while True:
            last = since
            # The API documents no other start than seconds ago; the lines' own times cut exactly.
            seconds = max(1, math.ceil((self._clock() - since).total_seconds() + SKEW)) if since else None
            async with aclosing(self._wire.log(instance, follow=follow, seconds=seconds, tail=tail)) as lines:
                async for text in lines:
                    line = _line(instance, text)
                    if since is None or line.at >= since:
                        last = line.at
                        yield line
            if not follow:
                return
            await self._mirror.until(partial(self._is_another, instance, restarts), LEAVING)
            try:
                restarts = _restarts(self._mirror.find(instance))
            except NotFound:
                return
            since, tail = (last or self._clock()) + timedelta(microseconds=1), None

    async def execute(self, instance: str, command: Sequence[str], *, stdin: bytes = b"") -> ExecResult:
        """See Window."""
        await self._mirror.in_step()
        return await self._wire.run(self._mirror.find(instance).id, command, stdin)

    async def usage(self, instance: str) -> AsyncIterator[Usage]:
        """See Window. The metrics API measures every 15 seconds or so, and yields as often."""
        await self._mirror.in_step()
        one = self._mirror.find(instance)
        if not await self._wire.measures():
            raise Conflict(f"{self.name} has no metrics API", "install metrics-server")
        nodes = await self._nodes()
        room = {node.metadata.name: round(amount(node.status.allocatable.get("memory", "0"))) for node in nodes}
        at: datetime | None = None
        while True:
            sample = await self._wire.metrics(instance)
            if sample and sample.timestamp != at:
                at = sample.timestamp
                yield reading.usage(one, sample, room.get(one.node, 0))
            await asyncio.sleep(SAMPLING)
            one = self._mirror.find(instance)

    # --- making and unmaking ----------------------------------------------------------------------------------

    async def _surround(self, release: Release, secrets: Mapping[str, bytes]) -> None:
        """Make what the pods need: volumes, secrets, the name for clients, and the rule for drains."""
        workload, app, owner = release.workload, release.app, self._wire.owner
        steps: list[Coroutine[object, object, None]] = [self._wire.apply(translate.service(owner, workload), app)]
        if workload.replicas > 1:
            steps.append(self._wire.apply(translate.budget(owner, app), app))
        if workload.secrets:
            steps.append(self._wire.create(translate.secret(owner, release, secrets)))
        steps += [self._claim(app, name) for name in {volume.name for volume in workload.volumes}]
        await self._together(steps)

    async def _claim(self, app: str, volume: str) -> None:
        """Make a volume's claim; one that is there stays, as most of it can never change."""
        wanted = translate.claim(self._wire.owner, app, volume, self._wire.access.claim_size)
        held = await self._wire.holder(PersistentVolumeClaim, translate.claim_name(app, volume))
        if held is None or not translate.belongs(held.metadata.labels, self._wire.owner, app):
            await self._wire.apply(wanted, app)

    def _birth(self, release: Release, held: Seen | None) -> Birth:
        """What the revision's pods are made with, as those before them were."""
        registry = Reference.parse(release.image.reference).domain
        return (held and translate.birth(held)) or Birth(release.number, self._pull_secrets.get(registry, ""))

    async def _appeared(
        self, release: Release, replicas: int, going: Sequence[Owned], drifted: Sequence[Owned]
    ) -> None:
        """Wait until so many pods are there, none of them told to go; raise why the cluster makes none."""
        old = {one.id for one in (*going, *drifted)}

        def staying() -> Sequence[Owned]:
            return [one for one in self._mirror.pods(release.app, release.revision) if not one.stopping]

        deadline = self._clock() + timedelta(seconds=APPEARING)
        while not await self._mirror.until(lambda: len(staying()) == replicas, LOOK_AGAIN):
            await self._raise_refused(deployment_name(release.app, release.revision))
            if self._clock() > deadline:
                return
        # Controllers prefer pods that are not ready over those that we name.
        spared = [one for one in staying() if one.id in old]
        if spared:
            await self._together(self._wire.delete(one.id) for one in spared)
            await self._mirror.until(
                lambda: len(staying()) == replicas and not any(one.id in old for one in staying()), APPEARING
            )

    async def _raise_refused(self, name: str) -> None:
        """Raise what keeps the controllers from making pods, such as a quota."""
        held = await self._wire.deployment(name)
        for condition in held.status.conditions if held else ():
            if condition.type == "ReplicaFailure" and condition.status == "True":
                _refused(condition.message)

    async def _gone(self, pods: Sequence[Owned]) -> None:
        """Wait until pods are gone, or so late that their nodes must be lost."""
        ids = {one.id for one in pods}
        grace = max((one.shape.stop_grace for one in pods if one.shape), default=0.0)
        await self._mirror.until(lambda: not ids & {one.id for one in self._mirror.pods()}, grace + LEAVING)

    async def _nodes(self) -> Sequence[Node]:
        try:
            return await self._wire.nodes()
        except Forbidden:
            return ()

    def _is_another(self, instance: str, restarts: int) -> bool:
        """Whether an instance is gone, or its process another than it was."""
        try:
            return _restarts(self._mirror.find(instance)) != restarts
        except NotFound:
            return True

    async def _together(self, steps: Iterable[Coroutine[object, object, None]]) -> None:
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


def _platform(nodes: Sequence[Node]) -> Platform:
    """The platform that most nodes have."""
    infos = Counter(
        (node.status.node_info.operating_system or "linux", node.status.node_info.architecture or "amd64")
        for node in nodes
    )
    return Platform(*infos.most_common(1)[0][0]) if infos else Platform()


def _restarts(one: Owned) -> int:
    return one.status.restart_count if one.status else 0


def _line(instance: str, text: str) -> LogLine:
    """Read a line with its time in front, as RFC 3339 with nanoseconds."""
    stamp = _STAMPED.match(text)
    if not stamp:
        return LogLine(instance, datetime.fromtimestamp(0, UTC), "stdout", text)
    seconds, fraction, zone, said = stamp.groups()
    at = datetime.fromisoformat(f"{seconds}.{(fraction or '')[:6].ljust(6, '0')}{zone.replace('Z', '+00:00')}")
    return LogLine(instance, at.astimezone(UTC), "stdout", said.rstrip("\r\n"))
