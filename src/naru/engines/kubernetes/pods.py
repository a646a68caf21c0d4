"""What a pod of a release is: nothing here talks to anything.

The shapes are those of the Kubernetes API 1.30 and later. A pod holds only the fields that Naru decides, so that
applying it leaves alone what others decide.
"""

import math
from dataclasses import dataclass
from typing import assert_never

from lightkube.models.core_v1 import (
    Container,
    ContainerPort,
    EnvVar,
    ExecAction,
    HTTPGetAction,
    LocalObjectReference,
    PersistentVolumeClaimVolumeSource,
    PodSpec,
    PodTemplateSpec,
    Probe,
    ResourceRequirements,
    SecretVolumeSource,
    TCPSocketAction,
    Volume,
    VolumeMount,
)
from lightkube.models.meta_v1 import ObjectMeta
from pydantic import TypeAdapter

from naru.domain.kind import WorkloadKind
from naru.domain.release import Release
from naru.domain.workload import Check, CommandCheck, Health, HttpCheck, Resources, Restart, TcpCheck, Workload
from naru.engines.base import PROJECT_LABEL, RELEASE_LABEL
from naru.engines.kubernetes.naming import (
    CONTAINER,
    NUMBER_LABEL,
    PORT,
    claim_name,
    image_name,
    revision_labels,
    revision_name,
)

SHAPE_ANNOTATION = "naru.shape"
COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
FIRST_TO_GO = "-1000"
SECRETS = "secrets"
LIVENESS = 30.0
"""Seconds for which a check fails, at least, before the container is restarted; it leaves the traffic long before."""
RESTARTS = {Restart.ALWAYS: "Always", Restart.ON_FAILURE: "OnFailure", Restart.NEVER: "Never"}


@dataclass(frozen=True, slots=True)
class Shape:
    """What Naru wants to know of a pod later, written on it as an annotation, in the words of its objects."""

    image: str
    command: tuple[str, ...]
    arguments: tuple[str, ...]
    port: int
    health: Health
    resources: Resources
    stop_grace: float
    kind: WorkloadKind = WorkloadKind.SERVICE


SHAPE = TypeAdapter(Shape)


@dataclass(frozen=True, slots=True)
class Birth:
    """What a revision's pods were made with beyond the revision: kept, as a change would replace them all."""

    release: int
    pull_secret: str = ""


def shape(release: Release) -> Shape:
    """What is written on every pod of the release."""
    workload = release.workload
    return Shape(
        image=image_name(release.image),
        command=literal(workload.command),
        arguments=literal(workload.arguments),
        port=workload.port,
        health=workload.health,
        resources=workload.resources,
        stop_grace=workload.stop_grace,
        kind=workload.kind,
    )


def template(owner: str, release: Release, born: Birth, number: int = 0) -> PodTemplateSpec:
    """What controllers make the release's pods of; `number` is that of an instance of a stateful app."""
    marks = {NUMBER_LABEL: str(number)} if number else {}
    if release.workload.project:
        marks[PROJECT_LABEL] = release.workload.project
    return PodTemplateSpec(
        metadata=ObjectMeta(
            labels={
                **revision_labels(owner, release.app, release.revision),
                RELEASE_LABEL: str(born.release),
                **marks,
            },
            annotations={SHAPE_ANNOTATION: SHAPE.dump_json(shape(release)).decode()},
        ),
        spec=_pod(release, born, number or 1),
    )


def first_to_go(goes: bool) -> dict[str, object]:
    """A merge patch that lets the controller choose a pod first when it scales down, or no more."""
    return {"metadata": {"annotations": {COST_ANNOTATION: FIRST_TO_GO if goes else None}}}


def literal(words: tuple[str, ...]) -> tuple[str, ...]:
    """Words that the kubelet takes as they are: `$(NAME)` would otherwise be replaced."""
    return tuple(word.replace("$(", "$$(") for word in words)


def _pod(release: Release, born: Birth, number: int) -> PodSpec:
    workload, platform = release.workload, release.image.platform
    limits = _limits(workload.resources)
    container = Container(
        name=CONTAINER,
        image=image_name(release.image),
        imagePullPolicy="IfNotPresent",
        command=list(literal(workload.command)) or None,
        args=list(literal(workload.arguments)) or None,
        env=[EnvVar(name=key, value=literal((value,))[0]) for key, value in workload.environment.items()] or None,
        ports=[ContainerPort(containerPort=workload.port, name=PORT, protocol="TCP")] if workload.port else None,
        resources=ResourceRequirements(limits=limits, requests=limits) if limits else None,
        volumeMounts=_mounts(workload) or None,
    )
    if workload.checked:
        container.readinessProbe = _readiness(workload)
        # What is meant to end is started again by nobody but its own failure.
        container.livenessProbe = None if workload.kind.ends else _liveness(workload)
    return PodSpec(
        containers=[container],
        restartPolicy=RESTARTS[workload.restarts],
        # With 0 a pod would be gone from the API before its process is.
        terminationGracePeriodSeconds=max(1, math.ceil(workload.stop_grace)),
        automountServiceAccountToken=False,
        enableServiceLinks=False,
        nodeSelector={"kubernetes.io/os": platform.os, "kubernetes.io/arch": platform.architecture},
        imagePullSecrets=[LocalObjectReference(name=born.pull_secret)] if born.pull_secret else None,
        volumes=_volumes(release, number) or None,
    )


def _limits(resources: Resources) -> dict[str, object]:
    limits: dict[str, object] = {}
    if resources.memory is not None:
        limits["memory"] = str(resources.memory)
    if resources.cpus is not None:
        limits["cpu"] = f"{math.ceil(resources.cpus * 1000)}m"
    return limits


def _readiness(workload: Workload) -> Probe:
    return _probe(workload.health.check, workload, failures=workload.health.retries, delay=0)


def _liveness(workload: Workload) -> Probe:
    health = workload.health
    failures = max(3 * health.retries, math.ceil(LIVENESS / _seconds(health.interval)))
    return _probe(health.check, workload, failures=failures, delay=math.ceil(health.start_period))


def _seconds(duration: float) -> int:
    """Probes know whole seconds, one at least."""
    return max(1, math.ceil(duration))


def _probe(check: Check, workload: Workload, *, failures: int, delay: int) -> Probe:
    probe = Probe(
        initialDelaySeconds=delay,
        periodSeconds=_seconds(workload.health.interval),
        timeoutSeconds=_seconds(workload.health.timeout),
        failureThreshold=failures,
        successThreshold=1,
    )
    match check:
        case HttpCheck(path):
            probe.httpGet = HTTPGetAction(path=path, port=workload.port, scheme="HTTP")
        case TcpCheck():
            probe.tcpSocket = TCPSocketAction(port=workload.port)
        case CommandCheck(command):
            probe.exec = ExecAction(command=list(command))
        case _ as never:
            assert_never(never)
    return probe


def _mounts(workload: Workload) -> list[VolumeMount]:
    return [
        *(VolumeMount(name=f"v-{one.name}", mountPath=one.path, readOnly=one.read_only) for one in workload.volumes),
        *(VolumeMount(name=SECRETS, mountPath=one.path, subPath=one.name, readOnly=True) for one in workload.secrets),
    ]


def _volumes(release: Release, number: int) -> list[Volume]:
    volumes = [
        Volume(
            name=f"v-{name}",
            persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName=claim_name(release.app, name, number)),
        )
        for name in sorted({one.name for one in release.workload.volumes})
    ]
    if release.workload.secrets:
        source = SecretVolumeSource(secretName=revision_name(release.app, release.revision), defaultMode=0o444)
        volumes.append(Volume(name=SECRETS, secret=source))
    return volumes
