"""What Naru's words are as Kubernetes objects: nothing here talks to anything.

The shapes are those of the Kubernetes API 1.30 and later. Every object holds only the fields that Naru decides, so
that applying it leaves alone what others decide. What a pod is, `pods` says; what things are called, `naming`.
"""

import base64
import json
from collections.abc import Mapping

from lightkube.models.apps_v1 import DeploymentSpec, StatefulSetOrdinals, StatefulSetSpec, StatefulSetUpdateStrategy
from lightkube.models.autoscaling_v2 import (
    CrossVersionObjectReference,
    HorizontalPodAutoscalerSpec,
    MetricSpec,
    MetricTarget,
    ResourceMetricSource,
)
from lightkube.models.batch_v1 import CronJobSpec, JobSpec, JobTemplateSpec
from lightkube.models.core_v1 import PersistentVolumeClaimSpec, ServicePort, ServiceSpec, VolumeResourceRequirements
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.policy_v1 import PodDisruptionBudgetSpec
from lightkube.resources.apps_v1 import Deployment, StatefulSet
from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import Namespace, PersistentVolumeClaim, Secret, Service
from lightkube.resources.policy_v1 import PodDisruptionBudget

from naru.domain.account import Credentials
from naru.domain.errors import Conflict, Invalid, NotFound
from naru.domain.kind import Autoscale
from naru.domain.release import Release
from naru.domain.workload import Restart, Workload
from naru.engines.base import PROJECT_LABEL, RELEASE_LABEL
from naru.engines.kubernetes.answers import Holder
from naru.engines.kubernetes.naming import (
    LONGEST_NAMESPACE,
    MANAGER,
    MANAGER_LABEL,
    NUMBER_LABEL,
    PORT,
    claim_name,
    image_name,
    labels,
    namespace_of,
    numbered_name,
    pull_secret_name,
    revision_labels,
    revision_name,
    schedule_name,
)
from naru.engines.kubernetes.pods import Birth, template

UNLIMITED = 2**31 - 1
"""The largest number of failures that a Job can be told to bear."""
KEPT_RUNS = 3
"""Runs of a schedule that are kept, of those that ended well and of the others."""


def refuse(release: Release, secrets: Mapping[str, bytes], home: str) -> None:
    """Raise for what a cluster cannot run: other images than a registry's, restarts that it lacks, lost secrets.

    Also for a project whose namespace beside `home` would have too long a name.
    """
    workload = release.workload
    if len(namespace_of(home, workload.project)) > LONGEST_NAMESPACE:
        raise Invalid(
            f"the project {workload.project} would have a namespace of more than {LONGEST_NAMESPACE} characters",
            f"choose a name of at most {LONGEST_NAMESPACE - len(home) - 1} characters for the project",
        )
    for secret in workload.secrets:
        if secret.name not in secrets:
            raise NotFound(f"no value was given for the secret {secret.name}", "store it, then deploy again")
    if workload.restart is not Restart.ALWAYS and not workload.kind.ends:
        raise Conflict(
            f"Kubernetes restarts whatever is not meant to end, so it cannot restart {workload.restart}",
            "use restart=always, kind=batch, or another engine",
        )
    image_name(release.image)


def birth(seen: Holder) -> Birth | None:
    """Read what the pods of an existing holder were made with; None when that is unreadable."""
    number = seen.spec.template.metadata.labels.get(RELEASE_LABEL, "")
    pull = seen.spec.template.spec.image_pull_secrets
    return Birth(int(number), pull[0].name if pull else "") if number.isdecimal() else None


# --- what makes pods --------------------------------------------------------------------------------------------


def deployment(owner: str, release: Release, replicas: int, born: Birth) -> Deployment:
    """So many pods of the release's revision, for ever."""
    return Deployment(
        metadata=_metadata(owner, release, revision_name(release.app, release.revision), born),
        spec=DeploymentSpec(
            replicas=replicas,
            revisionHistoryLimit=0,
            selector=LabelSelector(matchLabels=revision_labels(owner, release.app, release.revision)),
            template=template(owner, release, born),
        ),
    )


def job(owner: str, release: Release, replicas: int, born: Birth) -> Job:
    """One run: so many pods, all at once, each to its end; nothing but their own failures starts them again."""
    return Job(
        metadata=_metadata(owner, release, revision_name(release.app, release.revision), born),
        spec=_run(owner, release, replicas, born),
    )


def cron_job(owner: str, release: Release, born: Birth) -> CronJob:
    """A schedule, in UTC, of runs of the workload's replicas; a run that is still going is not overtaken."""
    meta = _metadata(owner, release, schedule_name(release.app, release.revision), born)
    return CronJob(
        metadata=meta,
        spec=CronJobSpec(
            schedule=release.workload.schedule,
            timeZone="Etc/UTC",
            concurrencyPolicy="Forbid",
            successfulJobsHistoryLimit=KEPT_RUNS,
            failedJobsHistoryLimit=KEPT_RUNS,
            jobTemplate=JobTemplateSpec(
                metadata=ObjectMeta(labels=meta.labels),
                spec=_run(owner, release, release.workload.replicas, born),
            ),
        ),
    )


def stateful_set(owner: str, release: Release, number: int, born: Birth) -> StatefulSet:
    """One instance of a stateful app: never two pods of a number at once, whatever becomes of their nodes."""
    mine = {**labels(owner, release.app), NUMBER_LABEL: str(number)}
    meta = _metadata(owner, release, numbered_name(release.app, number), born)
    meta.labels = {**(meta.labels or {}), NUMBER_LABEL: str(number)}
    return StatefulSet(
        metadata=meta,
        spec=StatefulSetSpec(
            replicas=1,
            # A pod that takes another's place has a name of its own: APP-NUMBER-RELEASE.
            ordinals=StatefulSetOrdinals(start=born.release),
            serviceName=release.app,
            revisionHistoryLimit=0,
            updateStrategy=StatefulSetUpdateStrategy(type="OnDelete"),
            selector=LabelSelector(matchLabels=mine),
            template=template(owner, release, born, number),
        ),
    )


def autoscaler(owner: str, release: Release, wanted: Autoscale) -> HorizontalPodAutoscaler:
    """Lets the cluster choose how many pods the release's Deployment has."""
    name = revision_name(release.app, release.revision)
    use = MetricTarget(type="Utilization", averageUtilization=wanted.cpu_percent)
    return HorizontalPodAutoscaler(
        metadata=ObjectMeta(name=name, labels=revision_labels(owner, release.app, release.revision)),
        spec=HorizontalPodAutoscalerSpec(
            scaleTargetRef=CrossVersionObjectReference(apiVersion="apps/v1", kind="Deployment", name=name),
            minReplicas=wanted.min,
            maxReplicas=wanted.max,
            metrics=[MetricSpec(type="Resource", resource=ResourceMetricSource(name="cpu", target=use))],
        ),
    )


# --- what pods need ---------------------------------------------------------------------------------------------


def namespace(name: str) -> Namespace:
    """The namespace that holds everything but projects; several Narus may share it."""
    return Namespace(metadata=ObjectMeta(name=name, labels={MANAGER_LABEL: MANAGER}))


def project_namespace(owner: str, home: str, project: str) -> Namespace:
    """The namespace of a project, in which its apps find each other by their short names."""
    mine = {**labels(owner), PROJECT_LABEL: project}
    return Namespace(metadata=ObjectMeta(name=namespace_of(home, project), labels=mine))


def namespace_for(owner: str, home: str, project: str) -> Namespace:
    """The namespace of a project's apps, or of those of none."""
    return project_namespace(owner, home, project) if project else namespace(home)


def service(owner: str, workload: Workload, host: str, *, on_nodes: bool = False) -> Service:
    """One name for all of the app's instances, for clients inside the cluster, and a port of the nodes for others."""
    return Service(
        metadata=ObjectMeta(name=host, labels=labels(owner, workload.app)),
        spec=ServiceSpec(
            type="NodePort" if on_nodes else "ClusterIP",
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


def claim(owner: str, app: str, volume: str, size: str, number: int = 1) -> PersistentVolumeClaim:
    """A volume of the app, of the cluster's default storage class; `size` is a quantity."""
    marks = {NUMBER_LABEL: str(number)} if number > 1 else {}
    return PersistentVolumeClaim(
        metadata=ObjectMeta(name=claim_name(app, volume, number), labels={**labels(owner, app), **marks}),
        spec=PersistentVolumeClaimSpec(
            accessModes=["ReadWriteOnce"], resources=VolumeResourceRequirements(requests={"storage": size})
        ),
    )


def secret(owner: str, release: Release, secrets: Mapping[str, bytes]) -> Secret:
    """The values of the release's secrets; a revision names their versions, so they never change."""
    return Secret(
        metadata=ObjectMeta(
            name=revision_name(release.app, release.revision),
            labels=revision_labels(owner, release.app, release.revision),
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


def _metadata(owner: str, release: Release, name: str, born: Birth) -> ObjectMeta:
    marks = {**revision_labels(owner, release.app, release.revision), RELEASE_LABEL: str(born.release)}
    if release.workload.project:
        marks[PROJECT_LABEL] = release.workload.project
    return ObjectMeta(name=name, labels=marks)


def _run(owner: str, release: Release, replicas: int, born: Birth) -> JobSpec:
    """Each pod for itself: without an index, the first failure would end all the others."""
    spec = JobSpec(
        parallelism=replicas,
        completions=replicas,
        completionMode="Indexed",
        template=template(owner, release, born),
    )
    if release.workload.restarts is Restart.NEVER:
        spec.backoffLimitPerIndex = 0
    else:
        spec.backoffLimit = UNLIMITED
    return spec
