"""What only a real kubelet shows: how commands end."""

from collections.abc import AsyncIterator

import pytest
from tests.contract.kubernetes_labs import NodeLab, node_lab
from tests.contract.kubernetes_node import Cluster

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
