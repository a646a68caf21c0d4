"""The main job on a real Kubernetes node: requests go to its pods."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.kubernetes_node import Cluster
from tests.service.control import site as sites
from tests.service.control.site import ME, Site, site
from tests.service.control.test_deploying import STRATEGIES, kind
from tests.service.control.test_on_marathon import RealProber

from naru.domain.instance import InstanceState
from naru.domain.kind import WorkloadKind
from naru.domain.rollout import RolloutState
from naru.domain.workload import Health, HttpCheck, Recreate, Restart, Volume
from naru.engines.kubernetes import open_kubernetes

pytestmark = [pytest.mark.asyncio, pytest.mark.needs("kubernetes node")]
SERVED = {"port": 8080, "replicas": 2, "health": Health(HttpCheck("/"), interval=1.0, retries=2), "stop_grace": 1.0}
ILL = Health(HttpCheck("/none"), interval=1.0, timeout=1.0, retries=2, start_period=0.0)


@pytest.fixture
async def naru(tmp_path: Path, kubernetes_of_ours: Cluster, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """A site with a server at work on that cluster, whose node has two images of the shop."""
    monkeypatch.setattr(sites, "PATIENCE", 120.0)
    kubeconfig = kubernetes_of_ours.plane.kubeconfig(tmp_path / "kubeconfig", "naru")
    async with (
        asyncio.TaskGroup() as tasks,
        open_kubernetes(f"kubernetes://{kubeconfig}", tasks, name="fake", owner="site") as engine,
        site(tmp_path) as made,
    ):
        for reference in ("docker.io/library/shop:1", "docker.io/library/shop:2"):
            image = await asyncio.to_thread(kubernetes_of_ours.load, reference.rpartition(":")[0], f"{reference}\n")
            made.registry.images[reference] = replace(image, reference=reference)
        made.engine = engine
        made.prober = RealProber(engine, made.door)
        await made.start()
        yield made
        await made.stop()
        await engine.remove("shop", volumes=True)


async def running(naru: Site) -> set[str]:
    """Wait until all instances are ready and carry the door's traffic; return their revisions."""
    async with asyncio.timeout(60):
        while True:
            seen = await naru.engine.observe("shop")
            upstreams = sorted(one.address for one in naru.door._routes["shop"].upstreams)
            if seen and all(one.ready for one in seen) and upstreams == sorted(one.address for one in seen):
                return {one.revision for one in seen}
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=kind)
async def test_an_update_replaces_everything_and_fails_no_request(naru, strategy):
    first = await naru.deploy(strategy=strategy, **SERVED)
    assert first.state is RolloutState.SUCCEEDED, first.reason
    (old,) = await running(naru)

    rollout = await naru.end(await naru.apps.update("shop", image="shop:2", subject=ME))

    assert rollout.state is RolloutState.SUCCEEDED, rollout.reason
    if not isinstance(strategy, Recreate):
        assert rollout.proof.failed == 0
    assert old not in await running(naru)


async def test_an_update_that_is_never_healthy_is_rolled_back_though_kubernetes_would_wait_for_ever(naru):
    await naru.deploy(**SERVED)
    before = await running(naru)

    rollout = await naru.deploy(image="shop:2", **{**SERVED, "health": ILL})

    assert rollout.state is RolloutState.FAILED
    assert "GET /none" in rollout.reason
    assert await running(naru) == before


async def test_a_stateful_app_is_updated_and_keeps_what_it_wrote(naru):
    store = {**SERVED, "kind": WorkloadKind.STATEFUL, "volumes": (Volume("data", "/data"),)}
    first = await naru.deploy(**store)
    assert first.state is RolloutState.SUCCEEDED, first.reason
    for one in await naru.engine.observe("shop"):
        await naru.engine.execute(one.id, ("/bin/sh", "-c", "echo kept > /data/mark"))

    rollout = await naru.end(await naru.apps.update("shop", image="shop:2", subject=ME))

    assert rollout.state is RolloutState.SUCCEEDED, rollout.reason
    assert rollout.proof.failed == 0
    for one in await naru.engine.observe("shop"):
        assert (await naru.engine.execute(one.id, ("/bin/cat", "/data/mark"))).stdout == b"kept\n"


@pytest.mark.parametrize(("code", "state"), [(0, RolloutState.SUCCEEDED), (3, RolloutState.FAILED)])
async def test_a_run_is_proven_by_its_end(naru, code, state):
    run = {"kind": WorkloadKind.BATCH, "port": 0, "restart": Restart.NEVER, "stop_grace": 1.0}

    rollout = await naru.deploy(replicas=2, command=("/bin/sh", "-c", f"sleep 1; exit {code}"), **run)

    assert rollout.state is state, rollout.reason
    ended = await naru.engine.observe("shop")
    assert not code or "code 3" in rollout.reason
    assert code or {one.state for one in ended} == {InstanceState.COMPLETED}
