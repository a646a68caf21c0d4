"""What Naru's words are as Kubernetes objects: nothing here talks to anything.

The shapes are those of the Kubernetes API 1.30 and later. Every object holds only the fields that Naru decides, so
that applying it leaves alone what others decide.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from lightkube.models.apps_v1 import DeploymentSpec
from lightkube.models.core_v1 import (
    Container,
    ContainerPort,
    EnvVar,
    ExecAction,
    HTTPGetAction,
    LocalObjectReference,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimVolumeSource,
    PodSpec,
    PodTemplateSpec,
    Probe,
    ResourceRequirements,
    SecretVolumeSource,
    ServicePort,
    ServiceSpec,
    TCPSocketAction,
    Volume,
    VolumeMount,
    VolumeResourceRequirements,
)
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.policy_v1 import PodDisruptionBudgetSpec
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Namespace, PersistentVolumeClaim, Secret, Service
from lightkube.resources.policy_v1 import PodDisruptionBudget
from pydantic import TypeAdapter

from naru.domain.account import Credentials
from naru.domain.errors import Conflict, NotFound
from naru.domain.image import Image, Origin
from naru.domain.release import Release
from naru.domain.workload import CommandCheck, Health, HttpCheck, Resources, Restart, TcpCheck, Workload
from naru.engines.base import APP_LABEL, OWNER_LABEL, RELEASE_LABEL, REVISION_LABEL
from naru.engines.kubernetes.answers import Deployment as Seen
from naru.oci.reference import Digest, Reference

MANAGER = "naru"
"""Naru's name as a field manager, and the value of the usual label on everything that it made."""
MANAGER_LABEL = "app.kubernetes.io/managed-by"
SHAPE_ANNOTATION = "naru.shape"
COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
FIRST_TO_GO = "-1000"
CONTAINER = "app"
PORT = "app"
SECRETS = "secrets"
LIVENESS = 30.0
"""Seconds for which a check fails, at least, before the container is restarted; it leaves the traffic long before."""


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


SHAPE = TypeAdapter(Shape)


@dataclass(frozen=True, slots=True)
class Birth:
    """What a revision's pods were made with beyond the revision: kept, as a change would replace them all."""

    release: int
    pull_secret: str = ""


def refuse(release: Release, secrets: Mapping[str, bytes]) -> None:
    """Raise for what a cluster cannot run: other images than a registry's, other restarts than always, lost secrets."""
    for secret in release.workload.secrets:
        if secret.name not in secrets:
            raise NotFound(f"no value was given for the secret {secret.name}", "store it, then deploy again")
    if release.workload.restart is not Restart.ALWAYS:
        raise Conflict(
            f"Kubernetes restarts what ends in a Deployment, so it cannot restart {release.workload.restart}",
            "use restart=always, or another engine",
        )
    image_name(release.image)


def image_name(image: Image) -> str:
    """Say under which name the nodes pull an image: always by digest. Raises Conflict when no registry has it."""
    if image.origin is not Origin.REGISTRY:
        raise Conflict(
            f"the nodes of a cluster pull {image.reference} from a registry, and none has it",
            "push it to a registry that the nodes reach, and deploy that name",
        )
    return f"{Reference.parse(image.reference).name}@{Digest.parse(image.digest)}"


def deployment_name(app: str, revision: str) -> str:
    """Name the Deployment of a revision; its secrets have the same name."""
    return f"{app}-{revision}"


def claim_name(app: str, volume: str) -> str:
    """Name the claim of one of the app's volumes."""
    return f"{app}-{volume}"


def pull_secret_name(owner: str, registry: str) -> str:
    """Name the Secret with the credentials for a registry; a registry's own name may be no name of an object."""
    return f"naru-pull-{hashlib.sha256(f'{owner} {registry}'.encode()).hexdigest()[:12]}"


def labels(owner: str, app: str = "") -> dict[str, str]:
    """The labels that say whose an object is; also the selector that finds it."""
    return {MANAGER_LABEL: MANAGER, OWNER_LABEL: owner, **({APP_LABEL: app} if app else {})}


def belongs(held: Mapping[str, str], owner: str, app: str) -> bool:
    """Whether an object with these labels is this Naru's and the app's."""
    return labels(owner, app).items() <= held.items()


def selector(owner: str, app: str = "", revision: str = "") -> str:
    """Write `labels`, and a revision's, as a query does."""
    wanted = {**labels(owner, app), **({REVISION_LABEL: revision} if revision else {})}
    return ",".join(f"{key}={value}" for key, value in wanted.items())


def namespace(name: str) -> Namespace:
    """The namespace that holds everything; several Narus may share it."""
    return Namespace(metadata=ObjectMeta(name=name, labels={MANAGER_LABEL: MANAGER}))


def birth(seen: Seen) -> Birth | None:
    """Read what the pods of an existing Deployment were made with; None when that is unreadable."""
    number = seen.spec.template.metadata.labels.get(RELEASE_LABEL, "")
    pull = seen.spec.template.spec.image_pull_secrets
    return Birth(int(number), pull[0].name if pull else "") if number.isdecimal() else None


def deployment(owner: str, release: Release, replicas: int, born: Birth) -> Deployment:
    """So many pods of the release's revision."""
    mine = {**labels(owner, release.app), REVISION_LABEL: release.revision}
    return Deployment(
        metadata=ObjectMeta(
            name=deployment_name(release.app, release.revision), labels={**mine, RELEASE_LABEL: str(born.release)}
        ),
        spec=DeploymentSpec(
            replicas=replicas,
            revisionHistoryLimit=0,
            selector=LabelSelector(matchLabels=mine),
            template=PodTemplateSpec(
                metadata=ObjectMeta(
                    labels={**mine, RELEASE_LABEL: str(born.release)},
                    annotations={SHAPE_ANNOTATION: SHAPE.dump_json(shape(release)).decode()},
                ),
                spec=_pod(release, born),
            ),
        ),
    )


def shape(release: Release) -> Shape:
    """What is written on every pod of the release."""
    workload = release.workload
    return Shape(
        image=image_name(release.image),
        command=_literal(workload.command),
        arguments=_literal(workload.arguments),
        port=workload.port,
        health=workload.health,
        resources=workload.resources,
        stop_grace=workload.stop_grace,
    )


def service(owner: str, workload: Workload) -> Service:
    """One name for all of the app's instances, for clients inside the cluster."""
    return Service(
        metadata=ObjectMeta(name=workload.app, labels=labels(owner, workload.app)),
        spec=ServiceSpec(
            type="ClusterIP",
            selector=labels(owner, workload.app),
            ports=[ServicePort(name=PORT, port=workload.port, targetPort=PORT, protocol="TCP")],
        ),
    )


def budget(owner: str, app: str) -> PodDisruptionBudget:
    """Whoever drains nodes may take one instance of the app at a time."""
    return PodDisruptionBudget(
        metadata=ObjectMeta(name=app, labels=labels(owner, app)),
        spec=PodDisruptionBudgetSpec(maxUnavailable=1, selector=LabelSelector(matchLabels=labels(owner, app))),
    )


def claim(owner: str, app: str, volume: str, size: str) -> PersistentVolumeClaim:
    """A volume of the app, of the cluster's default storage class; `size` is a quantity."""
    return PersistentVolumeClaim(
        metadata=ObjectMeta(name=claim_name(app, volume), labels=labels(owner, app)),
        spec=PersistentVolumeClaimSpec(
            accessModes=["ReadWriteOnce"], resources=VolumeResourceRequirements(requests={"storage": size})
        ),
    )


def secret(owner: str, release: Release, secrets: Mapping[str, bytes]) -> Secret:
    """The values of the release's secrets; a revision names their versions, so they never change."""
    return Secret(
        metadata=ObjectMeta(
            name=deployment_name(release.app, release.revision),
            labels={**labels(owner, release.app), REVISION_LABEL: release.revision},
        ),
        type="Opaque",
        immutable=True,
        data={one.name: base64.b64encode(secrets[one.name]).decode() for one in release.workload.secrets},
    )


def pull_secret(owner: str, credentials: Credentials) -> Secret:
    """A registry's credentials as the kubelet reads them."""
    word = base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
    # The kubelet knows Docker Hub by the name that the docker command writes.
    host = "https://index.docker.io/v1/" if credentials.registry == "docker.io" else credentials.registry
    config = {"auths": {host: {"username": credentials.username, "password": credentials.password, "auth": word}}}
    return Secret(
        metadata=ObjectMeta(name=pull_secret_name(owner, credentials.registry), labels=labels(owner)),
        type="kubernetes.io/dockerconfigjson",
        data={".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()},
    )


def first_to_go(goes: bool) -> dict[str, object]:
    """A merge patch that lets the controller choose a pod first when it scales down, or no more."""
    return {"metadata": {"annotations": {COST_ANNOTATION: FIRST_TO_GO if goes else None}}}


def amount(quantity: str) -> float:
    """Read a quantity (Kubernetes API, resource.Quantity): of CPU as cores, of memory as bytes."""
    for suffix, factor in _SUFFIXES.items():
        if quantity.endswith(suffix):
            return float(quantity.removesuffix(suffix)) * factor
    return float(quantity or 0)


_SUFFIXES = {
    **{f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)},
    **{letter: 1000.0**power for power, letter in enumerate("kMGTPE", 1)},
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
}


def _pod(release: Release, born: Birth) -> PodSpec:
    workload, platform = release.workload, release.image.platform
    limits = _limits(workload.resources)
    check = workload.health.check
    container = Container(
        name=CONTAINER,
        image=image_name(release.image),
        imagePullPolicy="IfNotPresent",
        command=list(_literal(workload.command)) or None,
        args=list(_literal(workload.arguments)) or None,
        env=[EnvVar(name=key, value=_literal((value,))[0]) for key, value in workload.environment.items()] or None,
        ports=[ContainerPort(containerPort=workload.port, name=PORT, protocol="TCP")],
        resources=ResourceRequirements(limits=limits, requests=limits) if limits else None,
        readinessProbe=_probe(check, workload, failures=workload.health.retries, delay=0),
        livenessProbe=_probe(
            check,
            workload,
            failures=max(3 * workload.health.retries, math.ceil(LIVENESS / _seconds(workload.health.interval))),
            delay=math.ceil(workload.health.start_period),
        ),
        volumeMounts=_mounts(workload) or None,
    )
    return PodSpec(
        containers=[container],
        restartPolicy="Always",
        # With 0 a pod would be gone from the API before its process is.
        terminationGracePeriodSeconds=max(1, math.ceil(workload.stop_grace)),
        automountServiceAccountToken=False,
        enableServiceLinks=False,
        nodeSelector={"kubernetes.io/os": platform.os, "kubernetes.io/arch": platform.architecture},
        imagePullSecrets=[LocalObjectReference(name=born.pull_secret)] if born.pull_secret else None,
        volumes=_volumes(release) or None,
    )


def _literal(words: tuple[str, ...]) -> tuple[str, ...]:
    """Words that the kubelet takes as they are: `$(NAME)` would otherwise be replaced."""
    return tuple(word.replace("$(", "$$(") for word in words)


def _limits(resources: Resources) -> dict[str, object]:
    limits: dict[str, object] = {}
    if resources.memory is not None:
        limits["memory"] = str(resources.memory)
    if resources.cpus is not None:
        limits["cpu"] = f"{math.ceil(resources.cpus * 1000)}m"
    return limits


def _seconds(duration: float) -> int:
    """Probes know whole seconds, one at least."""
    return max(1, math.ceil(duration))


def _probe(check: HttpCheck | TcpCheck | CommandCheck, workload: Workload, *, failures: int, delay: int) -> Probe:
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


def _volumes(release: Release) -> list[Volume]:
    volumes = [
        Volume(
            name=f"v-{name}",
            persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName=claim_name(release.app, name)),
        )
        for name in sorted({one.name for one in release.workload.volumes})
    ]
    if release.workload.secrets:
        source = SecretVolumeSource(secretName=deployment_name(release.app, release.revision), defaultMode=0o444)
        volumes.append(Volume(name=SECRETS, secret=source))
    return volumes
