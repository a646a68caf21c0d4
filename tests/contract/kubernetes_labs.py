"""Openers of the engine contract on Kubernetes: the simulator, and real clusters."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
import yaml
from lightkube import ApiError, AsyncClient
from lightkube.resources.core_v1 import Namespace, Pod
from tests.contract.engine_labs import PLAIN, SPEAK, EngineLab, Forwarder, Kind
from tests.contract.kubernetes_cluster import Acts
from tests.contract.kubernetes_node import Cluster, has_services
from tests.contract.kubernetes_plane import RBAC, manifest
from tests.contract.kubernetes_serving import simulated
from tests.contract.kubernetes_simulator import KubernetesSimulator

from naru.domain.image import Image, Origin, Platform
from naru.domain.instance import Instance
from naru.domain.release import Release
from naru.domain.target import Feature
from naru.domain.workload import Restart
from naru.engines.kubernetes import KubernetesEngine, open_kubernetes
from naru.engines.kubernetes.access import Access, access

NAMESPACE = "naru"
OWNER = "lab"
IMAGE = Image(
    "registry.example/naru-test/busybox:1",
    "sha256:" + "a" * 64,
    "sha256:" + "b" * 64,
    Platform(),
    Origin.REGISTRY,
    size=1000,
)
_ACTS = {
    Kind.SERVES: Acts(),
    Kind.SICK: Acts(answer="HTTP probe failed with statuscode: 500"),
    Kind.DEAF: Acts(answer="dial tcp 10.0.1.1:8081: connect: connection refused"),
    Kind.EXITS: Acts(exit_code=3, says=("going",)),
    Kind.HUNGRY: Acts(oom=True),
    Kind.IDLES: Acts(),
    Kind.ENDS: Acts(exit_code=0),
}


class KubernetesLab(EngineLab):
    """A cluster, simulated or real: nodes pull, controllers restart, and the API knows less than a machine does."""

    pulls_beforehand = False
    tells_pull_failures = True
    restarts_always = True
    sees_ports = False
    splits_streams = False
    features = PLAIN | {Feature.JOBS, Feature.SCHEDULES, Feature.VOLUME_COPIES}

    def release(self, kind: Kind = Kind.SERVES, /, *, number: int = 1, **changes: object) -> Release:
        """Make a release that restarts always, as there is nothing else for what is not meant to end."""
        release = super().release(kind, number=number, **changes)
        if release.workload.kind.ends or "restart" in changes:
            return release
        return replace(release, workload=replace(release.workload, restart=Restart.ALWAYS))


class SimulatorLab(KubernetesLab):
    """The simulator, under the rights of the manifest and no others."""

    def __init__(self, engine: KubernetesEngine, simulator: KubernetesSimulator) -> None:
        super().__init__()
        self.engine: KubernetesEngine = engine
        self.simulator = simulator
        self.image = IMAGE
        simulator.cluster.images.add(f"registry.example/naru-test/busybox@{IMAGE.digest}")
        simulator.commands[SPEAK] = (3, b"out\n", b"err\n")

    def prepare(self, kind: Kind) -> None:
        self.simulator.cluster.acts = _ACTS[kind]

    async def kill(self, instance: Instance) -> None:
        self.simulator.cluster.kill(instance.id)

    async def vanish(self, instance: Instance) -> None:
        self.simulator.cluster.remove(instance.id)

    async def sicken(self, instance: Instance) -> None:
        self.simulator.cluster.sicken(instance.id, "HTTP probe failed with statuscode: 500")

    async def meddle(self, instance: Instance) -> str:
        image = "registry.example/other:2"
        self.simulator.cluster.change_pod(instance.id, image)
        return image

    async def go_away(self) -> None:
        await self.simulator.stop()


@asynccontextmanager
async def simulated_kubernetes_lab(
    *, rules: Sequence[Mapping[str, Any]] | None = None, namespace: bool = True, query: str = ""
) -> AsyncIterator[SimulatorLab]:
    """Open a lab on a new simulator; `rules` are the account's rights, unless given those of the manifest.

    `query` ends the engine's URL.
    """
    simulator = KubernetesSimulator()
    simulator.rules = list(rules) if rules is not None else manifest_rules()
    if namespace:
        made = next(one for one in manifest() if one["kind"] == "Namespace")
        simulator.objects.create(("namespaces", "", NAMESPACE), made, "kubectl")
    with TemporaryDirectory(prefix="naru-lab-") as home:
        kubeconfig = Path(home, "kubeconfig")
        async with simulated(simulator), asyncio.TaskGroup() as tasks:
            await asyncio.to_thread(kubeconfig.write_text, kubeconfig_of(simulator.url))
            async with open_kubernetes(f"kubernetes://{kubeconfig}{query}", tasks, owner=OWNER) as engine:
                yield SimulatorLab(engine, simulator)
    assert simulator.complaints == []


class RealLab(KubernetesLab):
    """A real cluster; what cannot be done to it from outside is done through the pods."""

    pause = 0.2

    def __init__(self, engine: KubernetesEngine, image: Image, access: Access) -> None:
        super().__init__()
        self.engine: KubernetesEngine = engine
        self.image = image
        self.client = AsyncClient(access.config, namespace=access.namespace, field_manager="meddler")

    async def ask(self, instance: Instance, host: str) -> str:
        """Ask for a name as a C library does: with each of the search domains, which busybox leaves out."""
        if host.replace(".", "").isdecimal():
            return await super().ask(instance, host)
        seen = await self.engine.execute(instance.id, ("/bin/cat", "/etc/resolv.conf"))
        _, _, domains = seen.stdout.decode().partition("search ")
        for domain in domains.partition("\n")[0].split():
            if answer := await super().ask(instance, f"{host}.{domain}"):
                return answer
        return ""

    async def kill(self, instance: Instance) -> None:
        pytest.skip("nobody outside of a node can kill a container's first process")

    async def vanish(self, instance: Instance) -> None:
        await self.client.delete(Pod, instance.id, grace_period=0)

    async def sicken(self, instance: Instance) -> None:
        await self.engine.execute(instance.id, ("/bin/touch", "/tmp/sick"))

    async def meddle(self, instance: Instance) -> str:
        image = "registry.example/other:2"
        change = {"spec": {"containers": [{"name": "app", "image": image}]}}
        await self.client.patch(Pod, instance.id, change)
        return image

    async def go_away(self) -> None:
        pytest.skip("a real cluster is not taken away")


@asynccontextmanager
async def kubernetes_lab() -> AsyncIterator[RealLab]:
    """Open a lab on the cluster that NARU_TEST_KUBECONFIG names, in a namespace of its own that goes afterwards.

    NARU_TEST_IMAGE is what tests/images.py makes, as REPOSITORY@sha256:DIGEST in a registry that the nodes reach.
    """
    if "@" not in (name := os.environ.get("NARU_TEST_IMAGE", "")):
        pytest.fail("make e2e was given no NARU_TEST_IMAGE=REPOSITORY@sha256:DIGEST", pytrace=False)
    repository, _, digest = name.partition("@")
    image = Image(f"{repository}:latest", digest, digest, Platform(), Origin.REGISTRY)
    url = f"kubernetes://{os.environ['NARU_TEST_KUBECONFIG']}?namespace=naru-test-{uuid4().hex[:8]}"
    given = access(url)
    async with asyncio.TaskGroup() as tasks, open_kubernetes(url, tasks, owner=OWNER) as engine:
        lab = RealLab(engine, image, given)
        # The image of tests/images.py has no GNU tar.
        lab.features = frozenset((await engine.describe()).features) - {Feature.VOLUME_COPIES}
        try:
            yield lab
        finally:
            with suppress(ApiError):
                await lab.client.delete(Namespace, given.namespace)
            await lab.client.close()


class PortForwarder(Forwarder):
    """Listens on a port of the server's own address, so that its certificate holds there too."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(Path(), Path())
        self._there = (host, port)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server
        return int(self._server.sockets[0].getsockname()[1])

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, self._there[0], 0)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self._there)


class NodeLab(RealLab):
    """The cluster of kubernetes_node, with the rights of the manifest; it speaks through a port that can be cut."""

    def __init__(
        self, engine: KubernetesEngine, cluster: Cluster, administrator: Access, forwarder: PortForwarder
    ) -> None:
        super().__init__(engine, cluster.image, administrator)
        self.cluster = cluster
        self.forwarder = forwarder

    async def kill(self, instance: Instance) -> None:
        pod = await self.client.get(Pod, instance.id)
        assert pod.status
        (status,) = pod.status.containerStatuses or ()
        container = (status.containerID or "").removeprefix("containerd://")
        os.kill(self.cluster.processes(container)[0], signal.SIGKILL)

    async def go_away(self) -> None:
        await self.forwarder.cut()


@asynccontextmanager
async def node_lab(cluster: Cluster) -> AsyncIterator[NodeLab]:
    """Open a lab on a cluster of our own; afterwards nothing of its apps is left."""
    plane = cluster.plane
    host, _, port = plane.server.removeprefix("https://").partition(":")
    forwarder = PortForwarder(host, int(port))
    await forwarder.open()
    with TemporaryDirectory(prefix="naru-lab-") as home:
        admin = access(f"kubernetes://{plane.kubeconfig(Path(home, 'admin'), 'admin')}?namespace={NAMESPACE}")
        through = replace(plane, server=f"https://{host}:{forwarder.port}")
        url = f"kubernetes://{through.kubeconfig(Path(home, 'naru'), 'naru')}"
        async with asyncio.TaskGroup() as tasks, open_kubernetes(url, tasks, owner=OWNER) as engine:
            lab = NodeLab(engine, cluster, admin, forwarder)
            lab.features = frozenset((await engine.describe()).features)
            if not has_services():
                lab.features -= {Feature.PROJECT_NETWORKS}
            try:
                yield lab
            finally:
                await lab.client.close()
        direct = f"kubernetes://{plane.kubeconfig(Path(home, 'naru'), 'naru')}"
        async with asyncio.TaskGroup() as tasks, open_kubernetes(direct, tasks, owner=OWNER) as engine:
            for app in lab.apps:
                await engine.remove(app, volumes=True)
    await forwarder.cut()


def kubeconfig_of(server: str, token: str = "none") -> str:
    """Write a kubeconfig with one context."""
    return str(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "lab",
                "clusters": [{"name": "lab", "cluster": {"server": server}}],
                "users": [{"name": "lab", "user": {"token": token}}],
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
            }
        )
    )


def manifest_rules(*more: Path) -> list[dict[str, Any]]:
    """The rules of the manifest's roles, and of `more` manifests; those of a Role with its namespace."""
    roles = [one for path in (RBAC, *more) for one in manifest(path) if "rules" in one]
    return [
        {**rule, **({"namespace": role["metadata"]["namespace"]} if role["kind"] == "Role" else {})}
        for role in roles
        for rule in role["rules"]
    ]
