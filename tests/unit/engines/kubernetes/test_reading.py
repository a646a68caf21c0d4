from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.engines.kubernetes.test_translate import DIGEST, release

from naru.domain.instance import InstanceState
from naru.domain.kind import WorkloadKind
from naru.domain.workload import CommandCheck, Health, HttpCheck, Resources, TcpCheck
from naru.engines.kubernetes import translate
from naru.engines.kubernetes.answers import Event, Pod, PodMetrics
from naru.engines.kubernetes.pods import Birth
from naru.engines.kubernetes.reading import drift, instance, owned, probe_answer, usage

BORN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUNNING = {"running": {"startedAt": BORN.isoformat()}}
HEALTH = Health(HttpCheck("/up"), interval=1, retries=3, start_period=10)


def pod(one=None, *, state=None, last=None, restarts=0, ready=None, since=BORN, conditions=(), **meta):
    one = one or release(health=HEALTH)
    made = translate.deployment("me", one, 1, Birth(7)).to_dict()["spec"]["template"]
    status = {"name": "app", "restartCount": restarts, "state": state or {}, "lastState": last or {}}
    if ready is not None:
        conditions = (*conditions, {"type": "Ready", "status": str(ready), "lastTransitionTime": since.isoformat()})
    made["metadata"] |= {"name": "shop-1", "creationTimestamp": BORN.isoformat(), **meta}
    made["status"] = {"podIP": "10.0.0.1", "conditions": conditions, "containerStatuses": [status] if state else []}
    return made


def told(made, answer="", after=5.0):
    one = owned(Pod.model_validate(made), BORN)
    assert one is not None
    return instance(one, answer, BORN + timedelta(seconds=after))


def test_a_ready_pod_is_reached_at_its_own_address():
    one = told(pod(state=RUNNING, ready=True))

    assert (one.state, one.address, one.failure, one.drift) == (InstanceState.READY, "10.0.0.1:8080", "", ())


def test_addresses_of_six_words_are_in_brackets():
    made = pod(state=RUNNING, ready=True)
    made["status"]["podIP"] = "fd00::1"

    assert told(made).address == "[fd00::1]:8080"


@pytest.mark.parametrize(
    ("state", "last", "restarts", "standing", "failure"),
    [
        ({"waiting": {"reason": "ContainerCreating"}}, {}, 0, InstanceState.STARTING, ""),
        ({"waiting": {"reason": "ErrImagePull", "message": "x"}}, {}, 0, InstanceState.STARTING, "ErrImagePull: x"),
        ({"waiting": {"reason": "ImagePullBackOff"}}, {}, 0, InstanceState.UNHEALTHY, "ImagePullBackOff"),
        (
            {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "a" not found'}},
            {},
            0,
            InstanceState.UNHEALTHY,
            'CreateContainerConfigError: secret "a" not found',
        ),
        ({"terminated": {"exitCode": 1, "reason": "Error"}}, {}, 0, InstanceState.EXITED, "exit code 1"),
        (
            {"waiting": {"reason": "CrashLoopBackOff"}},
            {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            4,
            InstanceState.EXITED,
            "CrashLoopBackOff: OOMKilled, exit code 137, 4 restarts",
        ),
    ],
)
def test_what_keeps_a_container_from_running_is_told(state, last, restarts, standing, failure):
    one = told(pod(state=state, last=last, restarts=restarts))

    assert (one.state, one.failure) == (standing, failure)


def test_ends_are_counted_and_the_last_is_told():
    running = told(pod(state=RUNNING, last={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, restarts=2))
    ended = told(pod(state={"terminated": {"exitCode": 3, "reason": "Error"}}, restarts=2))

    assert (running.exits, running.exit_code, running.oom_killed) == (2, 137, True)
    assert (ended.exits, ended.exit_code, ended.oom_killed, ended.address) == (3, 3, False, "")


def test_a_pod_without_a_node_says_why():
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}

    assert told(pod(conditions=(condition,))).failure == "Unschedulable: 0/3 nodes"


@pytest.mark.parametrize(("after", "standing"), [(12.9, InstanceState.STARTING), (13.1, InstanceState.UNHEALTHY)])
def test_checks_have_the_start_period_and_their_retries_before_it_is_given_up(after, standing):
    assert told(pod(state=RUNNING, ready=False), after=after).state is standing


def test_what_was_ready_and_is_not_any_more_is_unhealthy_at_once():
    fell = BORN + timedelta(seconds=2)

    assert told(pod(state=RUNNING, ready=False, since=fell), after=3).state is InstanceState.UNHEALTHY


@pytest.mark.parametrize(
    ("check", "answer", "failure"),
    [
        (HttpCheck("/up"), "HTTP probe failed with statuscode: 500", "GET /up on 10.0.0.1:8080 answered 500"),
        (HttpCheck("/up"), "context deadline exceeded", "GET /up on 10.0.0.1:8080: context deadline exceeded"),
        (HttpCheck("/up"), "", "GET /up on 10.0.0.1:8080 did not answer"),
        (TcpCheck(), "connection refused", "nothing accepts a connection on port 8080: connection refused"),
        (CommandCheck(("/check",)), "", "/check failed"),
    ],
)
def test_a_failing_check_and_its_answer_are_told(check, answer, failure):
    one = release(health=replace(HEALTH, check=check))

    assert told(pod(one, state=RUNNING, ready=False), answer, after=60).failure == failure


def test_only_failing_checks_are_heard():
    assert probe_answer(Event(reason="Unhealthy", message="Liveness probe failed: no\nmore ")) == "no\nmore"
    assert probe_answer(Event(reason="Unhealthy", message="Readiness probe errored: gone")) == "gone"
    assert probe_answer(Event(reason="BackOff", message="Back-off restarting")) == ""


def test_a_pod_that_is_told_to_go_is_stopping_and_has_no_drift():
    one = told(pod(state=RUNNING, ready=True, deletionTimestamp=BORN.isoformat(), annotations={}))

    assert (one.state, one.drift) == (InstanceState.STOPPING, ())


def test_what_others_changed_is_named_and_what_they_added_is_not():
    made = pod(release(resources=Resources(cpus=0.5, memory=64 << 20)), state=RUNNING, ready=True)
    made["spec"]["containers"].append({"name": "sidecar", "image": "proxy"})
    made["metadata"]["annotations"]["team"] = "harbour"
    one = owned(Pod.model_validate(made), BORN)
    assert drift(one) == ()
    made["spec"]["containers"][0] |= {"image": "other", "resources": {"limits": {"memory": "32Mi", "cpu": "500m"}}}

    assert drift(owned(Pod.model_validate(made), BORN)) == (
        f"its image is other, not docker.io/library/nginx@{DIGEST}",
        "its memory limit is 32Mi, not 67108864",
    )


def test_pods_of_others_are_nobodys_instances():
    assert owned(Pod.model_validate({"metadata": {"name": "x", "labels": {"app": "y"}}}), BORN) is None


@pytest.mark.parametrize(("seen", "born"), [(0.25, 0.25), (1.5, 0.0), (-3, 0.0)])
def test_births_are_as_exact_as_they_were_seen(seen, born):
    one = owned(Pod.model_validate(pod()), BORN + timedelta(seconds=seen))

    assert one.born == BORN + timedelta(seconds=born)


def test_usage_is_that_of_the_app_alone():
    rows = [{"name": "app", "usage": {"cpu": "250m", "memory": "2Mi"}}, {"name": "sidecar", "usage": {"cpu": "9"}}]
    sample = PodMetrics.model_validate({"timestamp": BORN.isoformat(), "containers": rows})

    found = usage(owned(Pod.model_validate(pod()), BORN), sample, 1 << 30)

    assert (found.cpu, found.memory, found.memory_limit) == (0.25, 2 << 20, 1 << 30)


@pytest.mark.parametrize(
    ("kind", "code", "standing", "exits"),
    [
        (WorkloadKind.BATCH, 0, InstanceState.COMPLETED, 1),
        (WorkloadKind.BATCH, 3, InstanceState.EXITED, 1),
        (WorkloadKind.SERVICE, 0, InstanceState.EXITED, 1),
    ],
)
def test_what_is_meant_to_end_is_completed_when_it_ended_well(kind, code, standing, exits):
    made = pod(release(kind=kind), state={"terminated": {"exitCode": code, "reason": "Completed"}})
    made["status"]["phase"] = "Failed" if code else "Succeeded"

    one = told(made)

    assert (one.state, one.exit_code, one.exits, one.address) == (standing, code, exits, "")


def test_what_listens_nowhere_has_no_address():
    one = told(pod(release(kind=WorkloadKind.WORKER, port=0), state=RUNNING, ready=True))

    assert (one.state, one.address) == (InstanceState.READY, "")
