"""What only a real node shows: how commands end, and how it is drained."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.contract.kubernetes_labs import NAMESPACE, NodeLab, node_lab
from tests.contract.kubernetes_node import Cluster
from tests.contract.kubernetes_plane import NODE, ControlPlane

from naru.domain.instance import ExecResult

pytestmark = [pytest.mark.asyncio, pytest.mark.needs("kubernetes node")]


@pytest.fixture
async def lab(kubernetes_of_ours: Cluster) -> AsyncIterator[NodeLab]:
    async with node_lab(kubernetes_of_ours) as lab:
        yield lab


async def test_no_command_is_so_quick_that_its_output_is_lost(lab):
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)

    said = [await lab.engine.execute(instance.id, ("/bin/echo", str(number))) for number in range(200)]

    assert said == [ExecResult(0, f"{number}\n".encode(), b"") for number in range(200)]


async def test_who_drains_a_node_takes_one_instance_at_a_time_and_naru_sees_what_waits_for_another_node(lab):
    plane = lab.cluster.plane
    await lab.apply(lab.release(replicas=2), 2)
    first, second = await lab.settled(2)
    await asyncio.to_thread(cordon, plane, True)
    try:
        await until_evicted(plane, first.id)
        assert not await asyncio.to_thread(plane.evict, NAMESPACE, second.id)

        seen = await lab.until(
            lambda seen: (
                first.id not in {one.id for one in seen}
                and sorted((one.ready, one.failure.startswith("Unschedulable")) for one in seen)
                == [(False, True), (True, False)]
            )
        )
        assert second.id in {one.id for one in seen}
        assert (await lab.engine.describe()).capacity.cpus == 0
    finally:
        await asyncio.to_thread(cordon, plane, False)

    assert second.id in {one.id for one in await lab.settled(2)}
    assert (await lab.engine.describe()).capacity.cpus > 0


async def until_evicted(plane: ControlPlane, pod: str) -> None:
    """Evict a pod once the controllers have counted what its budget allows."""
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(plane.evict, NAMESPACE, pod):  # noqa: ASYNC110 - the cluster tells nobody
            await asyncio.sleep(0.2)


def cordon(plane: ControlPlane, closed: bool) -> None:
    """Let nothing new come to the node, or let it come again."""
    plane.merge(f"/api/v1/nodes/{NODE}", {"spec": {"unschedulable": closed}}, "kubectl-cordon")
