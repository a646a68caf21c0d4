import io
import json
import tarfile
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.domain.errors import Invalid
from naru.domain.image import Image, Origin, Platform
from naru.domain.instance import InstanceState
from naru.domain.release import Release, ReleaseState
from naru.domain.workload import (
    CommandCheck,
    Health,
    HttpCheck,
    Resources,
    Restart,
    SecretFile,
    TcpCheck,
    Volume,
    Workload,
)
from naru.engines.docker.translate import (
    End,
    Known,
    Reach,
    container_config,
    drift,
    instance,
    owned,
    reached,
    secret_files,
)
from naru.engines.dockerapi.answers import Container, Stats
from naru.engines.dockerapi.health import begin
from naru.engines.dockerapi.translate import image_names, usage

DIGEST, CONFIG = "sha256:" + "a" * 64, "sha256:" + "b" * 64
IMAGE = Image("docker.io/library/nginx:1.27", DIGEST, CONFIG, Platform(), Origin.REGISTRY)
WORKLOAD = Workload(app="shop", image="nginx:1.27", port=8080, replicas=2)


def release(**changes):
    return Release("shop", 7, replace(WORKLOAD, **changes), IMAGE, ReleaseState.LIVE, "ana", datetime.now(UTC))


DIRECT, NOTHING = Reach(), Known()


def config(one, *, reach=DIRECT, own_checks=True):
    return container_config(one, 1, "image", owner="naru", reach=reach, own_checks=own_checks)


def inspected(one, *, status="running", name="", network="naru-shop", restarts=0, health=None, **changes):
    """What an engine answers about a container made by `config`, with `changes` to its host configuration."""
    made = json.loads(json.dumps(config(one)))
    return Container.model_validate(
        {
            "Id": "c" * 64,
            "Name": name or f"/naru-shop-{one.revision}-1",
            "Created": "2026-01-02T03:04:05.123456789Z",
            "State": {
                "Status": status,
                "OOMKilled": False,
                "Pid": 42,
                "ExitCode": changes.pop("exit_code", 0),
                "Error": "",
                "StartedAt": "2026-01-02T03:04:06.5Z",
                "Health": health,
            },
            "RestartCount": restarts,
            "HostConfig": {**made["HostConfig"], **changes},
            "Config": {"Labels": made["Labels"]},
            "NetworkSettings": {"Networks": {network: {"IPAddress": "172.18.0.3"}}, "Ports": None},
        }
    )


def seen(container, known=NOTHING):
    return instance(owned(container, "naru"), known, reach=Reach(), node="here")


def labelled(container, labels):
    return container.model_copy(update={"config": container.config.model_copy(update={"labels": labels})})


resources = st.builds(
    Resources,
    cpus=st.none() | st.floats(0.01, 1024, allow_nan=False),
    memory=st.none() | st.integers(6 << 20, 1 << 50),
)
checks = st.one_of(
    st.just(TcpCheck()),
    st.builds(HttpCheck, path=st.text().map(lambda text: "/" + text)),
    st.builds(CommandCheck, command=st.lists(st.text(min_size=1), min_size=1, max_size=3).map(tuple)),
)
workload_changes = st.fixed_dictionaries(
    {
        "resources": resources,
        "restart": st.sampled_from(Restart),
        "health": st.builds(Health, check=checks, interval=st.floats(0.1, 3600), timeout=st.floats(0.1, 3600)),
        "stop_grace": st.floats(0, 3600),
        "port": st.integers(1, 65535),
    }
)


@given(workload_changes)
def test_a_container_read_back_as_it_was_made_has_no_drift(changes):
    one = release(**changes)

    found = owned(inspected(one), "naru")

    assert found.shape.health == one.workload.health
    assert (found.app, found.release, found.revision) == ("shop", 7, one.revision)
    assert drift(found) == ()


def test_images_run_by_digest_and_never_by_tag():
    stored = replace(IMAGE, origin=Origin.STORED)

    assert image_names(IMAGE)[0] == f"docker.io/library/nginx@{DIGEST}"
    assert image_names(stored)[0] == CONFIG
    assert not any("1.27" in name for name in (*image_names(IMAGE), *image_names(stored)))


def test_a_command_replaces_the_entrypoint_and_arguments_alone_keep_it():
    assert config(release())["Labels"]
    assert "Entrypoint" not in config(release(arguments=("-v",)))
    assert config(release(arguments=("-v",)))["Cmd"] == ["-v"]
    assert config(release(command=("/bin/sh",)))["Entrypoint"] == ["/bin/sh"]
    assert config(release(command=("/bin/sh",)))["Cmd"] == []


def test_the_engine_runs_command_checks_and_silences_those_of_the_image():
    command = release(health=Health(CommandCheck(("true",)), interval=1.5, retries=4))

    assert config(command)["Healthcheck"]["Test"] == ["CMD", "true"]
    assert config(command)["Healthcheck"]["Interval"] == 1_500_000_000
    assert config(release())["Healthcheck"] == {"Test": ["NONE"]}
    assert config(command, own_checks=False)["Healthcheck"] == {"Test": ["NONE"]}


def test_nothing_is_published_unless_that_is_the_only_way():
    assert config(release())["HostConfig"]["PortBindings"] == {}
    published = config(release(), reach=Reach("127.0.0.1"))["HostConfig"]["PortBindings"]
    assert published == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}


def test_a_memory_limit_is_no_invitation_to_swap():
    host = config(release(resources=Resources(memory=64 << 20)))["HostConfig"]

    assert host["Memory"] == host["MemorySwap"] == 64 << 20


@given(st.binary(max_size=3000))
def test_secrets_are_packed_whole_and_readable_but_not_writable(value):
    workload = replace(WORKLOAD, secrets=(SecretFile("key", "/etc/app/key"),))

    with tarfile.open(fileobj=io.BytesIO(secret_files(workload, {"key": value}))) as archive:
        (member,) = archive.getmembers()
        content = archive.extractfile(member).read()

    assert (member.name, member.mode, content) == ("etc/app/key", 0o444, value)


def test_secrets_appear_in_no_configuration():
    text = json.dumps(config(release(secrets=(SecretFile("key", "/etc/app/key"),))))

    assert "key" not in text


def test_a_secret_in_a_volume_is_refused():
    workload = replace(WORKLOAD, secrets=(SecretFile("key", "/data/key"),), volumes=(Volume("data", "/data"),))

    with pytest.raises(Invalid, match="data"):
        secret_files(workload, {"key": b""})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Memory": 64 << 20}, "its memory limit is 64 MiB, not unlimited"),
        ({"NanoCpus": 500_000_000}, "its CPU limit is 0.5 cores, not unlimited"),
        ({"CpuQuota": 50_000}, "its CPU limit is 0.5 cores, not unlimited"),
        ({"RestartPolicy": {"Name": "no"}}, "its restart policy is no, not always"),
        ({"status": "paused"}, "it is paused"),
        ({"status": "created"}, "it was never started"),
        ({"status": "exited"}, "it was stopped"),
        ({"network": "bridge"}, "it was disconnected from the network naru-shop"),
        ({"name": "/other"}, "it is called other, not naru-shop"),
    ],
)
def test_each_change_by_others_is_named(change, words):
    assert words in ", ".join(seen(inspected(release(), **change)).drift)


def test_what_naru_does_itself_is_no_drift():
    assert seen(inspected(release(), status="created"), Known(making=True)).drift == ()
    stopping = seen(inspected(release(), status="exited"), Known(stopping=True))
    assert (stopping.drift, stopping.state) == ((), InstanceState.STOPPING)


def test_an_instance_that_may_end_is_not_stopped_by_others():
    assert seen(inspected(release(restart=Restart.NEVER), status="exited", exit_code=3)).drift == ()
    assert seen(inspected(release(restart=Restart.ON_FAILURE), status="exited")).drift == ()


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("created", InstanceState.STARTING),
        ("running", InstanceState.STARTING),
        ("restarting", InstanceState.EXITED),
        ("paused", InstanceState.UNHEALTHY),
        ("exited", InstanceState.EXITED),
        ("dead", InstanceState.EXITED),
        ("removing", InstanceState.STOPPING),
    ],
)
def test_every_status_of_docker_has_a_state(status, state):
    assert seen(inspected(release(), status=status)).state is state


def test_a_passed_check_makes_a_running_container_ready():
    ready = replace(begin(0.0), state=InstanceState.READY)

    assert seen(inspected(release()), Known(course=ready)).ready
    assert not seen(inspected(release(), status="paused"), Known(course=ready)).ready


def test_the_engines_own_check_decides_where_there_is_one():
    one = release(health=Health(CommandCheck(("test", "-e", "/ok"))))
    ill = {"Status": "unhealthy", "Log": [{"ExitCode": 1, "Output": "no such file\n"}]}

    unhealthy = seen(inspected(one, health=ill))

    assert unhealthy.state is InstanceState.UNHEALTHY
    assert unhealthy.failure == "test -e /ok exited with 1: no such file"
    assert seen(inspected(one, health={"Status": "healthy", "Log": None})).ready


def test_ends_are_counted_and_the_last_is_told():
    running = seen(inspected(release(), restarts=2), Known(end=End(137, oom_killed=True)))
    exited = seen(inspected(release(restart=Restart.NEVER), status="exited", exit_code=3))

    assert (running.exits, running.exit_code, running.oom_killed) == (2, 137, True)
    assert (exited.exits, exited.exit_code, exited.address) == (1, 3, "")


@pytest.mark.parametrize("labels", [None, {}, {"naru.app": "shop"}, {"naru.shape": "{}"}])
def test_a_container_without_our_labels_is_not_ours(labels):
    container = inspected(release())

    assert (
        owned(
            container.model_copy(update={"config": container.config.model_copy(update={"labels": labels or {}})}),
            "naru",
        )
        is None
    )


@pytest.mark.parametrize("shape", ["", "{}", "null", "[1]", '{"number": "x"}'])
def test_labels_that_nobody_can_read_are_drift(shape):
    container = inspected(release())

    broken = labelled(container, {**container.config.labels, "naru.shape": shape})

    assert seen(broken).drift == ("its labels cannot be read",)


def sample(cpu, precpu, stats, usage=100 << 20, preread="2026-01-02T03:04:05.000000001Z"):
    return Stats.model_validate(
        {
            "read": "2026-01-02T03:04:07.000000001Z",
            "preread": preread,
            "cpu_stats": {"cpu_usage": {"total_usage": cpu}},
            "precpu_stats": {"cpu_usage": {"total_usage": precpu}},
            "memory_stats": {"usage": usage, "limit": 200 << 20, "stats": stats},
            "networks": {"eth0": {"rx_bytes": 5, "tx_bytes": 7}, "eth1": {"rx_bytes": 1, "tx_bytes": 1}},
        }
    )


@pytest.mark.parametrize("stats", [{"total_inactive_file": 30 << 20, "inactive_file": 1}, {"inactive_file": 30 << 20}])
def test_usage_is_read_from_both_generations_of_cgroups(stats):
    used = usage("one", sample(3_000_000_000, 1_000_000_000, stats))

    assert (used.cpu, used.memory, used.memory_limit) == (1.0, 70 << 20, 200 << 20)
    assert (used.received, used.sent) == (6, 8)


def test_the_first_sample_has_nothing_to_compare_with():
    assert usage("one", sample(1, 0, {}, preread="0001-01-01T00:00:00Z")) is None


@pytest.mark.parametrize(
    ("url", "rootless", "machine"),
    [
        ("unix:///var/run/docker.sock", False, ""),
        ("unix:///run/user/1000/docker.sock", True, "127.0.0.1"),
        ("tcp://127.0.0.1:2375", False, ""),
        ("tcp://localhost:2375", True, "127.0.0.1"),
        ("tcp://10.0.0.7:2375", False, "10.0.0.7"),
        ("tcp://plant.example.org:2375", True, "plant.example.org"),
        ("tcp://[fd00::7]:2375", False, "fd00::7"),
    ],
)
def test_instances_of_an_engine_elsewhere_are_reached_through_its_machine(url, rootless, machine):
    reach = reached(url, rootless=rootless, publish=None)
    assert reach.machine == machine
    assert reach.interface == ("127.0.0.1" if machine == "127.0.0.1" else "0.0.0.0")
