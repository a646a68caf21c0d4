"""A swarm of three real nodes: instances spread, nodes that go and come back, and what others do to services."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import httpx
import pytest
from tests.contract.engine_labs import PATIENCE, Kind, everything, socket_lab
from tests.contract.swarm_labs import SwarmLab, swarm_lab
from tests.contract.test_engine_volumes import FILL
from tests.images import SERVE, busybox_image
from tests.service.engines.test_docker_pull import push
from tests.service.oci.conftest import account, private_registry
from tests.swarms import Node

from naru.control.cargo import counted, shipped
from naru.domain.errors import Conflict, Unavailable
from naru.domain.image import Origin
from naru.domain.instance import InstanceState
from naru.domain.target import Feature
from naru.domain.workload import CommandCheck, Health, Resources, SecretFile, Volume
from naru.engines.dockerapi.translate import Json
from naru.engines.swarm import open_swarm
from naru.engines.swarm.translate import stopped

pytestmark = pytest.mark.needs("swarm")


@pytest.fixture
def nodes(swarm_of_three) -> Sequence[Node]:
    return swarm_of_three


@pytest.fixture
async def lab(nodes, busybox) -> AsyncIterator[SwarmLab]:
    async with swarm_lab(nodes, busybox[0]) as lab:
        yield lab


@pytest.fixture
async def wide(nodes, busybox) -> AsyncIterator[SwarmLab]:
    """A lab whose engine was told of all nodes' engines."""
    async with swarm_lab(nodes, busybox[0], reach=True) as lab:
        yield lab


async def page(instance) -> str:
    async with httpx.AsyncClient() as http:
        return (await http.get(f"http://{instance.address}/", timeout=5)).text


def availability(manager: Node, node: Node, wanted: str) -> None:
    found = next(one for one in manager.ask("GET", "/nodes") if one["Description"]["Hostname"] == node.name)
    spec = {**found["Spec"], "Availability": wanted}
    manager.ask("POST", f"/nodes/{found['ID']}/update?version={found['Version']['Index']}", spec)


async def is_ready(manager: Node, node: Node) -> None:
    deadline = time.monotonic() + PATIENCE
    while not any(
        one["Description"]["Hostname"] == node.name and one["Status"]["State"] == "ready"
        for one in manager.ask("GET", "/nodes")
    ):
        assert time.monotonic() < deadline, f"{node.name} did not come back"
        await asyncio.sleep(0.1)


def updated_to(image: str, failure_action: str) -> Callable[[Json], Json]:
    """What somebody's `docker service update` with an image that no node has does."""

    def change(spec: Json) -> Json:
        template = spec["TaskTemplate"]
        changed = {**template, "ContainerSpec": {**template["ContainerSpec"], "Image": image}}
        config = {"Parallelism": 1, "FailureAction": failure_action, "Monitor": 1_000_000_000}
        return {**spec, "TaskTemplate": changed, "UpdateConfig": config}

    return change


async def test_a_swarm_of_several_nodes_says_what_it_can_and_has(lab, nodes):
    target = await lab.engine.describe()

    assert (target.engine, target.problem) == ("swarm", "")
    assert not {Feature.EXEC, Feature.STATS} & set(target.features)
    alone = nodes[1].ask("GET", "/info")
    assert target.capacity.cpus == 3 * alone["NCPU"]


async def test_instances_are_spread_and_each_answers_at_its_node(lab, nodes):
    await lab.apply(lab.release(), 3)

    instances = await lab.settled(3)

    assert {one.node for one in instances} == {node.name for node in nodes}
    assert {one.address.rpartition(":")[0] for one in instances} == {node.address for node in nodes}
    assert [await page(one) for one in instances] == ["hello\n"] * 3
    assert {line.text for one in instances for line in await everything(lab.engine.logs(one.id))} >= {"one", "two"}


async def test_secrets_are_files_and_variables_are_taken_as_they_are_written(lab):
    say = 'echo "$GREETING and $(cat /opt/word)" > /www/index.html; exec ' + " ".join(SERVE)
    release = lab.release(
        command=("/bin/sh", "-c", say),
        environment={"GREETING": "{{.Node.Hostname}} {{"},
        secrets=(SecretFile("word", "/opt/word", 1),),
    )

    await lab.apply(release, 1, {"word": b"wide open"})

    (instance,) = await lab.settled(1)
    assert await page(instance) == "{{.Node.Hostname}} {{ and wide open\n"
    assert len(await lab.wire.secrets(lab.app)) == 1
    await lab.apply(release, 0, {"word": b"wide open"})
    assert await lab.wire.secrets(lab.app) == []


async def test_what_only_the_instances_node_can_do_is_refused_with_the_place_to_ask(lab, nodes):
    await lab.apply(lab.release(), 3)
    instances = await lab.settled(3)
    far = next(one for one in instances if one.node != nodes[0].name)
    near = next(one for one in instances if one.node == nodes[0].name)

    with pytest.raises(Conflict, match=far.node):
        await lab.engine.execute(far.id, ("/bin/true",))
    with pytest.raises(Conflict, match=far.node):
        await anext(lab.engine.usage(far.id))
    assert (await lab.engine.execute(near.id, ("/bin/true",))).exit_code == 0


async def test_instances_of_a_lost_node_are_not_ready_until_swarm_has_placed_them_anew(lab, nodes):
    manager, *_, lost = nodes
    await lab.apply(lab.release(), 3)
    before = await lab.settled(3)
    victim = next(one for one in before if one.node == lost.name)

    lost.cut()
    try:
        seen = await lab.until(lambda all_: any(not one.ready for one in all_))
        assert [one.id for one in seen if not one.ready] == [victim.id]
        after = await lab.settled(3, lambda one: one.ready and one.node != lost.name)
        assert {one.id for one in after} == {one.id for one in before}
        assert [await page(one) for one in after] == ["hello\n"] * 3
    finally:
        lost.mend()
    await is_ready(manager, lost)

    await lab.apply(lab.release(), 3)
    assert {one.id for one in await lab.settled(3)} == {one.id for one in before}


async def test_an_instance_is_taken_away_although_its_node_is_lost(lab, nodes):
    manager, *_, lost = nodes
    release = lab.release()
    await lab.apply(release, 3)
    before = await lab.settled(3)
    victim = next(one for one in before if one.node == lost.name)

    lost.cut()
    try:
        await lab.until(lambda all_: any(not one.ready for one in all_))
        async with asyncio.timeout(PATIENCE):
            await lab.apply(release, 2, retire=(victim.id,))
        assert victim.id not in {one.id for one in await lab.engine.observe(lab.app)}
    finally:
        lost.mend()
    await is_ready(manager, lost)


async def test_a_drained_node_hands_its_instances_over_and_gets_new_ones_when_it_is_back(lab, nodes):
    manager, drained, _ = nodes
    release = lab.release()
    await lab.apply(release, 3)
    before = await lab.settled(3)

    availability(manager, drained, "drain")
    try:
        after = await lab.settled(3, lambda one: one.ready and one.node != drained.name)
        assert {one.id for one in after} == {one.id for one in before}
        assert {one.exits for one in after} == {0}
        assert (await lab.engine.describe()).capacity.cpus == 2 * manager.ask("GET", "/info")["NCPU"]
    finally:
        availability(manager, drained, "active")

    await lab.apply(release, 5)
    assert drained.name in {one.node for one in await lab.settled(5)}


async def test_the_schedulers_reason_is_told_when_no_node_is_suitable(lab):
    await lab.apply(lab.release(resources=Resources(memory=1 << 46)), 1)

    (waiting,) = await lab.until(lambda all_: bool(all_ and all_[0].failure))

    assert waiting.state is InstanceState.STARTING
    assert "no suitable node" in waiting.failure
    assert "insufficient resources" in waiting.failure
    await lab.apply(lab.release(resources=Resources(memory=1 << 46)), 0)
    assert await lab.engine.observe(lab.app) == []


async def test_a_failing_command_check_of_swarms_own_is_told(lab):
    sick = Health(CommandCheck(("/bin/false",)), interval=0.2, timeout=1, retries=2, start_period=0)
    await lab.apply(lab.release(health=sick), 1)

    (instance,) = await lab.until(lambda all_: bool(all_) and all_[0].state is InstanceState.UNHEALTHY)

    assert instance.failure.startswith("/bin/false failed 2 times")
    assert instance.exits >= 1


async def test_a_passing_command_check_makes_an_instance_ready(lab):
    well = Health(CommandCheck(("/bin/true",)), interval=0.2, timeout=1, retries=2, start_period=0)

    await lab.apply(lab.release(health=well), 1)

    await lab.settled(1)


async def test_an_image_that_other_nodes_lack_is_refused_with_the_mend(lab, tmp_path):
    other = busybox_image(tmp_path / "other.tar", reference="naru-test/other:1", body="other\n")

    with pytest.raises(Conflict, match="registry"):
        await everything(lab.engine.fetch(other, archive=tmp_path / "other.tar"))


async def test_an_image_that_no_registry_has_is_brought_to_every_node_within_reach(wide, nodes, tmp_path):
    wide.image = busybox_image(tmp_path / "own.tar", reference="naru-test/own:1", body=f"page of {wide.app}\n")

    await everything(wide.engine.fetch(wide.image, archive=tmp_path / "own.tar"))
    await wide.apply(wide.release(), 3)

    instances = await wide.settled(3)
    assert {one.node for one in instances} == {node.name for node in nodes}
    assert {await page(one) for one in instances} == {f"page of {wide.app}\n"}


@pytest.mark.needs("docker-registry", "htpasswd")
async def test_every_node_pulls_from_a_private_registry_by_digest(lab, nodes, tmp_path):
    with contextmanager(private_registry)(tmp_path, nodes[0].machine) as registry:
        archive = tmp_path / "image.tar"
        image = busybox_image(archive, reference=f"{registry}/team/shop:1", body=f"page of {lab.app}\n")
        await asyncio.to_thread(push, registry, archive, image)
        lab.image = replace(image, origin=Origin.REGISTRY)

        await everything(lab.engine.fetch(lab.image, credentials=account(registry)))
        await lab.apply(lab.release(), 3)

        instances = await lab.settled(3)
        assert {one.node for one in instances} == {node.name for node in nodes}
        assert {await page(one) for one in instances} == {f"page of {lab.app}\n"}


async def test_a_node_without_the_image_says_so(lab, nodes, tmp_path):
    lab.image = busybox_image(tmp_path / "other.tar", reference="naru-test/other:1", body=f"page of {lab.app}\n")
    nodes[0].load(tmp_path / "other.tar")
    availability(nodes[0], nodes[0], "drain")
    try:
        await lab.apply(lab.release(), 1)
        (instance,) = await lab.until(lambda all_: bool(all_ and all_[0].exits))
        assert "No such image" in instance.failure
    finally:
        availability(nodes[0], nodes[0], "active")


@pytest.mark.parametrize(("action", "end"), [("pause", "paused"), ("rollback", "rollback completed")])
async def test_an_update_by_others_that_swarm_gives_up_is_never_taken_for_success(lab, action, end):
    release = lab.release()
    await lab.apply(release, 1)
    (instance,) = await lab.settled(1)
    service = await lab.service(instance)

    await lab.wire.rewrite(service.id, updated_to("sha256:" + "0" * 64, action))

    (seen,) = await lab.until(lambda all_: bool(all_) and any(end in what for what in all_[0].drift))
    await lab.apply(release, 1)
    (after,) = await lab.settled(1, lambda one: one.ready and not one.drift)
    assert after.id != seen.id


async def test_a_stop_that_was_cut_short_is_seen_and_finished(lab):
    release = lab.release()
    await lab.apply(release, 2)
    first, second = await lab.settled(2)
    await lab.wire.rewrite((await lab.service(first)).id, stopped)

    seen = {one.id: one.state for one in await lab.engine.observe(lab.app)}
    assert seen == {first.id: InstanceState.STOPPING, second.id: InstanceState.READY}
    await lab.apply(release, 1)

    assert [one.id for one in await lab.engine.observe(lab.app)] == [second.id]


async def test_volumes_on_other_nodes_are_named_when_the_app_is_removed(lab, nodes):
    await lab.apply(lab.release(volumes=(Volume("data", "/data"),)), 3)
    await lab.settled(3)

    with pytest.raises(Conflict, match=nodes[1].name) as refusal:
        await lab.engine.remove(lab.app, volumes=True)

    assert f"naru-{lab.app}-data" in refusal.value.mend
    await lab.engine.remove(lab.app, volumes=True)
    assert await lab.engine.observe(lab.app) == []
    assert await lab.wire.network(f"naru-{lab.app}-swarm") is None


async def test_volumes_within_reach_are_found_again_and_removed_on_every_node(wide, nodes):
    held = wide.release(volumes=(Volume("data", "/data"),))
    await wide.apply(held, 1)
    (before,) = await wide.settled(1)
    await wide.engine.execute(before.id, ("/bin/touch", "/data/mark"))

    for number in (2, 3):
        await wide.apply(held, 0)
        held = replace(held, number=number)
        await wide.apply(held, 1)
        (after,) = await wide.settled(1)
        assert after.node == before.node
        assert (await wide.engine.execute(after.id, ("/bin/ls", "/data"))).stdout == b"mark\n"

    await wide.engine.remove(wide.app, volumes=True)
    assert all(f"naru-{wide.app}-data" not in str(node.ask("GET", "/volumes")) for node in nodes)


async def test_a_volume_goes_from_docker_to_the_swarm_and_back_as_it_was(wide, docker_socket, busybox):
    async with socket_lab(docker_socket, *busybox) as docker:
        release = docker.release(volumes=(Volume("data", "/data"),))
        await docker.apply(release, 1)
        (instance,) = await docker.settled(1)
        await docker.engine.execute(instance.id, ("/bin/sh", "-c", FILL))
        await docker.apply(release, 0)

        sent = await shipped(docker.engine.pack(release, "data"), partial(wide.engine.unpack, release, "data"))
        assert await counted(wide.engine.pack(release, "data")) == sent
        await wide.apply(release, 1)
        (instance,) = await wide.until(lambda all_: bool(all_) and all_[0].ready, release.app)
        said = await wide.engine.execute(instance.id, ("/bin/sh", "-c", "stat -c '%u %g %a' /data /data/a/owned"))
        await wide.apply(release, 0)
        back = await shipped(wide.engine.pack(release, "data"), partial(docker.engine.unpack, release, "data"))
        await wide.engine.remove(release.app, volumes=True)

    assert said.stdout == b"7 8 755\n1234 4321 4751\n"
    assert back == sent


async def test_a_swarm_sees_that_a_volume_is_of_its_node_as_an_engine_of_its_own(lab, nodes, busybox):
    release = lab.release(volumes=(Volume("data", "/data"),))
    async with socket_lab(f"unix://{nodes[0].socket}", *busybox) as docker:
        docker.app = lab.app
        await docker.apply(release, 1)
        await docker.apply(release, 0)

        with pytest.raises(Conflict, match=f"naru-{lab.app}-data in its place"):
            await lab.engine.volumes(lab.app)
        assert [one.name for one in await docker.engine.volumes(lab.app)] == ["data"]
        await docker.engine.remove(lab.app, volumes=True)


async def test_a_node_that_is_named_and_away_delays_nothing_much(nodes):
    url = f"{nodes[0].url}?node=unix:///nowhere/docker.sock"
    async with asyncio.TaskGroup() as tasks, open_swarm(url, tasks) as engine:
        assert not {Feature.EXEC, Feature.STATS} & set((await engine.describe()).features)


async def test_a_node_that_is_no_manager_is_named_with_the_mend(nodes):
    async with asyncio.TaskGroup() as tasks, open_swarm(nodes[1].url, tasks) as engine:
        with pytest.raises(Unavailable, match="manager") as refusal:
            await engine.observe()

    assert "docker swarm init" in refusal.value.mend


async def test_two_narus_on_one_swarm_leave_each_other_alone(lab, nodes):
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)

    async with asyncio.TaskGroup() as tasks, open_swarm(nodes[0].url, tasks, owner="another") as other:
        assert await other.observe() == []
        await other.remove(lab.app, volumes=True)
        with pytest.raises(Conflict, match=lab.app):
            await other.apply(lab.release(), 1, secrets={})

    assert [one.id for one in await lab.engine.observe(lab.app)] == [instance.id]


async def test_an_instance_that_runs_out_of_memory_far_away_says_what_is_likely(lab, nodes):
    availability(nodes[0], nodes[0], "drain")
    try:
        await lab.apply(lab.release(Kind.HUNGRY), 1)
        (instance,) = await lab.until(lambda all_: bool(all_) and all_[0].state is InstanceState.EXITED)
        assert instance.exit_code == 137
        assert "memory limit of 16 MiB" in instance.failure
    finally:
        availability(nodes[0], nodes[0], "active")
