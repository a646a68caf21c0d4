"""Openers of the engine contract on Kubernetes: the simulator, and real clusters."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
import yaml
from lightkube import ApiError, AsyncClient
from lightkube.resources.core_v1 import Namespace, Pod
from tests.contract.engine_labs import SPEAK, EngineLab, Kind
from tests.contract.kubernetes_cluster import Acts
from tests.contract.kubernetes_simulator import KubernetesSimulator, simulated

from naru.domain.image import Image, Origin, Platform
from naru.domain.instance import Instance
from naru.domain.release import Release
from naru.domain.workload import Restart
from naru.engines.kubernetes import KubernetesEngine, open_kubernetes
from naru.engines.kubernetes.access import Access, access

RBAC = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "rbac.yaml"
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
    Kind.EXITS: Acts(exit_code=3),
    Kind.HUNGRY: Acts(oom=True),
}


class KubernetesLab(EngineLab):
    """A cluster, simulated or real: nodes pull, controllers restart, and the API knows less than a machine does."""

    pulls_beforehand = False
    tells_pull_failures = True
    restarts_always = True
    sees_ports = False
    splits_streams = False

    def release(self, kind: Kind = Kind.SERVES, *, number: int = 1, **changes: object) -> Release:
        """Make a release that restarts always, as there is nothing else."""
        return super().release(kind, number=number, **{"restart": Restart.ALWAYS, **changes})


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
    *, rules: Sequence[Mapping[str, Any]] | None = None, namespace: bool = True
) -> AsyncIterator[SimulatorLab]:
    """Open a lab on a new simulator; `rules` are the account's rights, unless given those of the manifest."""
    simulator = KubernetesSimulator()
    simulator.rules = list(rules) if rules is not None else manifest_rules()
    if namespace:
        made = next(one for one in manifest() if one["kind"] == "Namespace")
        simulator.objects.create(("namespaces", "", NAMESPACE), made, "kubectl")
    with TemporaryDirectory(prefix="naru-lab-") as home:
        kubeconfig = Path(home, "kubeconfig")
        async with simulated(simulator), asyncio.TaskGroup() as tasks:
            await asyncio.to_thread(kubeconfig.write_text, kubeconfig_of(simulator.url))
            async with open_kubernetes(f"kubernetes://{kubeconfig}", tasks, owner=OWNER) as engine:
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
        try:
            yield lab
        finally:
            with suppress(ApiError):
                await lab.client.delete(Namespace, given.namespace)
            await lab.client.close()


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


def manifest() -> list[dict[str, Any]]:
    """Read what an operator applies to give Naru its rights."""
    return list(yaml.safe_load_all(RBAC.read_text()))


def manifest_rules() -> list[dict[str, Any]]:
    """The rules of all the manifest's roles."""
    return [rule for one in manifest() for rule in one.get("rules", ())]
