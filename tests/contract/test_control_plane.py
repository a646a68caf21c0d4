"""The Kubernetes engine on a real API server and real controllers, under its manifest's rights; no node is there."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.contract.engine_labs import everything
from tests.contract.kubernetes_labs import IMAGE, NAMESPACE, KubernetesLab
from tests.contract.kubernetes_plane import EXPOSE, ControlPlane, control_plane, manifest

from naru.domain.account import Credentials
from naru.domain.errors import Conflict, Forbidden
from naru.domain.instance import InstanceState
from naru.domain.kind import Autoscale, WorkloadKind
from naru.domain.workload import Address, Resources, SecretFile, Volume
from naru.engines.kubernetes import KubernetesEngine, open_kubernetes

pytestmark = [pytest.mark.asyncio, pytest.mark.needs("control plane")]


class PlaneLab(KubernetesLab):
    """Pods exist and never run."""

    pause = 0.1

    def __init__(self, engine: KubernetesEngine) -> None:
        super().__init__()
        self.engine = engine
        self.image = IMAGE


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane")) as plane:
        for one in (*manifest(), *manifest(EXPOSE)):
            plane.apply(one)
        yield plane


@asynccontextmanager
async def opened(plane: ControlPlane, home: Path, account: str, query: str = "") -> AsyncIterator[KubernetesEngine]:
    kubeconfig = await asyncio.to_thread(plane.kubeconfig, home / f"{account}.yaml", account)
    async with asyncio.TaskGroup() as tasks, open_kubernetes(f"kubernetes://{kubeconfig}{query}", tasks) as engine:
        yield engine


@pytest.fixture
async def lab(plane, tmp_path):
    async with opened(plane, tmp_path, "naru") as engine:
        lab = PlaneLab(engine)
        yield lab
        for app in lab.apps:
            await engine.remove(app, volumes=True)


async def test_all_that_an_app_needs_is_accepted_under_the_manifests_rights_and_the_scheduler_is_quoted(lab):
    await everything(lab.engine.fetch(lab.image, credentials=Credentials("registry.example", "me", "word")))
    release = lab.release(
        replicas=3, volumes=(Volume("data", "/data"),), secrets=(SecretFile("word", "/run/secrets/word", 1),)
    )

    await lab.apply(release, 3, {"word": b"x"})

    pods = await lab.settled(3, lambda one: one.failure.startswith("Unschedulable"))
    assert {one.state for one in pods} == {InstanceState.STARTING}
    assert (await lab.engine.describe()).version.startswith("v1.")


async def test_the_retired_go_and_the_others_stay(lab):
    release = lab.release()
    await lab.apply(release, 3)
    retired, *others = await lab.settled(3, lambda _: True)

    await lab.apply(release, 2, retire=(retired.id,))

    assert {one.id for one in await lab.engine.observe(lab.app)} == {one.id for one in others}


async def test_what_others_edited_once_is_set_back(lab, plane):
    release = lab.release()
    await lab.apply(release, 2)
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{lab.app}-{release.revision}"
    await asyncio.to_thread(plane.merge, path, {"spec": {"replicas": 1}}, "kubectl-edit")
    await lab.settled(1, lambda _: True)

    await lab.apply(release, 2)

    await lab.settled(2, lambda _: True)


async def test_a_field_that_controllers_keep_setting_is_a_conflict_that_names_them(lab, plane):
    release = lab.release()
    await lab.apply(release, 2)
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{lab.app}-{release.revision}"
    await asyncio.to_thread(plane.merge, path, {"spec": {"replicas": 1}}, "kube-controller-manager")

    with pytest.raises(Conflict, match=r"\.spec\.replicas .* managed by kube-controller-manager"):
        await lab.apply(release, 2)


async def test_removing_leaves_nothing(lab):
    release = lab.release(secrets=(SecretFile("word", "/run/secrets/word", 1),))
    await lab.apply(release, 2, {"word": b"x"})

    await lab.engine.remove(lab.app, volumes=True)

    assert await lab.engine.observe(lab.app) == []


@pytest.mark.parametrize("kind", list(WorkloadKind))
async def test_every_kind_is_accepted_with_the_longest_names(lab, kind):
    app, volume = f"{lab.app}-{'a' * 30}", "v" * 40
    assert len(app) == 40
    release = lab.release(
        app=app,
        kind=kind,
        schedule="*/5 1-3 * jan-mar mon" if kind is WorkloadKind.SCHEDULED else "",
        volumes=(Volume(volume, "/data"),),
        secrets=(SecretFile("s" * 40, "/run/secrets/word", 1),),
    )

    await lab.apply(release, 2, {"s" * 40: b"x"})

    seen = await lab.engine.observe(app)
    assert len(seen) == (1 if kind is WorkloadKind.SCHEDULED else 2)


async def test_what_the_autoscaler_chose_is_left_to_it(lab, plane):
    release = lab.release(replicas=2, autoscale=Autoscale(2, 4), resources=Resources(cpus=0.1))
    await lab.apply(release, 2)
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{lab.app}-{release.revision}"
    await asyncio.to_thread(plane.merge, path, {"spec": {"replicas": 3}}, "kube-controller-manager")
    await lab.settled(3, lambda _: True)

    await lab.apply(release, 2)

    assert len(await lab.settled(3, lambda _: True)) == 3


@pytest.mark.parametrize("kind", [WorkloadKind.SERVICE, WorkloadKind.BATCH, WorkloadKind.STATEFUL])
async def test_a_quota_is_quoted(lab, plane, kind):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small", "namespace": NAMESPACE},
        "spec": {"hard": {"pods": "0"}},
    }
    await asyncio.to_thread(plane.apply, quota)
    try:
        with pytest.raises(Conflict, match="exceeded quota: small"):
            await lab.apply(lab.release(kind=kind), 1)
    finally:
        await asyncio.to_thread(plane.apply, {**quota, "spec": {"hard": {"pods": "1000"}}})


async def test_an_ingress_is_made_where_there_is_a_class_of_them(plane, tmp_path):
    ingresses = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": "nginx"},
        "spec": {"controller": "example.org/nobody"},
    }
    async with opened(plane, tmp_path, "naru", "?expose=auto") as engine:
        lab = PlaneLab(engine)
        await lab.apply(lab.release(), 1)
        await asyncio.to_thread(plane.apply, ingresses)
        await lab.apply(lab.release(address=Address(host="shop.example")), 1)

        path = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses/{lab.app}"
        seen = await asyncio.to_thread(plane.get, path)
        assert seen["spec"]["rules"][0]["host"] == "shop.example"
        service = await asyncio.to_thread(plane.get, f"/api/v1/namespaces/{NAMESPACE}/services/{lab.app}")
        assert service["spec"]["type"] == "ClusterIP"
        await engine.remove(lab.app)


async def test_a_namespace_is_made_by_those_who_may(plane, tmp_path):
    async with opened(plane, tmp_path, "admin", "?namespace=others") as engine:
        lab = PlaneLab(engine)

        await lab.apply(lab.release(), 1)

        assert len(await engine.observe(lab.app)) == 1
        await engine.remove(lab.app)


async def test_those_who_may_not_are_told(plane, tmp_path):
    async with opened(plane, tmp_path, "naru", "?namespace=elsewhere") as engine:
        with pytest.raises(Forbidden, match=r"cannot list .*rbac\.yaml"):
            await engine.observe()
