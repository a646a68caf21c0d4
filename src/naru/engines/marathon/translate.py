"""What Naru's words mean to Marathon, and the other way round: nothing here talks to anything.

The shapes are those of Marathon's AppDefinition; states are those of Mesos (`TaskState` in mesos.proto).
"""

import math
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

from pydantic import TypeAdapter, ValidationError

from naru.domain.errors import Conflict
from naru.domain.image import Image, Origin
from naru.domain.instance import Instance, InstanceState
from naru.domain.release import Release
from naru.domain.target import Feature, lacking
from naru.domain.workload import Check, CommandCheck, Health, HttpCheck, Recreate, Restart, TcpCheck
from naru.engines.base import APP_LABEL, OWNER_LABEL, RELEASE_LABEL, REVISION_LABEL
from naru.engines.marathon.answers import App, HealthResult, Task, TaskFailure, Waiting
from naru.oci.reference import Digest, Reference

SHAPE_LABEL = "naru.shape"
FEATURES = (Feature.COMMAND_CHECKS, Feature.LIMITS, Feature.RESTARTS)
"""Neither secrets, which need a plugin, nor volumes: Marathon's belong to one task of one revision."""
DEFAULT_CPUS = 0.1
DEFAULT_MEMORY = 512
"""What an instance without limits gets, as Mesos places nothing without: cores and MiB."""
LAUNCH_DELAYS = {Restart.ALWAYS: 60, Restart.ON_FAILURE: 60, Restart.NEVER: 365 * 24 * 3600}
"""Seconds that Marathon waits at most before it starts again what ended: it always does, so 'never' is a year."""
NEVER_KILL = 1_000_000
"""Failed checks before Marathon kills a task: who is replaced, and when, is decided by Naru for every engine."""

Json = dict[str, object]
_TASK = re.compile(r"(?P<instance>[^.]+\.[^.]+)(?:\.[^.]+\.(?P<attempt>\d+))?")
"""`naru_shop_REVISION.instance-UUID._app.ATTEMPT`; Marathon before 1.9 stops after the UUID."""
_EXIT = re.compile(r"exited with status (\d+)|terminated with signal (\w+)", re.IGNORECASE)
_OUT_OF_MEMORY = re.compile(r"memory limit exceeded|out of memory|oom", re.IGNORECASE)
_SIGNALS = {"Killed": 137, "Terminated": 143, "Aborted": 134, "Segmentation": 139}


@dataclass(frozen=True, slots=True)
class Shape:
    """What Naru wants to know of an application later, written on it as a label: cores, MiB and seconds."""

    image: str
    cpus: float
    memory: float
    health: Health
    stop_grace: float
    checked: bool = True


_SHAPE = TypeAdapter(Shape)


@dataclass(frozen=True, slots=True)
class Owned:
    """An application that Naru made, and what its labels say; a shape of None is one that nobody can read."""

    app: App
    name: str
    release: int
    revision: str
    shape: Shape | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where Naru's applications live: a group at Marathon's root; `owner` names this Naru among those that share it."""

    group: str = "naru"
    owner: str = "naru"

    def of(self, app: str, revision: str = "") -> str:
        """Name the group of an app, or the application of one of its revisions."""
        return f"/{self.group}/{app}/{revision}" if revision else f"/{self.group}/{app}"

    def owned(self, app: App) -> Owned | None:
        """Read an application's labels; None when this Naru did not make it."""
        name, revision = app.labels.get(APP_LABEL, ""), app.labels.get(REVISION_LABEL, "")
        if not name or not revision or app.id != self.of(name, revision) or app.labels.get(OWNER_LABEL) != self.owner:
            return None
        try:
            shape = _SHAPE.validate_json(app.labels.get(SHAPE_LABEL, ""))
            release = int(app.labels.get(RELEASE_LABEL, ""))
        except (ValidationError, ValueError):
            shape, release = None, 0
        return Owned(app, name, release, revision, shape)


def image_name(image: Image) -> str:
    """Name the image by digest for the agents' docker; raise Conflict when no registry has it."""
    if image.origin is not Origin.REGISTRY:
        raise Conflict(
            f"{image.reference} is in no registry, and Mesos agents take images from nowhere else",
            "push it to a registry that the agents reach, and deploy it from there",
        )
    return f"{Reference.parse(image.reference).name}@{Digest.parse(image.digest)}"


def refuse_what_is_lacking(release: Release) -> None:
    """Raise Conflict when the workload needs what Marathon cannot do."""
    if missing := lacking(release.workload, FEATURES):
        raise Conflict(f"marathon cannot do {', '.join(missing)}", "run the app on another engine")


def definition(release: Release, replicas: int, place: Place) -> Json:
    """Describe the application of a release's revision, complete."""
    workload = release.workload
    shape = Shape(
        image=image_name(release.image),
        cpus=workload.resources.cpus or DEFAULT_CPUS,
        memory=DEFAULT_MEMORY if workload.resources.memory is None else workload.resources.memory / (1 << 20),
        health=workload.health,
        stop_grace=workload.stop_grace,
        checked=workload.checked,
    )
    port: Json = {"containerPort": workload.port, "hostPort": 0, "protocol": "tcp"}
    room = 0.0 if isinstance(workload.strategy, Recreate) else 1.0
    delay = LAUNCH_DELAYS[workload.restart]
    app: Json = {
        "id": place.of(release.app, release.revision),
        "instances": replicas,
        "cpus": shape.cpus,
        "mem": shape.memory,
        "env": dict(workload.environment),
        "labels": {
            OWNER_LABEL: place.owner,
            APP_LABEL: release.app,
            RELEASE_LABEL: str(release.number),
            REVISION_LABEL: release.revision,
            SHAPE_LABEL: _SHAPE.dump_json(shape).decode(),
        },
        "networks": [{"mode": "container/bridge"}],
        "container": {
            "type": "DOCKER",
            "docker": {
                "image": shape.image,
                "forcePullImage": False,
                # A program without a shell: the image need not have one, and signals reach the program itself.
                "parameters": [{"key": "entrypoint", "value": workload.command[0]}] if workload.command else [],
            },
            "portMappings": [port] if workload.port else [],
        },
        "healthChecks": [_health_check(workload.health)] if workload.checked else [],
        "taskKillGracePeriodSeconds": math.ceil(workload.stop_grace),
        "killSelection": "YOUNGEST_FIRST",
        # Mesos has waited long enough by itself before it calls an agent unreachable.
        "unreachableStrategy": {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0},
        "upgradeStrategy": {"minimumHealthCapacity": room, "maximumOverCapacity": room},
        "backoffSeconds": delay if workload.restart is Restart.NEVER else 1,
        "backoffFactor": 1.15,
        "maxLaunchDelaySeconds": delay,
    }
    if arguments := [*workload.command[1:], *workload.arguments]:
        app["args"] = arguments
    return app


def drift(one: Owned) -> tuple[str, ...]:
    """Name what someone else changed since Naru made the application."""
    app, shape = one.app, one.shape
    if shape is None:
        return ("its labels cannot be read",)
    image = app.container.docker.image if app.container and app.container.docker else ""
    found = []
    if image != shape.image:
        found.append(f"its image is {image or 'none'}, not {shape.image}")
    if not math.isclose(app.mem, shape.memory, abs_tol=0.01):
        found.append(f"its memory is {app.mem:g} MiB, not {shape.memory:g} MiB")
    if not math.isclose(app.cpus, shape.cpus, abs_tol=0.001):
        found.append(f"its CPU is {app.cpus:g} cores, not {shape.cpus:g}")
    return tuple(found)


def stale(one: Owned) -> Sequence[Task]:
    """List the tasks that run an older definition and that no deployment is about to replace."""
    changed = one.app.version_info
    if changed is None or one.app.deployments:
        return ()
    return [task for task in one.app.tasks if task.version and task.version < changed.last_config_change_at]


def instance_id(task: str) -> str:
    """Name the instance of a task: what stays the same when Marathon starts it again."""
    found = _TASK.fullmatch(task)
    return found["instance"] if found else task


def attempt(task: str) -> int:
    """Count the attempts of a task's instance, this one included; before 1.9 each attempt is an instance of its own."""
    found = _TASK.fullmatch(task)
    return int(found["attempt"] or 1) if found else 1


def instances(one: Owned, waiting: Waiting | None = None) -> Sequence[Instance]:
    """Tell an application's instances in Naru's words: its tasks, the one that ended last, and those without a task."""
    changed, failure = drift(one), one.app.last_task_failure
    old = {task.id for task in stale(one)}
    seen = [
        _instance(one, task, failure, changed or (("it runs an older definition",) if task.id in old else ()))
        for task in one.app.tasks
    ]
    missing = one.app.instances - sum(instance.state is not InstanceState.STOPPING for instance in seen)
    if missing > 0 and failure and _is_recent(one.app, failure) and not _listed(failure, seen):
        seen.append(_ended(one, failure))
        missing -= 1
    why = _why_waiting(waiting)
    return [*seen, *(_without_task(one, number, why) for number in range(1, missing + 1))]


def age(instance: Instance) -> tuple[datetime, str]:
    """Order instances, the oldest first; those without a task are as old as the wish for them."""
    return instance.created_at or datetime.max.replace(tzinfo=UTC), instance.id


def asked(check: Check, address: str) -> str:
    """Say what a check asks."""
    match check:
        case HttpCheck(path):
            return f"GET {path} on {address}"
        case TcpCheck():
            return f"a connection to {address}"
        case CommandCheck(command):
            return " ".join(command)
        case _ as never:
            assert_never(never)


def health_state(health: Health, results: Iterable[HealthResult]) -> tuple[InstanceState, str]:
    """Decide from health results alone: the rules are those of naru.domain.workload.Health; the text is the cause.

    Within the start period Marathon reports no failures, so that none of those reported is to be excused.
    """
    results = list(results)
    if not results:
        return InstanceState.STARTING, ""
    worst = max(results, key=lambda one: one.consecutive_failures)
    if worst.consecutive_failures >= health.retries:
        return InstanceState.UNHEALTHY, worst.last_failure_cause or ""
    ready = all(one.first_success for one in results)
    return (InstanceState.READY, "") if ready else (InstanceState.STARTING, worst.last_failure_cause or "")


def _instance(one: Owned, task: Task, failure: TaskFailure | None, changed: tuple[str, ...]) -> Instance:
    name, ended = instance_id(task.id), task.state in _ENDED
    address = f"{task.host}:{task.ports[0]}" if task.ports and not ended else ""
    state, text = _standing(one, task, address)
    told = failure if failure and instance_id(failure.task_id) == name else None
    code, oom = _end(told) if told else (0 if task.state == "TASK_FINISHED" else None, False)
    return Instance(
        id=name,
        app=one.name,
        release=one.release,
        revision=one.revision,
        state=state,
        address=address,
        node=task.host,
        created_at=task.staged_at.astimezone(UTC) if task.staged_at else None,
        exits=attempt(task.id) - 1 + ended,
        exit_code=code,
        oom_killed=oom,
        failure=text or (told.message if told and ended else ""),
        drift=() if state is InstanceState.STOPPING else changed,
    )


_ENDED = frozenset(
    {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_DROPPED", "TASK_GONE"}
)


def _standing(one: Owned, task: Task, address: str) -> tuple[InstanceState, str]:
    match task.state:
        case "TASK_RUNNING" if one.shape and not one.shape.checked:
            return InstanceState.READY, ""
        case "TASK_RUNNING" if one.shape:
            state, cause = health_state(one.shape.health, task.health_check_results)
            if state is InstanceState.UNHEALTHY:
                return state, f"{asked(one.shape.health.check, address)} fails{f': {cause}' if cause else ''}"
            return state, cause
        case "TASK_KILLING":
            return InstanceState.STOPPING, ""
        case "TASK_UNREACHABLE" | "TASK_UNKNOWN":
            return InstanceState.UNHEALTHY, f"the Mesos agent {task.host} does not answer"
        case ended if ended in _ENDED:
            return InstanceState.EXITED, ""
        case _:
            return InstanceState.STARTING, ""


def _ended(one: Owned, failure: TaskFailure) -> Instance:
    code, oom = _end(failure)
    return Instance(
        id=instance_id(failure.task_id),
        app=one.name,
        release=one.release,
        revision=one.revision,
        state=InstanceState.EXITED,
        node=failure.host,
        created_at=failure.timestamp.astimezone(UTC),
        exits=attempt(failure.task_id),
        exit_code=code,
        oom_killed=oom,
        failure=failure.message,
    )


def _end(failure: TaskFailure) -> tuple[int | None, bool]:
    """Read how a task ended: Marathon hands on what the executor said in words."""
    oom = bool(_OUT_OF_MEMORY.search(failure.message))
    if found := _EXIT.search(failure.message):
        return int(found[1]) if found[1] else _SIGNALS.get(found[2].capitalize()), oom
    return 137 if oom else None, oom


def _is_recent(app: App, failure: TaskFailure) -> bool:
    return app.version_info is None or failure.timestamp >= app.version_info.last_scaling_at


def _listed(failure: TaskFailure, seen: Sequence[Instance]) -> bool:
    return any(one.id == instance_id(failure.task_id) for one in seen)


def _without_task(one: Owned, number: int, why: str) -> Instance:
    return Instance(
        id=f"{one.app.id.strip('/').replace('/', '_')}.waiting-{number}",
        app=one.name,
        release=one.release,
        revision=one.revision,
        state=InstanceState.STARTING,
        created_at=one.app.version_info.last_scaling_at.astimezone(UTC) if one.app.version_info else None,
        failure=why,
    )


def _why_waiting(waiting: Waiting | None) -> str:
    if waiting is None:
        return "Marathon has not launched it yet"
    if waiting.delay.time_left_seconds:
        return f"Marathon waits {waiting.delay.time_left_seconds} s after failures before it launches again"
    declined = [one for one in waiting.processed_offers_summary.reject_summary_last_offers if one.declined]
    reasons = ", ".join(f"{one.reason} ({one.declined} of {one.processed} offers)" for one in declined)
    return f"no agent offers what it needs: {reasons}" if reasons else "it waits for an offer of an agent"


def _health_check(health: Health) -> Json:
    common: Json = {
        "gracePeriodSeconds": math.ceil(health.start_period),
        "intervalSeconds": max(1, math.ceil(health.interval)),
        "timeoutSeconds": max(1, math.ceil(health.timeout)),
        "maxConsecutiveFailures": NEVER_KILL,
        # Mesos would otherwise wait 15 seconds before the first check.
        "delaySeconds": 0,
    }
    match health.check:
        case HttpCheck(path):
            return {"protocol": "MESOS_HTTP", "path": path, "portIndex": 0, **common}
        case TcpCheck():
            return {"protocol": "MESOS_TCP", "portIndex": 0, **common}
        case CommandCheck(command):
            return {"protocol": "COMMAND", "command": {"value": shlex.join(command)}, **common}
        case _ as never:
            assert_never(never)
