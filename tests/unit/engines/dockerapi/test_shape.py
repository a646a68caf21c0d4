"""What is written on instances is read again, also by a later Naru, and kinds shape them alike on both engines."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.domain.image import Image, Origin, Platform
from naru.domain.kind import WorkloadKind
from naru.domain.release import Release, ReleaseState
from naru.domain.workload import Health, Resources, Restart, Volume, Workload
from naru.engines.docker.translate import Reach, container_config
from naru.engines.dockerapi.shape import SHAPE_LABEL, Shape, changed_limits, read_mark, whose, written
from naru.engines.swarm.translate import service_spec

IMAGE = Image("shop:1", "sha256:" + "a" * 64, "sha256:" + "b" * 64, Platform(), Origin.REGISTRY)
STORE = Workload(
    *("mall-db", "shop:1", 0, 3),
    kind=WorkloadKind.STATEFUL,
    project="mall",
    volumes=(Volume("data", "/data"),),
)
BATCH = Workload("crunch", "shop:1", 0, 3, kind=WorkloadKind.BATCH)


def release(workload: Workload) -> Release:
    return Release(workload.app, 7, workload, IMAGE, ReleaseState.PENDING, "ana", datetime.now(UTC))


def container(workload: Workload, number: int = 1) -> dict:
    made = container_config(release(workload), number, "i", owner="naru", reach=Reach("127.0.0.1"), own_checks=True)
    return json.loads(json.dumps(made))


def service(workload: Workload, number: int = 1) -> dict:
    return json.loads(json.dumps(service_spec(release(workload), number, "i", owner="naru", secret_ids={})))


@given(
    st.builds(
        Shape,
        number=st.integers(1, 1000),
        port=st.integers(0, 65535),
        health=st.just(Health()),
        resources=st.builds(Resources, st.none() | st.floats(0.01, 64), st.none() | st.integers(1 << 23, 1 << 40)),
        restart=st.sampled_from(Restart),
        stop_grace=st.floats(0, 3600),
        kind=st.sampled_from(WorkloadKind),
        project=st.sampled_from(["", "mall"]),
        image=st.sampled_from(["", "shop:1"]),
    )
)
def test_what_was_written_is_read_again(shape: Shape):
    mark = read_mark({**whose(release(STORE), "naru"), **written(shape)}, "naru")

    assert mark is not None
    assert (mark.app, mark.release, mark.shape) == ("mall-db", 7, shape)
    assert read_mark({**whose(release(STORE), "other"), **written(shape)}, "naru") is None


def test_what_was_made_before_there_were_kinds_is_a_service_outside_of_projects():
    shape = Shape.of(Workload("shop", "shop:1", 80, 1), 1)
    text = json.loads(written(shape)[SHAPE_LABEL])
    old = {name: value for name, value in text.items() if name not in ("kind", "project", "image")}

    mark = read_mark({**whose(release(STORE), "naru"), SHAPE_LABEL: json.dumps(old)}, "naru")

    assert mark is not None
    assert mark.shape == shape


@pytest.mark.parametrize(("number", "volume"), [(1, "naru-mall-db-data"), (2, "naru-mall-db-data.2")])
def test_each_instance_of_a_store_has_a_volume_and_the_first_keeps_that_of_a_service(number: int, volume: str):
    assert [one["Source"] for one in container(STORE, number)["HostConfig"]["Mounts"]] == [volume]
    assert [one["Source"] for one in service(STORE, number)["TaskTemplate"]["ContainerSpec"]["Mounts"]] == [volume]


def test_what_listens_nowhere_publishes_nothing():
    made = container(STORE)

    assert (made["ExposedPorts"], made["HostConfig"]["PortBindings"]) == ({}, {})
    assert service(STORE)["EndpointSpec"]["Ports"] == []


def test_a_project_takes_the_place_of_the_apps_own_network():
    assert container(STORE)["NetworkingConfig"]["EndpointsConfig"] == {"naru_mall": {"Aliases": ["mall-db", "db"]}}
    assert service(STORE)["TaskTemplate"]["Networks"] == [{"Target": "naru_mall_swarm", "Aliases": ["mall-db", "db"]}]


@pytest.mark.parametrize(
    ("restart", "policy", "condition"),
    [(Restart.ALWAYS, "on-failure", "on-failure"), (Restart.NEVER, "no", "none")],
)
def test_what_is_meant_to_end_is_never_started_again_after_a_success(restart, policy, condition):
    batch = replace(BATCH, restart=restart)

    assert container(batch)["HostConfig"]["RestartPolicy"]["Name"] == policy
    assert service(batch)["TaskTemplate"]["RestartPolicy"]["Condition"] == condition


def test_changed_limits_are_named():
    asked = Resources(cpus=0.5, memory=64 << 20)

    assert list(changed_limits(asked, 64 << 20, 0.5)) == []
    assert list(changed_limits(asked, 0, 1.0)) == [
        "its memory limit is unlimited, not 64 MiB",
        "its CPU limit is 1 cores, not 0.5 cores",
    ]
