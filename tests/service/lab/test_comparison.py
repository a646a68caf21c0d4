"""The comparison on a real engine behind the real front door: it measures, and leaves nothing behind."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import aiodocker
import pytest
from tests.contract.door_labs import CaddyLab

from naru.domain.comparison import MEASURES, Measure
from naru.domain.workload import Address
from naru.engines.docker import open_docker
from naru.lab.studies.comparison import compare
from naru.lab.studies.image import study_image
from naru.lab.studies.subject import Means, Plan, Subject, clear, describe
from naru.oci.layout import ImageStore

pytestmark = pytest.mark.needs("docker", "caddy")


MARK = secrets.token_hex(4)
OWNER = f"test-{MARK}"


@pytest.fixture
async def subject(docker_socket: str) -> AsyncIterator[Subject]:
    socket = Path(docker_socket.removeprefix("unix://"))
    async with asyncio.TaskGroup() as tasks, open_docker(docker_socket, tasks, owner=OWNER) as engine:
        yield Subject("docker", engine, Means((socket,)))
        await clear(engine, MARK)


@pytest.fixture
async def door() -> AsyncIterator[CaddyLab]:
    with TemporaryDirectory(prefix="naru-door-") as home:
        async with AsyncExitStack() as stack:
            lab = CaddyLab(Path(home), stack)
            await lab.door.open()
            try:
                yield lab
            finally:
                await lab.door.stop()
                await lab.door.close()


async def plan(home: Path, stack: AsyncExitStack, door: CaddyLab) -> Plan:
    store = ImageStore(home)
    image = await study_image(store)
    archive = await stack.enter_async_context(store.export(image))
    return Plan(1, MARK, image, archive, None, Address(port=door.port()), {Measure.START_1: 1})


async def test_a_round_measures_all_that_one_node_can_show_and_leaves_nothing_behind(
    subject, door, docker_socket, tmp_path
):
    told: list[str] = []

    async def tell(step: str) -> None:
        told.append(step)

    async with AsyncExitStack() as stack:
        made = await plan(tmp_path, stack, door)
        rounds = [done async for done in compare([subject], door.door, made, now, tell)]

    found = {one.measure: one for one in rounds[-1]}
    missing = {Measure.NODE_LOSS, Measure.NODE_LOSS_LOST, Measure.PARTITION, Measure.PARTITION_LOST, Measure.BRING_UP}
    assert {measure for measure, one in found.items() if not one.values} == missing, [
        one.note for one in found.values()
    ]
    assert set(found) == set(MEASURES) - {Measure.START_10, Measure.START_50}
    assert "one node" in found[Measure.NODE_LOSS].note
    assert found[Measure.KEPT_BY_RESTART].values == (1.0,)
    assert found[Measure.UPDATE_LOST].values == (0.0,)
    assert found[Measure.MEMORY].values[0] > 1 << 20
    assert "round 1 of 1 on docker: rolling update" in told
    assert (await describe(subject)).nodes == 1
    await nothing_is_left(subject, door, docker_socket)


async def test_a_comparison_that_is_stopped_half_way_leaves_nothing_behind(subject, door, docker_socket, tmp_path):
    reached = asyncio.Event()

    async def tell(step: str) -> None:
        if step.endswith("crashed container"):
            reached.set()

    async with AsyncExitStack() as stack:
        made = await plan(tmp_path, stack, door)

        async def run() -> None:
            async for _ in compare([subject], door.door, made, now, tell):
                pass

        running = asyncio.create_task(run())
        async with asyncio.timeout(60):
            await reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    await nothing_is_left(subject, door, docker_socket)


async def nothing_is_left(subject: Subject, door: CaddyLab, url: str) -> None:
    assert list(await subject.engine.observe()) == []
    assert await door.door.routes() == {}
    label = {"label": [f"naru.owner={OWNER}"]}
    async with aiodocker.Docker(url) as docker:
        assert await docker.containers.list(all=True, filters=label) == []
        assert not (await docker.volumes.list(filters=label))["Volumes"]
        assert await docker.networks.list(filters=label) == []


def now() -> datetime:
    return datetime.now(UTC)
