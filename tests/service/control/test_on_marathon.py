"""The main job on the Marathon engine, whose simulator really listens: requests go to its tasks."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.contract.marathon_http import MarathonServer, simulated
from tests.contract.marathon_simulator import Acts
from tests.service.control.site import ME, FakeProber, Site, site
from tests.service.control.test_deploying import STRATEGIES, kind

from naru.control.prove import judge
from naru.domain.app import Endpoint
from naru.domain.proof import Answer, ProbeRequest
from naru.domain.rollout import RolloutState
from naru.domain.workload import Address, Health, HttpCheck, Recreate
from naru.engines.marathon import open_marathon

pytestmark = pytest.mark.needs("published marathon")

STRICT = Health(HttpCheck("/"), interval=1.0, timeout=1.0, retries=2, start_period=0.0)


class RealProber(FakeProber):
    """Asks whom the fake door chooses."""

    async def send(self, endpoint: Endpoint, request: ProbeRequest) -> Answer:
        reply = await self._door.request(Address(port=httpx.URL(endpoint.url).port or 0))
        try:
            async with httpx.AsyncClient() as http:
                status = (await http.get(f"http://{reply.upstream}/")).status_code if reply.upstream else reply.status
        except httpx.HTTPError:
            status = 502
        return judge(request, Answer(status, (), "", 0, 0.001))


@pytest.fixture
async def cluster() -> AsyncIterator[MarathonServer]:
    """The simulated cluster, empty."""
    async with simulated() as server:
        yield server
        assert server.complaints == []


@pytest.fixture
async def naru(tmp_path: Path, cluster: MarathonServer) -> AsyncIterator[Site]:
    """A site with a server at work, on that cluster."""
    async with (
        asyncio.TaskGroup() as tasks,
        open_marathon(f"marathon+{cluster.url}", tasks, name="fake") as engine,
        site(tmp_path) as made,
    ):
        made.engine = engine
        made.prober = RealProber(engine, made.door)
        await made.start()
        yield made
        await made.stop()


def wanted(cluster: MarathonServer) -> list[int]:
    """The counts of the applications that are not empty."""
    return [count for app in cluster.sim.apps.values() if (count := app.definition["instances"])]


async def running(naru: Site) -> list[str]:
    """Wait until all instances are ready and carry the door's traffic; return their revisions."""
    async with asyncio.timeout(20):
        while True:
            seen = await naru.engine.observe("shop")
            upstreams = sorted(one.address for one in naru.door._routes["shop"].upstreams)
            if seen and all(one.ready for one in seen) and upstreams == sorted(one.address for one in seen):
                return [one.revision for one in seen]
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=kind)
async def test_an_update_replaces_everything_and_fails_no_request(naru, cluster, strategy):
    await naru.deploy(strategy=strategy)
    (old,) = set(await running(naru))

    rollout = await naru.end(await naru.apps.update("shop", image="shop:2", subject=ME))

    assert rollout.state is RolloutState.SUCCEEDED, rollout.reason
    if not isinstance(strategy, Recreate):
        assert rollout.proof.failed == 0
    revisions = await running(naru)
    assert len(revisions) == 3
    assert old not in revisions
    assert wanted(cluster) == [3]


async def test_an_update_that_is_never_healthy_is_rolled_back_though_marathon_would_wait_for_ever(naru, cluster):
    await naru.deploy(health=STRICT)
    before = await running(naru)
    cluster.sim.acts = Acts.SICK

    rollout = await naru.end(await naru.apps.update("shop", image="shop:2", subject=ME))

    assert rollout.state is RolloutState.FAILED
    assert "answered 500" in rollout.reason
    assert await running(naru) == before
    assert wanted(cluster) == [3]


async def test_a_task_that_somebody_kills_is_replaced_and_routed(naru, cluster):
    await naru.deploy()
    await running(naru)
    killed = (await naru.engine.observe("shop"))[0]

    cluster.sim.kill(killed.id)

    await naru.until(lambda: killed.address not in {one.address for one in naru.door._routes["shop"].upstreams})
    assert len(await running(naru)) == 3


async def test_scaling_and_removing_leave_what_was_asked_for(naru, cluster):
    await naru.deploy(replicas=2)
    before = {one.id for one in await naru.engine.observe("shop")}

    up = await naru.end(await naru.apps.scale("shop", replicas=4, subject=ME))
    assert up.state is RolloutState.SUCCEEDED, up.reason
    assert before <= {one.id for one in await naru.engine.observe("shop")}
    down = await naru.end(await naru.apps.scale("shop", replicas=1, subject=ME))
    assert down.state is RolloutState.SUCCEEDED, down.reason
    assert len(await running(naru)) == 1

    gone = await naru.end(await naru.apps.remove("shop", subject=ME))
    assert gone.state is RolloutState.SUCCEEDED, gone.reason
    assert cluster.sim.apps == {}
