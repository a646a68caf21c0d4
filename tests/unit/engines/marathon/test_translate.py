from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.domain.errors import Conflict
from naru.domain.image import Image, Origin, Platform
from naru.domain.instance import InstanceState
from naru.domain.release import Release, ReleaseState
from naru.domain.workload import (
    CommandCheck,
    Health,
    HttpCheck,
    Recreate,
    Resources,
    Restart,
    SecretFile,
    Volume,
    Workload,
)
from naru.engines.marathon.answers import App, HealthResult, Waiting
from naru.engines.marathon.translate import (
    Place,
    attempt,
    definition,
    drift,
    health_state,
    instance_id,
    instances,
    refuse_what_is_lacking,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PLACE = Place()
IMAGE = Image(
    "registry.example.org/shop:1", "sha256:" + "a" * 64, "sha256:" + "b" * 64, Platform(), Origin.REGISTRY, size=1
)
WORKLOAD = Workload(app="shop", image=IMAGE.reference, port=8080, replicas=2)
UUID = "564bd685-4c30-11e5-98c1-be5b2935a987"


def release(**changes):
    return Release("shop", 3, replace(WORKLOAD, **changes), IMAGE, ReleaseState.PENDING, "ada", NOW)


def shown(*tasks, wanted=None, since=NOW, **changes):
    """The application of a release as Marathon shows it, with its tasks."""
    made = definition(wanted or release(), 1, PLACE)
    info = {"lastScalingAt": since.isoformat(), "lastConfigChangeAt": since.isoformat()}
    found = PLACE.owned(App.model_validate({**made, "versionInfo": info, "tasks": list(tasks), **changes}))
    assert found
    return found


def task(state="TASK_RUNNING", number=1, **what):
    name = f"naru_shop_{release().revision}.instance-{UUID}._app.{number}"
    return {"id": name, "appId": "/naru/shop/x", "host": "agent1", "ports": [31000], "state": state, **what}


def failure(message, **what):
    return {"taskId": task()["id"], "state": "TASK_FAILED", "message": message, "timestamp": NOW.isoformat(), **what}


def test_an_application_is_a_revision_run_by_digest_at_a_port_of_the_agent():
    app = definition(release(), 2, PLACE)

    assert app["id"] == f"/naru/shop/{release().revision}"
    assert app["instances"] == 2
    assert app["container"]["docker"]["image"] == f"registry.example.org/shop@{IMAGE.digest}"
    assert app["container"]["portMappings"] == [{"containerPort": 8080, "hostPort": 0, "protocol": "tcp"}]
    assert app["networks"] == [{"mode": "container/bridge"}]
    assert "args" not in app


def test_a_command_replaces_the_entry_point_without_a_shell():
    app = definition(release(command=("/bin/run", "--a b"), arguments=("c",)), 1, PLACE)

    assert app["container"]["docker"]["parameters"] == [{"key": "entrypoint", "value": "/bin/run"}]
    assert app["args"] == ["--a b", "c"]
    assert "cmd" not in app


def test_arguments_alone_keep_the_entry_point():
    app = definition(release(arguments=("serve",)), 1, PLACE)

    assert app["container"]["docker"]["parameters"] == []
    assert app["args"] == ["serve"]


def test_limits_are_cores_and_mebibytes_and_have_defaults_where_there_are_none():
    limited = definition(release(resources=Resources(1.5, 64 << 20)), 1, PLACE)
    unlimited = definition(release(), 1, PLACE)

    assert (limited["cpus"], limited["mem"]) == (1.5, 64)
    assert (unlimited["cpus"], unlimited["mem"]) == (0.1, 512)


def test_checks_are_performed_by_mesos_at_once_and_never_kill():
    http = definition(release(health=Health(HttpCheck("/well"), interval=0.2, timeout=0.5, retries=2)), 1, PLACE)
    command = definition(release(health=Health(CommandCheck(("/bin/test", "a b")))), 1, PLACE)

    (check,) = http["healthChecks"]
    assert (check["protocol"], check["path"], check["delaySeconds"]) == ("MESOS_HTTP", "/well", 0)
    assert (check["intervalSeconds"], check["timeoutSeconds"]) == (1, 1)
    assert check["maxConsecutiveFailures"] > 100
    assert command["healthChecks"][0]["command"] == {"value": "/bin/test 'a b'"}


def test_a_workload_that_cannot_run_twice_is_never_run_twice():
    app = definition(release(strategy=Recreate()), 1, PLACE)

    assert app["upgradeStrategy"] == {"minimumHealthCapacity": 0.0, "maximumOverCapacity": 0.0}


@pytest.mark.parametrize("change", [{"volumes": (Volume("d", "/d"),)}, {"secrets": (SecretFile("s", "/s"),)}])
def test_what_marathon_cannot_do_is_refused(change):
    with pytest.raises(Conflict, match="marathon cannot do"):
        refuse_what_is_lacking(release(**change))


@pytest.mark.parametrize(
    "change",
    [
        {"id": "/naru/shop/other"},
        {"id": "/shop"},
        {"labels": {}},
        {"labels": {"naru.app": "shop", "naru.owner": "another", "naru.revision": "x"}},
    ],
)
def test_what_lies_elsewhere_or_is_another_s_is_not_ours(change):
    assert PLACE.owned(App.model_validate({**definition(release(), 1, PLACE), **change})) is None


def test_labels_that_cannot_be_read_are_drift_and_no_error():
    made = definition(release(), 1, PLACE)
    one = PLACE.owned(App.model_validate({**made, "labels": {**made["labels"], "naru.shape": "{"}}))

    assert one
    assert drift(one) == ("its labels cannot be read",)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mem": 64}, "its memory is 64 MiB, not 512 MiB"),
        ({"cpus": 2}, "its CPU is 2 cores, not 0.1"),
        ({"container": {"docker": {"image": "evil"}}}, "its image is evil, not registry.example.org/shop"),
        ({"container": None}, "its image is none"),
    ],
)
def test_what_others_changed_is_named(change, says):
    assert drift(shown())[:1] == ()
    (found,) = drift(shown(**change))
    assert says in found


@pytest.mark.parametrize(
    ("name", "instance", "number"),
    [
        (f"naru_shop_x.instance-{UUID}._app.3", f"naru_shop_x.instance-{UUID}", 3),
        (f"naru_shop_x.instance-{UUID}.$anon.1", f"naru_shop_x.instance-{UUID}", 1),
        (f"naru_shop_x.marathon-{UUID}", f"naru_shop_x.marathon-{UUID}", 1),
        (f"naru_shop_x.{UUID}", f"naru_shop_x.{UUID}", 1),
    ],
)
def test_an_instance_keeps_its_name_over_the_attempts_of_every_version(name, instance, number):
    assert (instance_id(name), attempt(name)) == (instance, number)


@given(st.text())
def test_any_task_id_names_some_instance(text):
    assert attempt(text) >= 0
    assert text.startswith(instance_id(text))


@pytest.mark.parametrize(
    ("state", "stands"),
    [
        ("TASK_STAGING", InstanceState.STARTING),
        ("TASK_STARTING", InstanceState.STARTING),
        ("TASK_RUNNING", InstanceState.STARTING),
        ("TASK_KILLING", InstanceState.STOPPING),
        ("TASK_UNREACHABLE", InstanceState.UNHEALTHY),
        ("TASK_FAILED", InstanceState.EXITED),
        ("TASK_GONE", InstanceState.EXITED),
        ("TASK_SOMETHING_NEW", InstanceState.STARTING),
    ],
)
def test_every_state_of_mesos_has_a_meaning(state, stands):
    (one,) = instances(shown(task(state)))[:1]

    assert one.state is stands


@given(
    st.integers(1, 5),
    st.lists(
        st.builds(HealthResult, consecutive_failures=st.integers(0, 9), first_success=st.sampled_from((None, NOW)))
    ),
)
def test_an_instance_is_ready_only_by_health_results(retries, results):
    state, _ = health_state(Health(retries=retries), results)

    worst = max((one.consecutive_failures for one in results), default=0)
    assert (state is InstanceState.UNHEALTHY) == (worst >= retries)
    if state is InstanceState.READY:
        assert results
        assert all(one.first_success for one in results)


@pytest.mark.parametrize(
    ("message", "code", "oom"),
    [
        ("Container exited with status 3", 3, False),
        ("Command terminated with signal Killed", 137, False),
        ("Memory limit exceeded: Requested: 16MB Maximum Used: 16MB", 137, True),
        ("Failed to launch container: no such image", None, False),
    ],
)
def test_how_a_task_ended_is_read_from_marathon_s_words(message, code, oom):
    (one,) = instances(shown(task("TASK_FAILED"), lastTaskFailure=failure(message)))

    assert (one.exits, one.exit_code, one.oom_killed, one.failure) == (1, code, oom, message)


def test_an_instance_that_ended_is_listed_though_marathon_lists_no_task():
    (one,) = instances(shown(lastTaskFailure=failure("Container exited with status 3")))

    assert (one.state, one.exits, one.exit_code) == (InstanceState.EXITED, 1, 3)


def test_a_failure_from_before_the_last_scaling_is_no_instance():
    old = failure("Container exited with status 3", timestamp=(NOW - timedelta(seconds=1)).isoformat())

    (one,) = instances(shown(lastTaskFailure=old))

    assert one.state is InstanceState.STARTING


@pytest.mark.parametrize(
    ("waiting", "why"),
    [
        (None, "Marathon has not launched it yet"),
        ({"app": {"id": "/x"}, "delay": {"timeLeftSeconds": 7}}, "Marathon waits 7 s after failures"),
        ({"app": {"id": "/x"}}, "it waits for an offer of an agent"),
    ],
)
def test_an_instance_without_a_task_is_starting_and_says_why(waiting, why):
    (one,) = instances(shown(), Waiting.model_validate(waiting) if waiting else None)

    assert one.state is InstanceState.STARTING
    assert why in one.failure


def test_never_to_be_restarted_is_waited_for_a_year_as_marathon_always_restarts():
    assert definition(release(restart=Restart.NEVER), 1, PLACE)["backoffSeconds"] == 365 * 24 * 3600
    assert definition(release(restart=Restart.ALWAYS), 1, PLACE)["backoffSeconds"] == 1
