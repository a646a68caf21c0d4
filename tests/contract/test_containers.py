"""What an engine of containers promises beyond the common contract: whose they are, and how they are shaped."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiodocker.exceptions import DockerError
from tests.contract.engine_labs import QUICK, Kind, SocketLab, everything, socket_lab

from naru.domain.errors import Conflict, Invalid
from naru.domain.instance import InstanceState
from naru.domain.workload import CommandCheck, Health, HttpCheck, Resources, Restart, SecretFile, TcpCheck, Volume
from naru.engines.base import APP_LABEL, OWNER_LABEL
from naru.engines.docker import open_docker


@pytest.fixture(
    params=[
        pytest.param("docker", marks=pytest.mark.needs("docker")),
        pytest.param("podman", marks=pytest.mark.needs("podman")),
    ]
)
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[SocketLab]:
    image, archive = request.getfixturevalue("busybox")
    url = request.getfixturevalue(f"{request.param}_socket")
    async with socket_lab(url, image, archive, request.param) as lab:
        yield lab


@pytest.fixture
async def foreign(lab: SocketLab) -> AsyncIterator[str]:
    """A container that somebody else made, its name."""
    name = f"foreign-{lab.app}"
    container = await lab.docker.containers.create({"Image": lab.image.config_digest}, name=name)
    yield name
    await container.delete(force=True)


async def inspect(lab, instance):
    return await lab.docker.containers.container(instance).show()


async def output(lab, instance, *command):
    return (await lab.engine.execute(instance.id, command)).stdout.decode()


async def test_containers_of_others_are_not_seen_and_not_touched(lab, foreign):
    await lab.apply(lab.release(), 1)
    await lab.settled(1)

    await lab.engine.remove(lab.app, volumes=True)

    assert (await inspect(lab, foreign))["State"]["Status"] == "created"
    assert (await inspect(lab, foreign))["Id"][:12] not in {one.id for one in await lab.engine.observe()}


async def test_a_label_alone_does_not_make_a_container_ours(lab):
    config = {"Image": lab.image.config_digest, "Labels": {OWNER_LABEL: "naru", APP_LABEL: lab.app}}
    container = await lab.docker.containers.create(config, name=f"foreign-{lab.app}")
    try:
        assert await lab.engine.observe(lab.app) == []
        await lab.engine.remove(lab.app)
        assert await container.show()
    finally:
        await container.delete(force=True)


async def test_two_narus_on_one_engine_leave_each_other_alone(lab):
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)
    async with (
        asyncio.TaskGroup() as tasks,
        open_docker(f"unix://{lab.forwarder.path}", tasks, name=lab.engine.name, owner="another") as other,
    ):
        assert await other.observe() == []
        await other.remove(lab.app, volumes=True)
        with pytest.raises(Conflict, match=lab.app):
            await other.apply(lab.release(), 1, secrets={})

    assert [one.id for one in await lab.engine.observe(lab.app)] == [instance.id]


async def test_a_foreign_container_under_our_name_is_a_conflict(lab):
    release = lab.release()
    name = f"naru-{lab.app}-{release.revision}-1"
    container = await lab.docker.containers.create({"Image": lab.image.config_digest}, name=name)
    try:
        with pytest.raises(Conflict, match=name):
            await lab.apply(release, 1)
    finally:
        await container.delete(force=True)


async def test_a_foreign_network_under_our_name_is_a_conflict(lab):
    network = await lab.docker.networks.create({"Name": f"naru-{lab.app}", "Driver": "bridge"})
    try:
        with pytest.raises(Conflict, match="network"):
            await lab.apply(lab.release(), 1)
        await lab.engine.remove(lab.app)
        assert await network.show()
        assert await lab.engine.observe(lab.app) == []
    finally:
        await network.delete()


async def test_a_foreign_volume_under_our_name_is_a_conflict(lab):
    volume = await lab.docker.volumes.create({"Name": f"naru-{lab.app}-data"})
    try:
        with pytest.raises(Conflict, match="volume"):
            await lab.apply(lab.release(volumes=(Volume("data", "/data"),)), 1)
        await lab.engine.remove(lab.app, volumes=True)
        assert await volume.show()
    finally:
        await volume.delete()


async def test_removing_an_app_removes_its_network_and_its_volumes_only_when_asked(lab):
    await lab.apply(lab.release(volumes=(Volume("data", "/data"),)), 1)
    await lab.settled(1)

    await lab.engine.remove(lab.app)
    with pytest.raises(DockerError):
        await lab.docker.networks.get(f"naru-{lab.app}") and await (
            await lab.docker.networks.get(f"naru-{lab.app}")
        ).show()
    assert await (await lab.docker.volumes.get(f"naru-{lab.app}-data")).show()

    await lab.engine.remove(lab.app, volumes=True)
    with pytest.raises(DockerError):
        await (await lab.docker.volumes.get(f"naru-{lab.app}-data")).show()


async def test_a_network_that_others_use_is_left_to_them(lab):
    await lab.apply(lab.release(), 1)
    await lab.settled(1)
    config = {"Image": lab.image.config_digest, "HostConfig": {"NetworkMode": f"naru-{lab.app}"}}
    guest = await lab.docker.containers.create(config, name=f"foreign-{lab.app}")
    await guest.start()

    try:
        with pytest.raises(Conflict, match="disconnect"):
            await lab.engine.remove(lab.app)
        assert (await guest.show())["State"]["Running"]
    finally:
        await guest.delete(force=True)
    await lab.engine.remove(lab.app)


async def test_a_volume_outlives_the_instances_that_write_to_it(lab):
    release = lab.release(volumes=(Volume("data", "/data"),))
    await lab.apply(release, 1)
    (first_one,) = await lab.settled(1)
    await output(lab, first_one, "/bin/sh", "-c", "echo kept > /data/file")

    await lab.apply(release, 0)
    await lab.apply(release, 1)

    (second,) = await lab.settled(1)
    assert second.id != first_one.id
    assert await output(lab, second, "/bin/cat", "/data/file") == "kept\n"


async def test_a_read_only_volume_cannot_be_written(lab):
    await lab.apply(lab.release(volumes=(Volume("data", "/data", read_only=True),)), 1)
    (instance,) = await lab.settled(1)

    assert (await lab.engine.execute(instance.id, ("/bin/touch", "/data/file"))).exit_code == 1


async def test_a_secret_is_a_file_and_appears_nowhere_else(lab):
    release = lab.release(secrets=(SecretFile("password", "/run/secrets/password", 1),))
    await lab.apply(release, 1, {"password": b"wide open"})
    (instance,) = await lab.settled(1)

    assert await output(lab, instance, "/bin/cat", "/run/secrets/password") == "wide open"
    assert (await output(lab, instance, "/bin/ls", "-l", "/run/secrets/password")).startswith("-r--r--r--")
    assert "wide open" not in json.dumps(await inspect(lab, instance.id))
    assert "wide open" not in await output(lab, instance, "/bin/env")


async def test_a_secret_inside_a_volume_is_refused(lab):
    release = lab.release(volumes=(Volume("data", "/data"),), secrets=(SecretFile("password", "/data/password", 1),))

    with pytest.raises(Invalid, match="password"):
        await lab.apply(release, 1, {"password": b"wide open"})


async def test_limits_restart_policy_and_environment_reach_the_container(lab):
    release = lab.release(
        environment={"COLOUR": "green and blue"},
        resources=Resources(cpus=0.5, memory=64 << 20),
        restart=Restart.ON_FAILURE,
    )
    await lab.apply(release, 1)
    (instance,) = await lab.settled(1)

    host = (await inspect(lab, instance.id))["HostConfig"]
    assert host["Memory"] == 64 << 20
    assert host["NanoCpus"] == 500_000_000
    assert host["RestartPolicy"]["Name"] == "on-failure"
    assert "COLOUR=green and blue" in await output(lab, instance, "/bin/env")
    assert instance.drift == ()


@pytest.mark.parametrize("check", [CommandCheck(("/bin/true",)), HttpCheck("/"), TcpCheck()])
async def test_every_kind_of_check_makes_an_instance_ready(lab, check):
    await lab.apply(lab.release(health=replace(QUICK, check=check)), 1)

    assert await lab.settled(1)


async def test_a_failing_command_is_told_with_its_output(lab):
    check = CommandCheck(("/bin/sh", "-c", "echo ill; test ! -e /tmp/sick"))
    await lab.apply(lab.release(Kind.SICK, health=replace(QUICK, check=check)), 1)

    (instance,) = await lab.settled(1, lambda one: one.state is InstanceState.UNHEALTHY)

    assert "exited with 1: ill" in instance.failure


async def test_failures_within_the_start_period_leave_an_instance_starting(lab):
    health = Health(HttpCheck("/cgi-bin/health"), interval=0.1, retries=1, start_period=60.0)
    await lab.apply(lab.release(Kind.SICK, health=health), 1)

    seen = await lab.until(lambda all_: bool(all_ and all_[0].failure))

    assert seen[0].state is InstanceState.STARTING
    await lab.engine.execute(seen[0].id, ("/bin/rm", "/tmp/sick"))
    await lab.settled(1)


async def test_a_program_that_the_image_lacks_is_named_and_nothing_is_left(lab):
    with pytest.raises(Invalid, match="/no/such"):
        await lab.apply(lab.release(command=("/no/such",)), 2)

    assert await lab.engine.observe(lab.app) == []


async def test_a_container_that_was_never_started_is_replaced(lab):
    release = lab.release()
    await lab.apply(release, 1)
    (instance,) = await lab.settled(1)
    made = await inspect(lab, instance.id)
    await lab.engine.remove(lab.app)
    config = {"Image": made["Image"], "Labels": made["Config"]["Labels"]}
    left = await lab.docker.containers.create(config, name=made["Name"].lstrip("/"))

    (seen,) = await lab.engine.observe(lab.app)
    assert "it was never started" in seen.drift
    await lab.apply(release, 1)

    (after,) = await lab.settled(1)
    assert after.id != left.id[:12]


@pytest.mark.parametrize("deed", ["pause", "stop", "rename", "disconnect"])
async def test_what_others_do_to_an_instance_is_drift_and_is_repaired(lab, deed):
    release = lab.release()
    await lab.apply(release, 1)
    (instance,) = await lab.settled(1)
    container = lab.docker.containers.container(instance.id)
    match deed:
        case "pause":
            await container.pause()
        case "stop":
            await container.stop(t=0)
        case "rename":
            await container.rename(f"renamed-{lab.app}")
        case "disconnect":
            network = await lab.docker.networks.get(f"naru-{lab.app}")
            async with lab.docker._query(
                f"networks/{network.id}/disconnect", "POST", data=json.dumps({"Container": instance.id})
            ):
                pass

    await lab.until(lambda all_: bool(all_ and all_[0].drift))
    await lab.apply(release, 1, retire=(instance.id,))

    (after,) = await lab.settled(1, lambda one: one.ready and not one.drift)
    assert after.id != instance.id


async def test_the_last_end_is_remembered_after_a_restart(lab):
    script = "[ -e /tmp/once ] && exec /bin/httpd -f -p 8080 -h /www; touch /tmp/once; exit 7"
    await lab.apply(lab.release(command=("/bin/sh", "-c", script)), 1)

    (instance,) = await lab.settled(1, lambda one: one.ready and one.exits == 1 and one.exit_code is not None)

    assert instance.exit_code == 7


async def test_observing_again_inspects_nothing(lab):
    await lab.apply(lab.release(), 2)
    await lab.settled(2)
    await lab.engine.observe()
    inspected = []
    look = lab.engine._wire.container

    async def counted(container):
        inspected.append(container)
        return await look(container)

    lab.engine._wire.container = counted
    assert len(await lab.engine.observe(lab.app)) == 2

    assert inspected == []


async def test_instances_of_a_rootless_engine_are_reached_through_a_port_of_this_machine(lab, tmp_path_factory):
    async with (
        asyncio.TaskGroup() as tasks,
        open_docker(f"unix://{lab.forwarder.path}", tasks, name=lab.engine.name, publish=True) as engine,
    ):
        lab.engine, direct = engine, lab.engine
        await lab.apply(lab.release(), 1)
        (instance,) = await lab.settled(1)
        assert instance.address.startswith("127.0.0.1:")
        await lab.apply(lab.release(Kind.DEAF, number=2), 1)
        seen = await lab.until(lambda all_: any(one.state is InstanceState.UNHEALTHY for one in all_))
        assert seen[1].failure == "nothing listens on port 8081; the container listens on 8080"
        lab.engine = direct


async def test_the_engine_is_listened_to_again_when_it_comes_back(lab):
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)

    await lab.forwarder.cut()
    await lab.vanish(instance)
    await lab.forwarder.open()

    assert await lab.until(lambda all_: all_ == []) == []


async def test_long_lines_are_kept_whole(lab):
    script = "/bin/seq -s x 20000; exec /bin/httpd -f -p 8080 -h /www"
    await lab.apply(lab.release(command=("/bin/sh", "-c", script)), 1)
    (instance,) = await lab.settled(1)

    lines = await everything(lab.engine.logs(instance.id))

    assert [line.text for line in lines] == ["x".join(str(number) for number in range(1, 20001))]


async def test_the_output_of_a_command_is_bounded(lab):
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)

    result = await lab.engine.execute(instance.id, ("/bin/head", "-c", "3000000", "/dev/zero"))

    assert (result.exit_code, len(result.stdout)) == (0, 1 << 20)


async def test_an_image_that_was_loaded_here_is_found_on_the_engine(lab):
    await lab.docker.images.tag(lab.image.config_digest, f"localhost/{lab.app}", tag="1")

    found = await lab.engine.find(f"localhost/{lab.app}:1")

    await lab.docker.images.delete(f"localhost/{lab.app}:1")
    assert found is not None
    assert found.config_digest == lab.image.config_digest
    assert await lab.engine.find("naru-test/none:1") is None


async def test_an_archive_that_holds_another_image_is_refused(lab, busybox):
    other = replace(lab.image, config_digest="sha256:" + "5" * 64, digest="sha256:" + "6" * 64)

    with pytest.raises(Invalid, match="another image"):
        await everything(lab.engine.fetch(other, archive=busybox[1]))
