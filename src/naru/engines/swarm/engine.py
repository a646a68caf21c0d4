"""The Swarm engine: does what it is told, and tells what it sees."""

import asyncio
import itertools
import logging
from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from naru.domain.account import Credentials
from naru.domain.errors import Conflict, NotFound
from naru.domain.image import Image, Origin, Platform
from naru.domain.instance import ExecResult, Instance, LogLine, Usage
from naru.domain.kind import WorkloadKind
from naru.domain.release import Release
from naru.domain.rollout import LayerProgress
from naru.domain.target import Capacity, Feature, Target
from naru.domain.workload import Workload
from naru.engines.base import Change, Stored
from naru.engines.dockerapi import carrier, images
from naru.engines.dockerapi.answers import NEVER
from naru.engines.dockerapi.disk import disk_free
from naru.engines.dockerapi.networks import Cabling, Networks
from naru.engines.dockerapi.steps import Together
from naru.engines.dockerapi.translate import keep_secrets_out_of_volumes, usage
from naru.engines.scale import leaving
from naru.engines.swarm import secrets as vault
from naru.engines.swarm import translate
from naru.engines.swarm import volumes as storage
from naru.engines.swarm.answers import Node
from naru.engines.swarm.ingress import ingress_problem
from naru.engines.swarm.logs import read
from naru.engines.swarm.lookout import Lookout
from naru.engines.swarm.nodes import Reach, engine_urls
from naru.engines.swarm.translate import Owned, service_name
from naru.engines.swarm.wire import SwarmWire

AT_ONCE = 8
"""Services that are created or changed at the same time."""
GLANCE = 0.1
"""Seconds between two looks at tasks that are stopping."""
RELEASE_PATIENCE = 30.0
"""Seconds in which nodes let go of networks, secrets and volumes of tasks that are gone."""
KEEP_OUTPUT = 1 << 20
"""Bytes kept of each stream of an executed command."""
ABILITIES = (
    Feature.VOLUMES,
    Feature.SECRET_FILES,
    Feature.COMMAND_CHECKS,
    Feature.LIMITS,
    Feature.EXEC,
    Feature.STATS,
    Feature.RESTARTS,
    Feature.JOBS,
    Feature.OWN_VOLUMES,
    Feature.PROJECT_NETWORKS,
    Feature.VOLUME_COPIES,
)
_NEAR = frozenset({Feature.EXEC, Feature.STATS, Feature.VOLUME_COPIES})
"""What only the engine of the node where an instance or a volume is can do."""

log = logging.getLogger(__name__)


@asynccontextmanager
async def open_swarm(
    url: str, tasks: asyncio.TaskGroup, *, name: str = "swarm", site: str = "home", owner: str = "naru"
) -> AsyncIterator["SwarmEngine"]:
    """Open the swarm whose manager is at a URL such as swarm+unix:///var/run/docker.sock, and follow it to the end.

    The URL may name other nodes' engines too, see `engine_urls`; raises Invalid for one that says anything else.
    Succeeds while the manager is away; the methods then raise Unavailable. Checks and listening run in `tasks`.
    `owner` names this Naru among those that share the swarm; what it makes carries another name than on one engine,
    so that the engine of a node, a target of its own perhaps, leaves the swarm's containers and volumes alone.
    """
    async with AsyncExitStack() as stack:
        opened = [SwarmWire(one, name, f"{owner}-swarm") for one in engine_urls(url)]
        wire, *others = [await stack.enter_async_context(one) for one in opened]
        if wire.local and (problem := ingress_problem()):
            log.info("%s: %s", name, problem)
        engine = SwarmEngine(wire, Reach(wire, others), tasks, site=site)
        try:
            yield engine
        finally:
            await engine.close()


class SwarmEngine:
    """Implements OpenEngine; opened by `open_swarm`."""

    def __init__(self, wire: SwarmWire, reach: Reach, tasks: asyncio.TaskGroup, *, site: str) -> None:
        self.name = wire.name
        self._site = site
        self._wire = wire
        self._reach = reach
        self._lookout = Lookout(wire, reach, tasks)
        self._apps: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._networks = Networks(wire, Cabling("overlay", translate.network_name, self._guests, self._delete_network))
        self._together = Together(AT_ONCE)
        self._credentials: dict[str, Credentials] = {}

    async def close(self) -> None:
        """Stop listening and checking; the instances stay as they are."""
        await self._lookout.close()

    # --- Engine -----------------------------------------------------------------------------------------------

    async def describe(self) -> Target:
        """See Engine. Capacity is that of the nodes that take tasks; of several nodes the disks are not known."""
        version, info, nodes, seen = await asyncio.gather(
            self._wire.version(), self._wire.membership(), self._wire.nodes(), self.observe()
        )
        able = [node for node in nodes.values() if translate.alive(node) and node.spec.availability == "active"]
        alone = len(nodes) == 1
        _, far = await self._sides(nodes)
        disk = await asyncio.to_thread(disk_free, Path(info.docker_root_dir)) if alone and self._wire.local else 0
        return Target(
            name=self.name,
            engine="swarm",
            version=version.version,
            site=self._site,
            identity=info.swarm.cluster.id,
            platform=Platform(version.os, version.arch),
            features=tuple(f for f in ABILITIES if alone or not far or f not in _NEAR),
            capacity=Capacity(
                cpus=sum(node.description.resources.nano_cpus for node in able) / 1e9,
                memory=sum(node.description.resources.memory_bytes for node in able),
                disk_free=disk,
                instances=sum(bool(one.address) for one in seen),
                nodes=len(able),
            ),
            problem="" if able else f"none of its {len(nodes)} nodes takes tasks",
        )

    async def find(self, reference: str) -> Image | None:
        """See Engine. An image that one node of several has is not found: the others could not run it."""
        if len(await self._wire.nodes()) > 1:
            return None
        return await images.find(self._wire, reference)

    async def fetch(
        self, image: Image, *, credentials: Credentials | None = None, archive: Path | None = None
    ) -> AsyncGenerator[Sequence[LayerProgress], None]:
        """See Engine. The manager's node pulls; the others do when they start a task, with the same credentials.

        An image that no registry has is brought to every node; raises Conflict when one that lacks it may be out of
        reach.
        """
        if credentials:
            self._credentials[image.digest] = credentials
        wires = [self._wire]
        if image.origin is not Origin.REGISTRY:
            nodes = await self._wire.nodes()
            near, far = await self._sides(nodes)
            if far and not await images.held(self._wire, image):
                raise Conflict(
                    f"{self.name} has {len(nodes)} nodes, and {image.reference} is in no registry that they could ask",
                    "push it to a registry that all nodes reach, and deploy it from there; or name the engines of "
                    f"{', '.join(far)} in the swarm's URL with node=",
                )
            wires = wires if far else list(near.values())
        for wire in wires:
            async with aclosing(images.fetch(wire, image, credentials, archive)) as reports:  # type: ignore[type-var]
                async for report in reports:
                    yield report

    async def _sides(self, nodes: Mapping[str, Node]) -> tuple[Mapping[str, SwarmWire], Sequence[str]]:
        """Return the engines within reach by their nodes, and name the other nodes; none that is away counts."""
        there = {one.id: one.description.hostname for one in nodes.values() if translate.alive(one)}
        near = await self._reach.engines(there)
        return near, sorted(name for node, name in there.items() if node not in near)

    async def apply(
        self, release: Release, replicas: int, *, secrets: Mapping[str, bytes], retire: Collection[str] = ()
    ) -> None:
        """See Engine."""
        keep_secrets_out_of_volumes(release.workload)
        vault.demand_values(release, secrets)
        async with self._apps[release.app]:
            revision = release.revision
            seen = await self._lookout.look(release.app)
            told = [(one, self._lookout.tell(one)) for one in seen if one.revision == revision and not one.stopping]
            whole = [instance for _, instance in told if not instance.drift]
            gone = {one.id for one in leaving(whole, len(whole) - replicas, retire)}
            staying = {one.shape.number for one, i in told if one.shape and not i.drift and i.id not in gone}
            if release.workload.kind is WorkloadKind.STATEFUL:
                staying |= {one.shape.number for one in seen if one.shape and one.revision != revision}
            unfinished = [one for one in seen if one.stopping]
            await self._stop([*unfinished, *(one for one, i in told if i.drift or i.id in gone)])
            numbers = (number for number in itertools.count(1) if number not in staying)
            await self._make(release, list(itertools.islice(numbers, max(0, replicas - len(whole)))), secrets)
            if not replicas:
                await vault.tidy(self._wire, release.app)
        self._lookout.wake()

    async def observe(self, app: str = "") -> Sequence[Instance]:
        """See Engine."""
        return [self._lookout.tell(one) for one in await self._lookout.look(app)]

    def watch(self) -> AsyncIterator[Change]:
        """See Engine."""
        return self._lookout.watch()

    async def remove(self, app: str, *, volumes: bool = False) -> None:
        """See Engine. Raises Conflict, after all else is done, when volumes may be left on other nodes."""
        async with self._apps[app]:
            seen = await self._lookout.look(app)
            nodes = {node.id: node for one in seen for task in one.tasks if (node := one.nodes.get(task.node_id))}
            await self._stop(seen)
            await vault.tidy(self._wire, app)
            await self._networks.remove(app)
            if volumes:
                near, _ = await self._sides(await self._wire.nodes())
                elsewhere = {one.description.hostname for one in nodes.values() if one.id not in near}
                await storage.remove(app, near, elsewhere, self._released)

    # --- Window -----------------------------------------------------------------------------------------------

    async def logs(
        self, instance: str, *, follow: bool = False, since: datetime | None = None, tail: int | None = None
    ) -> AsyncIterator[LogLine]:
        """See Window. Swarm brings the lines of all the instance's tasks, from any node that is there."""
        one = await self._lookout.find(instance)
        async with aclosing(read(self._wire, one, follow=follow, since=since, tail=tail)) as lines:
            async for line in lines:
                yield line

    async def execute(self, instance: str, command: Sequence[str], *, stdin: bytes = b"") -> ExecResult:
        """See Window. Raises Conflict for an instance on a node whose engine is out of reach."""
        wire, container = await self._container(instance, "run a command in it")
        return ExecResult(*await wire.run(container, command, stdin, KEEP_OUTPUT))

    async def usage(self, instance: str) -> AsyncIterator[Usage]:
        """See Window. Raises Conflict for an instance on a node whose engine is out of reach."""
        wire, container = await self._container(instance, "measure it")
        async with aclosing(wire.stats(container)) as samples:
            async for sample in samples:
                if sample.read.year == NEVER:
                    return
                if used := usage(instance, sample):
                    yield used

    # --- Volumes ----------------------------------------------------------------------------------------------

    async def volumes(self, app: str) -> Sequence[Stored]:
        """See Volumes. Those of the nodes within reach."""
        near, _ = await self._sides(await self._wire.nodes())
        return await storage.stored(near, app)

    async def pack(self, release: Release, volume: str) -> AsyncIterator[bytes]:
        """See Volumes. Raises Conflict for one that several nodes have: nobody knows which is the right one."""
        near, _ = await self._sides(await self._wire.nodes())
        wire = await storage.holder(near, release.app, volume)
        async for chunk in carrier.pack(wire, release.app, release.image, volume):
            yield chunk

    async def unpack(self, release: Release, volume: str, archive: AsyncIterator[bytes]) -> None:
        """See Volumes. All volumes of an app come to one node, where its instances find them."""
        async with self._apps[release.app]:
            if await self._lookout.look(release.app):
                raise Conflict(f"the volume {volume} of {release.app} is in use", "stop the app first")
            nodes = await self._wire.nodes()
            near, far = await self._sides(nodes)
            if far:
                raise storage.out_of_reach(release.app, far)
            able = {node: wire for node, wire in near.items() if nodes[node].spec.availability == "active"}
            wire = await storage.vacate(near, able, release.app, volume, self._released)
            await carrier.unpack(wire, release.app, release.image, volume, archive)

    async def _container(self, instance: str, doing: str) -> tuple[SwarmWire, str]:
        """Return the engine of the instance's node, and its container there."""
        one = await self._lookout.find(instance)
        task, node = one.task, one.node
        if task is None or not one.running:
            raise Conflict(f"{instance} is not running", "wait until it is")
        container = task.status.container_status.container_id
        if wire := await self._reach.engine(task.node_id):
            return wire, container
        where = node.description.hostname if node else translate.short(task.node_id)
        raise Conflict(
            f"{instance} runs on {where}, and only that node can {doing}",
            f"name the engine of {where} in the swarm's URL with node=, or ask it for the container {container[:12]}",
        )

    # --- making and unmaking ----------------------------------------------------------------------------------

    async def _make(self, release: Release, numbers: Sequence[int], secrets: Mapping[str, bytes]) -> None:
        """Create the services of these numbers, with the app's network and the secrets they use."""
        if not numbers:
            return
        image = await images.held(self._wire, release.image)
        if not image:
            raise NotFound(f"{self.name} does not hold {release.image.reference}", "fetch it first")
        project = release.workload.project
        with self._networks.wanted(release.app, project):
            await self._networks.ensure(release.app, project)
            ids = await vault.ensure(self._wire, release, secrets)
            credentials = self._credentials.get(release.image.digest)
            homes = await self._homes(release.workload, numbers)
            await self._together(self._create(release, number, image, ids, homes, credentials) for number in numbers)

    async def _homes(self, workload: Workload, numbers: Sequence[int]) -> Mapping[int, str]:
        """Say on which nodes instances find their volumes; nothing of a swarm that is not within reach as a whole."""
        if not workload.volumes:
            return {}
        near, far = await self._sides(await self._wire.nodes())
        return {} if far else await storage.homes(near, workload, numbers)

    async def _create(
        self,
        release: Release,
        number: int,
        image: str,
        ids: Mapping[str, str],
        homes: Mapping[int, str],
        credentials: Credentials | None,
    ) -> None:
        node = homes.get(number, "")
        spec = translate.service_spec(release, number, image, owner=self._wire.owner, secret_ids=ids, node=node)
        try:
            await self._wire.create_service(spec, credentials)
        except Conflict:
            name = service_name(release.app, release.revision, number)
            holder = await self._wire.service(name)
            one = holder and translate.owned(holder, (), {}, self._wire.owner)
            if one and not one.stopping and (one.app, one.revision) == (release.app, release.revision):
                return
            raise Conflict(
                f"a service that Naru did not make for {release.app} is called {name}", "rename or remove it"
            ) from None

    async def _stop(self, those: Sequence[Owned]) -> None:
        """Stop and delete services; returns once none of their tasks runs, on any node that answers.

        They are scaled to none first and marked, so that they are seen while they stop, and so that whoever finds
        them after a crash goes on.
        """
        if not those:
            return
        await self._together(self._wire.rewrite(one.service.id, translate.stopped) for one in those)
        self._lookout.wake()
        for app in {one.app for one in those}:
            mine = [one for one in those if one.app == app]
            while mine:
                tasks, nodes = await asyncio.gather(self._wire.tasks(app), self._wire.nodes())
                over = [one for one in mine if not translate.waiting(one, tasks, nodes)]
                mine = [one for one in mine if one not in over]
                await self._together(self._wire.delete_service(one.service.id) for one in over)
                if mine:
                    await asyncio.sleep(GLANCE)
        self._lookout.wake()

    async def _guests(self, network: str) -> Sequence[str]:
        """Name the services in a network."""
        return [
            one.id
            for one in await self._lookout.look()
            if translate.network_name(one.app, one.shape.project if one.shape else "") == network
        ]

    async def _delete_network(self, network: str) -> None:
        await self._released(partial(self._wire.delete_network, network))

    async def _released(self, removal: Callable[[], Awaitable[None]]) -> None:
        """Remove something as soon as the nodes have let go of it."""
        deadline = asyncio.get_running_loop().time() + RELEASE_PATIENCE
        while True:
            try:
                return await removal()
            except Conflict:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(GLANCE)
