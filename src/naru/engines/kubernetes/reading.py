"""What pods are in Naru's words: nothing here talks to anything.

A pod's state is told from its conditions and its container's state (Kubernetes documentation, "Pod Lifecycle"); the
answer of a failing check comes from the kubelet's event of reason `Unhealthy`, as nothing else holds it.
"""

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from pydantic import ValidationError

from naru.domain.instance import Instance, InstanceState, Usage
from naru.domain.workload import CommandCheck, Health, HttpCheck, TcpCheck
from naru.engines.base import APP_LABEL, PROJECT_LABEL, RELEASE_LABEL, REVISION_LABEL
from naru.engines.kubernetes.answers import (
    Condition,
    Container,
    ContainerStatus,
    Event,
    Object,
    Pod,
    PodMetrics,
    container,
)
from naru.engines.kubernetes.naming import CONTAINER, NUMBER_LABEL
from naru.engines.kubernetes.pods import SHAPE, SHAPE_ANNOTATION, Shape
from naru.engines.kubernetes.translate import amount

_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff"})
_NEVER_STARTS = frozenset(
    {
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""Reasons of waiting that only a change ends."""
_CRASHING = "CrashLoopBackOff"
_PROBE_FAILED = re.compile(r"(?:Readiness|Liveness) probe (?:failed|errored[^:]*): ?(?P<answer>.*)", re.DOTALL)
_STATUS_CODE = re.compile(r"HTTP probe failed with statuscode: (\d+)")


@dataclass(frozen=True, slots=True)
class Owned:
    """A pod that Naru's Deployments made, as far as it is kept: there may be many.

    `id` is its name, which another pod may have after it, and `uid` is its own for ever. `born` is when it was made, as
    exactly as is known; `shape` is None when nobody can read it; `number` is that of an instance of a stateful app,
    else 0. `stopping` says whether it was told to go; `ended` why it ended as a whole. `held` and `status` are of
    its container.
    """

    id: str
    uid: str
    namespace: str
    project: str
    app: str
    release: int
    revision: str
    born: datetime | None
    stopping: bool
    shape: Shape | None
    number: int
    node: str
    ip: str
    ended: str | None
    scheduled: Condition | None
    ready: Condition | None
    held: Container | None
    status: ContainerStatus | None

    @property
    def over(self) -> bool:
        """Whether it ended and nothing starts it again."""
        return self.ended is not None


def owned(pod: Pod, seen: datetime) -> Owned | None:
    """Read a pod's labels; None when Naru did not make it. `seen` is when it was seen first.

    The API tells whole seconds of a pod's creation; what was seen within that second is known better.
    """
    labels = pod.metadata.labels
    if not (app := labels.get(APP_LABEL)) or REVISION_LABEL not in labels:
        return None
    stamp = pod.metadata.creation_timestamp
    born = seen if stamp and stamp <= seen < stamp + timedelta(seconds=1) else stamp
    conditions = {condition.type: condition for condition in pod.status.conditions}
    over = pod.status.phase in ("Failed", "Succeeded")
    return Owned(
        id=pod.metadata.name,
        uid=pod.metadata.uid,
        namespace=pod.metadata.namespace,
        project=labels.get(PROJECT_LABEL, ""),
        app=app,
        release=_number(labels.get(RELEASE_LABEL, "")),
        revision=labels[REVISION_LABEL],
        born=born,
        stopping=pod.metadata.deletion_timestamp is not None,
        shape=_shape(pod.metadata.annotations.get(SHAPE_ANNOTATION, "")),
        number=_number(labels.get(NUMBER_LABEL, "")),
        node=pod.spec.node_name,
        ip=pod.status.pod_ip,
        ended=_said(pod.status.reason, pod.status.message) if over else None,
        scheduled=conditions.get("PodScheduled"),
        ready=conditions.get("Ready"),
        held=container(pod.spec.containers, CONTAINER),
        status=next((one for one in pod.status.container_statuses if one.name == CONTAINER), None),
    )


@dataclass(frozen=True, slots=True)
class Schedule:
    """A CronJob that Naru made, as far as it is kept."""

    id: str
    namespace: str
    project: str
    app: str
    release: int
    revision: str
    born: datetime | None


def schedule(found: Object) -> Schedule | None:
    """Read a CronJob's labels; None when Naru did not make it."""
    meta = found.metadata
    if APP_LABEL not in meta.labels or REVISION_LABEL not in meta.labels:
        return None
    return Schedule(
        id=meta.name,
        namespace=meta.namespace,
        project=meta.labels.get(PROJECT_LABEL, ""),
        app=meta.labels[APP_LABEL],
        release=_number(meta.labels.get(RELEASE_LABEL, "")),
        revision=meta.labels[REVISION_LABEL],
        born=meta.creation_timestamp,
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


@lru_cache(maxsize=4096)
def _shape(text: str) -> Shape | None:
    """Read the annotation; pods of a revision share what it says."""
    try:
        return SHAPE.validate_json(text)
    except ValidationError:
        return None


def probe_answer(event: Event) -> str:
    """Return what a failing check answered, empty when the event tells of something else."""
    said = _PROBE_FAILED.match(event.message) if event.reason == "Unhealthy" else None
    return said["answer"].strip()[:300] if said else ""


def instance(one: Owned, answer: str, now: datetime) -> Instance:
    """Tell a pod in Naru's words; `answer` is what its failing check answered last."""
    state, failure = _standing(one, answer, now)
    status = one.status
    current = status.state.terminated if status else None
    last = current or (status.last_state.terminated if status else None)
    ended = state in (InstanceState.EXITED, InstanceState.COMPLETED)
    return Instance(
        id=one.id,
        app=one.app,
        release=one.release,
        revision=one.revision,
        state=state,
        address=f"{_host(one.ip)}:{one.shape.port}" if one.ip and one.shape and one.shape.port and not ended else "",
        node=one.node,
        created_at=one.born,
        exits=status.restart_count + ended if status else 0,
        exit_code=last.exit_code if last else None,
        oom_killed=last.reason == "OOMKilled" if last else False,
        failure=failure,
        drift=() if one.stopping else drift(one),
    )


def standing(one: Schedule) -> Instance:
    """Tell a schedule in Naru's words."""
    return Instance(
        id=one.id,
        app=one.app,
        release=one.release,
        revision=one.revision,
        state=InstanceState.SCHEDULED,
        created_at=one.born,
    )


def drift(one: Owned) -> tuple[str, ...]:
    """Name what someone else changed of what Naru had set; what they added is theirs to add."""
    if one.shape is None:
        return ("its shape cannot be read",)
    held = one.held
    if held is None:
        return (f"it has no container {CONTAINER}",)
    found = []
    if held.image != one.shape.image:
        found.append(f"its image is {held.image}, not {one.shape.image}")
    if (held.command, held.args) != (one.shape.command, one.shape.arguments):
        found.append(f"its command is {' '.join((*held.command, *held.args)) or 'that of its image'}")
    resources = one.shape.resources
    memory = held.resources.limits.get("memory")
    if resources.memory is not None and (memory is None or amount(memory) != resources.memory):
        found.append(f"its memory limit is {memory or 'unlimited'}, not {resources.memory}")
    cpus = held.resources.limits.get("cpu")
    wanted = math.ceil((resources.cpus or 0) * 1000)
    if resources.cpus is not None and (cpus is None or round(amount(cpus) * 1000) != wanted):
        found.append(f"its CPU limit is {cpus or 'unlimited'}, not {wanted}m")
    return tuple(found)


def usage(one: Owned, sample: PodMetrics, room: int) -> Usage:
    """Read one sample of the metrics API, which tells nothing of the network; `room` is the node's memory in bytes."""
    limits = one.held.resources.limits if one.held else {}
    used = [container.usage for container in sample.containers if container.name == CONTAINER]
    return Usage(
        instance=one.id,
        at=sample.timestamp,
        cpu=sum(amount(row.get("cpu", "0")) for row in used),
        memory=round(sum(amount(row.get("memory", "0")) for row in used)),
        memory_limit=round(amount(limits["memory"])) if "memory" in limits else room,
        received=0,
        sent=0,
    )


def _standing(one: Owned, answer: str, now: datetime) -> tuple[InstanceState, str]:
    """Say where a pod stands and, while it is not ready, why."""
    if one.stopping:
        return InstanceState.STOPPING, ""
    if one.ended is not None and not (one.status and one.status.state.terminated):
        return InstanceState.EXITED, one.ended
    if one.status is None:
        return InstanceState.STARTING, _unscheduled(one.scheduled)
    state = one.status.state
    if state.terminated:
        if one.shape and one.shape.kind.ends and state.terminated.exit_code == 0:
            return InstanceState.COMPLETED, ""
        return InstanceState.EXITED, _ended(one.status)
    if state.waiting:
        return _waiting(one.status)
    if one.ready and one.ready.status == "True":
        return InstanceState.READY, ""
    if state.running is None or one.shape is None:
        return InstanceState.STARTING, ""
    if _given_up(one.shape.health, state.running.started_at, one.ready, now):
        return InstanceState.UNHEALTHY, _failing(one, answer)
    return InstanceState.STARTING, _failing(one, answer) if answer else ""


def _unscheduled(scheduled: Condition | None) -> str:
    if scheduled and scheduled.status == "False":
        return _said(scheduled.reason, scheduled.message)
    return ""


def _waiting(status: ContainerStatus) -> tuple[InstanceState, str]:
    waiting = status.state.waiting
    assert waiting is not None  # noqa: S101 - the caller looked
    if waiting.reason == _CRASHING:
        return InstanceState.EXITED, _ended(status)
    failure = _said(waiting.reason, waiting.message) if waiting.reason in _PULLING | _NEVER_STARTS else ""
    return (InstanceState.UNHEALTHY if waiting.reason in _NEVER_STARTS else InstanceState.STARTING), failure


def _ended(status: ContainerStatus) -> str:
    end = status.state.terminated or status.last_state.terminated
    times = f", {status.restart_count} restarts" if status.restart_count else ""
    crashing = f"{_CRASHING}: " if status.state.waiting else ""
    if end is None:
        return f"{crashing}it ended{times}"
    why = f"{end.reason}, " if end.reason not in ("", "Error", "Completed") else ""
    return f"{crashing}{why}exit code {end.exit_code}{times}"


def _given_up(health: Health, started: datetime | None, ready: Condition | None, now: datetime) -> bool:
    """Whether the checks have failed as often as Health allows: after it was ready, or since its start period."""
    if started is None:
        return False
    if ready and ready.last_transition_time and ready.last_transition_time > started:
        return True
    patience = health.start_period + health.retries * max(1.0, health.interval)
    return now - started > timedelta(seconds=patience)


def _failing(one: Owned, answer: str) -> str:
    if one.shape is None:
        return answer
    where = f"{_host(one.ip)}:{one.shape.port}"
    match one.shape.health.check:
        case HttpCheck(path):
            said = _STATUS_CODE.sub(r"answered \1", answer) or "did not answer"
            return (
                f"GET {path} on {where} {said}"
                if said.startswith(("answered", "did"))
                else f"GET {path} on {where}: {said}"
            )
        case TcpCheck():
            return f"nothing accepts a connection on port {one.shape.port}" + (f": {answer}" if answer else "")
        case CommandCheck(command):
            return f"{' '.join(command)} failed" + (f": {answer}" if answer else "")


def _said(reason: str, message: str) -> str:
    return ": ".join(part for part in (reason, message[:600]) if part)


def _host(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip
