"""The engines that a contract is tried on."""

from collections.abc import AsyncIterator

import pytest
from tests.contract.engine_labs import EngineLab, FakeLab, socket_lab
from tests.contract.kubernetes_labs import kubernetes_lab, node_lab, simulated_kubernetes_lab
from tests.contract.marathon_labs import marathon_lab, simulated_marathon_lab
from tests.contract.swarm_labs import swarm_lab


@pytest.fixture(
    params=[
        "fake",
        pytest.param("docker", marks=pytest.mark.needs("docker")),
        pytest.param("podman", marks=pytest.mark.needs("podman")),
        pytest.param("swarm", marks=pytest.mark.needs("swarm")),
        pytest.param("simulated marathon", marks=pytest.mark.needs("published marathon")),
        pytest.param("marathon", marks=pytest.mark.needs("marathon")),
        pytest.param("simulated kubernetes", marks=pytest.mark.needs("published kubernetes")),
        pytest.param("kubernetes node", marks=pytest.mark.needs("kubernetes node")),
        pytest.param("kubernetes", marks=pytest.mark.needs("kubernetes")),
    ]
)
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[EngineLab]:
    if request.param == "fake":
        yield FakeLab()
        return
    if request.param.endswith("marathon"):
        async with (marathon_lab if request.param == "marathon" else simulated_marathon_lab)() as lab:
            yield lab
        return
    if request.param.endswith("kubernetes"):
        async with kubernetes_lab() if request.param == "kubernetes" else simulated_kubernetes_lab() as lab:
            yield lab
        return
    if request.param == "kubernetes node":
        async with node_lab(request.getfixturevalue("kubernetes_of_ours")) as lab:
            yield lab
        return
    image, archive = request.getfixturevalue("busybox")
    if request.param == "swarm":
        async with swarm_lab(request.getfixturevalue("swarm_of_three"), image, reach=True) as lab:
            yield lab
        return
    url = request.getfixturevalue(f"{request.param}_socket")
    async with socket_lab(url, image, archive, request.param) as lab:
        yield lab
