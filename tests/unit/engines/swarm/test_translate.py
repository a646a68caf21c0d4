"""What services, tasks and nodes of a swarm mean, told by their values alone."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.domain.image import Image, Origin, Platform
from naru.domain.instance import InstanceState
from naru.domain.release import Release, ReleaseState
from naru.domain.workload import CommandCheck, Health, Resources, Restart, SecretFile, Volume, Workload
from naru.engines.dockerapi.health import after, begin
from naru.engines.swarm.answers import Node, Service, Task
from naru.engines.swarm.ingress import ingress_problem
from naru.engines.swarm.translate import (
    Known,
    Owned,
    drift,
    instance,
    owned,
    secret_name,
    service_name,
    service_spec,
    stopped,
    waiting,
)

DIGEST, CONFIG = "sha256:" + "a" * 64, "sha256:" + "b" * 64
IMAGE = Image("docker.io/library/nginx:1.27", DIGEST, CONFIG, Platform(), Origin.REGISTRY)
WORKLOAD = Workload(app="shop", image="nginx:1.27", port=8080, replicas=2)
CREATED = "2026-01-02T03:04:05.123456789Z"


def release(**changes):
    return Release("shop", 7, replace(WORKLOAD, **changes), IMAGE, ReleaseState.LIVE, "ana", datetime.now(UTC))


def spec(one, secret_ids=None):
    made = service_spec(one, 1, "nginx@" + DIGEST, owner="naru", secret_ids=secret_ids or {})
    return json.loads(json.dumps(made))


def service(made, **more):
    return Service.model_validate({"ID": "s" * 25, "CreatedAt": CREATED, "Spec": made, **more})


def task(number, state, *, node="n1", err="", desired="running", code=0, port=32768):
    return Task.model_validate(
        {
            "ID": f"t{number}",
            "CreatedAt": f"2026-01-02T03:04:{number:02}Z",
            "ServiceID": "s" * 25,
            "NodeID": node,
            "DesiredState": desired,
            "Status": {
                "State": state,
                "Err": err,
                "ContainerStatus": {"ContainerID": "c" * 64, "PID": 42, "ExitCode": code},
                "PortStatus": {"Ports": [{"TargetPort": 8080, "PublishedPort": port}]},
            },
        }
    )


def node(state="ready", addr="10.0.0.1", name="one"):
    described = {"Hostname": name}
    return Node.model_validate({"ID": "n1", "Description": described, "Status": {"State": state, "Addr": addr}})


def seen(*tasks, made=None, at=None, **more) -> Owned:
    one = owned(service(made or spec(release()), **more), tasks, {"n1": at or node()}, "naru")
    assert one is not None
    return one


def ready():
    return Known(course=after(begin(0.0), WORKLOAD.health, "", 1.0))


def test_a_service_is_published_on_its_node_and_never_by_the_mesh():
    endpoint = spec(release())["EndpointSpec"]

    assert endpoint["Mode"] == "dnsrr"
    assert endpoint["Ports"] == [{"Protocol": "tcp", "TargetPort": 8080, "PublishMode": "host"}]


def test_memory_is_limited_and_reserved_and_cores_are_limited_only():
    resources = spec(release(resources=Resources(cpus=0.5, memory=64 << 20)))["TaskTemplate"]["Resources"]

    assert resources["Limits"] == {"MemoryBytes": 64 << 20, "NanoCPUs": 500_000_000}
    assert resources["Reservations"] == {"MemoryBytes": 64 << 20}


def test_secrets_are_files_named_by_version_and_never_variables():
    container = spec(release(secrets=(SecretFile("word", "/opt/word", 3),)), {"word": "id"})["TaskTemplate"]
    (secret,) = container["ContainerSpec"]["Secrets"]

    assert secret["SecretName"].endswith("-v3")
    assert secret["File"]["Name"] == "/opt/word"
    assert container["ContainerSpec"]["Env"] == []


@given(st.from_regex(r"[a-z]{1,40}", fullmatch=True), st.integers(0, 10**9))
def test_names_fit_into_what_swarm_has_for_them(app, number):
    assert len(service_name(app, "0" * 12, 1000)) <= 63
    assert len(secret_name(app, SecretFile(app, "/x", number), "naru")) <= 64


def test_volumes_carry_whose_they_are():
    (mount,) = spec(release(volumes=(Volume("data", "/data", True),)))["TaskTemplate"]["ContainerSpec"]["Mounts"]

    assert (mount["Source"], mount["Target"], mount["ReadOnly"]) == ("naru-shop-data", "/data", True)
    assert mount["VolumeOptions"]["Labels"] == {"naru.owner": "naru", "naru.app": "shop"}


def test_templates_in_variables_are_not_filled_in():
    container = spec(release(environment={"X": "{{.Node.ID}}"}))["TaskTemplate"]["ContainerSpec"]

    assert container["Env"] == ['X={{"{{"}}.Node.ID}}']


def test_a_service_of_another_naru_or_with_a_label_alone_is_not_ours():
    made = spec(release())

    assert owned(service(made), (), {}, "another") is None
    del made["Labels"]["naru.shape"]
    assert owned(service(made), (), {}, "naru") is None


def test_stopping_keeps_all_of_the_specification_but_the_task():
    made = spec(release())

    told = stopped(made)

    assert told["Mode"] == {"Replicated": {"Replicas": 0}}
    assert {key: value for key, value in told.items() if key not in ("Mode", "Labels")} == {
        key: value for key, value in made.items() if key not in ("Mode", "Labels")
    }
    one = seen(task(1, "running"), made=told)
    assert instance(one, ready()).state is InstanceState.STOPPING
    assert instance(one, ready()).drift == ()


def test_a_running_task_whose_check_passed_is_ready_at_its_nodes_port():
    told = instance(seen(task(1, "running")), ready())

    assert (told.state, told.address, told.node, told.exits) == (InstanceState.READY, "10.0.0.1:32768", "one", 0)


@pytest.mark.parametrize(
    ("addr", "host"), [("0.0.0.0", "192.0.2.1"), ("fd00::1", "[fd00::1]"), ("10.0.0.9", "10.0.0.9")]
)
def test_a_nodes_address_is_the_one_that_others_dial(addr, host):
    at = Node.model_validate(
        {"ID": "n1", "Status": {"State": "ready", "Addr": addr}, "ManagerStatus": {"Addr": "192.0.2.1:2377"}}
    )

    assert instance(seen(task(1, "running"), at=at), ready()).address == f"{host}:32768"


def test_an_instance_on_a_lost_node_is_not_ready_and_says_which():
    told = instance(seen(task(1, "running"), at=node("down")), ready())

    assert (told.state, told.address, told.failure) == (InstanceState.UNHEALTHY, "", "the node one is down")


def test_the_newest_task_counts_and_those_that_ended_are_counted():
    tasks = task(3, "running"), task(1, "failed", err="task: non-zero exit (3)", code=3), task(2, "shutdown")

    told = instance(seen(*tasks), ready())

    assert (told.state, told.exits, told.exit_code) == (InstanceState.READY, 1, 3)


def test_swarm_forgets_tasks_and_naru_does_not():
    told = instance(seen(task(9, "failed", err="task: non-zero exit (3)", code=3)), Known(exits=12))

    assert (told.state, told.exits) == (InstanceState.EXITED, 12)


@pytest.mark.parametrize(
    ("tasks", "state", "failure"),
    [
        (
            (task(1, "pending", node="", err="no suitable node (no room)"),),
            "starting",
            "no suitable node",
        ),
        ((task(1, "rejected", err="No such image: x"),), "exited", "No such image: x"),
        ((task(1, "failed", err="task: non-zero exit (1)", code=1),), "exited", ""),
        ((task(1, "preparing"),), "starting", ""),
        ((task(2, "ready", desired="ready"), task(1, "failed", err="task: non-zero exit (1)", code=1)), "exited", ""),
        ((task(1, "orphaned"),), "exited", "its node was away"),
        ((), "starting", ""),
    ],
)
def test_what_swarm_says_of_a_task_is_told(tasks, state, failure):
    told = instance(seen(*tasks), Known())

    assert told.state == state
    assert told.failure.startswith(failure)


def test_a_check_of_swarms_own_decides_by_the_tasks_state():
    made = spec(release(health=Health(CommandCheck(("/bin/check",)), retries=2)))
    unhealthy = "task: non-zero exit (137): dockerexec: unhealthy container"

    assert instance(seen(task(1, "running"), made=made), Known()).ready
    ill = instance(seen(task(2, "starting"), task(1, "failed", err=unhealthy, code=137), made=made), Known())
    assert ill.state is InstanceState.UNHEALTHY
    assert ill.failure == "/bin/check failed 2 times, and Swarm replaced the container"


def test_a_kill_under_a_memory_limit_names_the_limit():
    made = spec(release(resources=Resources(memory=64 << 20), restart=Restart.NEVER))

    told = instance(seen(task(1, "failed", err="task: non-zero exit (137)", code=137), made=made), Known())

    assert "64 MiB" in told.failure


def changed(**parts):
    made = spec(release())
    for path, value in parts.items():
        *way, last = path.split("__")
        at = made
        for step in way:
            at = at.setdefault(step, {})
        at[last] = value
    return made


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (changed(Mode__Replicated__Replicas=3), "scaled to 3"),
        (changed(TaskTemplate__Resources__Limits={"MemoryBytes": 64 << 20}), "memory limit is 64 MiB, not unlimited"),
        (changed(TaskTemplate__Resources__Limits={"NanoCPUs": 10**9}), "CPU limit is 1 cores, not unlimited"),
        (changed(TaskTemplate__RestartPolicy__Condition="none"), "restart policy is none, not any"),
        (changed(TaskTemplate__ContainerSpec__Image="other"), "image is other"),
        (changed(Labels={"naru.owner": "naru", "naru.app": "shop", "naru.shape": "{"}), "cannot be read"),
    ],
)
def test_what_others_changed_is_named(made, named):
    assert named in drift(seen(task(1, "running"), made=made))[0]


@pytest.mark.parametrize("state", ["paused", "rollback_started", "rollback_paused", "rollback_completed"])
def test_an_update_that_swarm_gave_up_is_drift(state):
    one = seen(task(1, "running"), UpdateStatus={"State": state, "Message": "update paused due to failure"})

    assert drift(one) == (f"an update of it is {state.replace('_', ' ')}: update paused due to failure",)


def test_untouched_services_have_no_drift():
    shaped = spec(release(resources=Resources(cpus=0.5, memory=64 << 20), restart=Restart.ON_FAILURE))

    assert drift(seen(task(1, "running"))) == ()
    assert drift(seen(task(1, "running"), made=shaped)) == ()


def test_a_task_on_a_lost_node_is_not_waited_for():
    one, running = seen(), task(1, "running", desired="remove")

    assert waiting(one, [running], {"n1": node()})
    assert not waiting(one, [running], {"n1": node("down")})
    assert not waiting(one, [running], {})
    assert not waiting(one, [task(1, "shutdown")], {"n1": node()})


def test_a_task_that_is_about_to_be_swept_away_is_waited_for():
    assert waiting(seen(), [task(1, "shutdown", desired="remove")], {"n1": node()})
    assert not waiting(seen(), [], {"n1": node()})


def test_the_kernels_ipvs_is_looked_for_where_it_would_be(tmp_path):
    assert "IPVS" in ingress_problem(tmp_path, tmp_path)

    (tmp_path / "net").mkdir()
    (tmp_path / "net/ip_vs").touch()

    assert ingress_problem(tmp_path, tmp_path) == ""
