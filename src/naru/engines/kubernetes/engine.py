"""The Kubernetes engine: does what it is told, and tells what it sees."""

import asyncio
import math
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

from naru.domain.account import Credentials
from naru.domain.errors import Conflict, Forbidden, NotFound
from naru.domain.image import Image, Platform
from naru.domain.instance import ExecResult, Instance, LogLine, Usage
from naru.domain.release import Release
from naru.domain.rollout import LayerProgress
from naru.domain.target import Capacity, Feature, Target
from naru.engines.base import Change, Stored
from naru.engines.kubernetes import carrier, reading, translate
from naru.engines.kubernetes.access import access
from naru.engines.kubernetes.answers import Node
from naru.engines.kubernetes.making import LEAVING, Making
from naru.engines.kubernetes.mirror import Mirror
from naru.engines.kubernetes.naming import image_name, namespace_of
from naru.engines.kubernetes.reading import Owned
from naru.engines.kubernetes.translate import amount
from naru.engines.kubernetes.wire import Wire

ABILITIES = (
    Feature.VOLUMES,
    Feature.SECRET_FILES,
    Feature.COMMAND_CHECKS,
    Feature.LIMITS,
    Feature.EXEC,
    Feature.STATS,
    Feature.JOBS,
    Feature.SCHEDULES,
    Feature.AUTOSCALE,
    Feature.OWN_VOLUMES,
    Feature.PROJECT_NETWORKS,
    Feature.VOLUME_COPIES,
)
MEASURED = frozenset({Feature.STATS, Feature.AUTOSCALE})
"""What takes a metrics API."""
ROAMING = frozenset({Feature.PROJECT_NETWORKS})
"""What takes the right to make namespaces."""
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
    """Implements OpenEngine; opened by `open_kubernetes`."""

    def __init__(
        self, wire: Wire, tasks: asyncio.TaskGroup, *, name: str, site: str, clock: Callable[[], datetime]
    ) -> None:
        self.name = name
        self._site = site
        self._wire = wire
        self._clock = clock
        self._mirror = Mirror(wire, tasks, clock)
        self._credentials: dict[str, Credentials] = {}
        self._apps: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def close(self) -> None:
        """Follow no more; the instances stay as they are."""
        await self._mirror.close()

    # --- Engine -----------------------------------------------------------------------------------------------

    async def describe(self) -> Target:
        """See Engine. Without the right to list nodes, the capacity is unknown and told as none."""
        version, nodes, measures, roams, _ = await asyncio.gather(
            self._wire.version(), self._nodes(), self._wire.measures(), self._wire.roams(), self._mirror.in_step()
        )
        lacking = (MEASURED if not measures else frozenset()) | (ROAMING if not roams else frozenset())
        usable = [node for node in nodes if not node.spec.unschedulable]
        instances = [self._mirror.tell(one) for one in self._mirror.pods()]
        return Target(
            name=self.name,
            engine="kubernetes",
            version=version.git_version,
            site=self._site,
            platform=_platform(usable or nodes),
            features=tuple(one for one in ABILITIES if one not in lacking),
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
        image_name(image)
        await self._mirror.in_step()
        if credentials:
            await self._wire.ensure_namespace(translate.namespace(self._wire.access.namespace))
            await self._wire.apply_blindly(translate.pull_secret(self._wire.owner, credentials))
            self._credentials[credentials.registry] = credentials
        return
        yield

    async def apply(
        self, release: Release, replicas: int, *, secrets: Mapping[str, bytes], retire: Collection[str] = ()
    ) -> None:
        """See Engine. A revision of which nothing shall run has no objects but what its app has in common."""
        translate.refuse(release, secrets, self._wire.namespace)
        await self._mirror.in_step()
        if (project := release.workload.project) and not await self._wire.roams():
            raise Forbidden(
                f"{self.name} may make no namespace for the project {project}",
                "grant the account what deploy/kubernetes/rbac-projects.yaml lists",
            )
        making = self._making(namespace_of(self._wire.namespace, project))
        async with self._apps[release.app]:
            if replicas == 0:
                await making.unmake(release)
            else:
                await making.make(release, replicas, secrets, retire)

    async def observe(self, app: str = "") -> Sequence[Instance]:
        """See Engine."""
        await self._mirror.in_step()
        seen = [self._mirror.tell(one) for one in self._mirror.pods(app)]
        return [*(reading.standing(one) for one in self._mirror.schedules(app)), *seen]

    def watch(self) -> AsyncIterator[Change]:
        """See Engine."""
        return self._mirror.watch()

    async def remove(self, app: str, *, volumes: bool = False) -> None:
        """See Engine."""
        await self._mirror.in_step()
        home = self._wire.namespace
        async with self._apps[app]:
            known = {one.namespace for one in self._mirror.pods(app)}
            known |= {one.namespace for one in self._mirror.schedules(app)}
            projects = await self._wire.projects() if not known and await self._wire.roams() else known - {home}
            await self._making(home).remove(app, volumes=volumes)
            for project in projects:
                making = self._making(project)
                await making.remove(app, volumes=volumes)
                await making.tidy()

    # --- Window -----------------------------------------------------------------------------------------------

    async def logs(
        self, instance: str, *, follow: bool = False, since: datetime | None = None, tail: int | None = None
    ) -> AsyncIterator[LogLine]:
        """See Window. The API does not tell the streams apart: every line is of stdout."""
        await self._mirror.in_step()
        one = self._mirror.find(instance)
        wire, restarts = self._wire.within(one.namespace), _restarts(one)
        while True:
            last = since
            # The API documents no other start than seconds ago; the lines' own times cut exactly.
            seconds = max(1, math.ceil((self._clock() - since).total_seconds() + SKEW)) if since else None
            async with aclosing(wire.log(instance, follow=follow, seconds=seconds, tail=tail)) as lines:
                async for text in lines:
                    line = _line(instance, text)
                    if since is None or line.at >= since:
                        last = line.at
                        yield line
            if not follow:
                return
            await self._mirror.until(partial(self._is_another, instance, restarts), LEAVING)
            try:
                one = self._mirror.find(instance)
            except NotFound:
                return
            if one.over:
                return
            restarts = _restarts(one)
            since, tail = (last or self._clock()) + timedelta(microseconds=1), None

    async def execute(self, instance: str, command: Sequence[str], *, stdin: bytes = b"") -> ExecResult:
        """See Window."""
        await self._mirror.in_step()
        one = self._mirror.find(instance)
        return await self._wire.within(one.namespace).run(one.id, command, stdin)

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
            sample = await self._wire.within(one.namespace).metrics(instance)
            if sample and sample.timestamp != at:
                at = sample.timestamp
                yield reading.usage(one, sample, room.get(one.node, 0))
            await asyncio.sleep(SAMPLING)
            one = self._mirror.find(instance)

    # --- Volumes ----------------------------------------------------------------------------------------------

    async def volumes(self, app: str) -> Sequence[Stored]:
        """See Volumes."""
        await self._mirror.in_step()
        projects = await self._wire.projects() if await self._wire.roams() else ()
        places = (self._wire.namespace, *projects)
        return await carrier.stored(map(self._wire.within, places), app)

    async def pack(self, release: Release, volume: str) -> AsyncIterator[bytes]:
        """See Volumes."""
        async with aclosing(self._carrier(release).pack(volume)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def unpack(self, release: Release, volume: str, archive: AsyncIterator[bytes]) -> None:
        """See Volumes."""
        await self._mirror.in_step()
        if any(not one.over for one in self._mirror.pods(release.app)):
            raise Conflict(f"an instance of {release.app} may use the volume {volume}", "stop the app first")
        async with self._apps[release.app]:
            await self._carrier(release).unpack(volume, archive)

    # --- looking ----------------------------------------------------------------------------------------------

    def _making(self, namespace: str) -> Making:
        return Making(self._wire.within(namespace), self._mirror, self._clock, self._credentials)

    def _carrier(self, release: Release) -> carrier.Carrier:
        wire = self._wire.within(namespace_of(self._wire.namespace, release.workload.project))
        return carrier.Carrier(wire, release, self._credentials)

    async def _nodes(self) -> Sequence[Node]:
        try:
            return await self._wire.nodes()
        except Forbidden:
            return ()

    def _is_another(self, instance: str, restarts: int) -> bool:
        """Whether an instance is gone or over, or its process another than it was."""
        try:
            one = self._mirror.find(instance)
            return one.over or _restarts(one) != restarts
        except NotFound:
            return True


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
