"""Where instances can run."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from naru.domain.image import Platform
from naru.domain.kind import WorkloadKind
from naru.domain.workload import CommandCheck, Restart, Workload


class Feature(StrEnum):
    """What an engine may or may not be able to do; what it lacks is refused with a reason, never dropped."""

    VOLUMES = "volumes"
    SECRET_FILES = "secret-files"  # noqa: S105 - the name of a feature
    COMMAND_CHECKS = "command-checks"
    LIMITS = "limits"
    EXEC = "exec"
    STATS = "stats"
    RESTARTS = "restarts"
    """Leaves a process that ended as it is, or restarts it only after a failure."""
    JOBS = "jobs"
    """Runs instances to their end, and still tells how they ended."""
    SCHEDULES = "schedules"
    """Starts the runs of a scheduled workload by itself, also while Naru is away."""
    AUTOSCALE = "autoscale"
    OWN_VOLUMES = "own-volumes"
    """Gives each instance of a stateful workload volumes of its own."""
    PROJECT_NETWORKS = "project-networks"
    """Lets the apps of a project, and nobody else, reach one another by name."""
    VOLUME_COPIES = "volume-copies"
    """Reads and writes what volumes hold, so that they can go to another target."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a target has and what is in use: cores and bytes. `instances` counts Naru's own running ones.

    `nodes` are the machines that take instances.
    """

    cpus: float
    memory: int
    disk_free: int
    instances: int
    nodes: int = 1


class TargetState(StrEnum):
    """Whether Naru may choose a target for what does not run there yet."""

    ACTIVE = "active"
    CORDONED = "cordoned"
    """What runs there stays and is kept as it should be, updates included; nothing new comes."""


CONFIGURED = "configuration"
"""Who added the target that NARU_ENGINE names, or that was found on the machine."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A target as it was added: where its engine is, at which site, and by whom. `url` may hold a password."""

    name: str
    url: str
    site: str
    added_by: str
    added_at: datetime
    state: TargetState = TargetState.ACTIVE


@dataclass(frozen=True, slots=True)
class Target:
    """An engine at a site. `features` are in the order of Feature; `problem` is empty while it answers.

    `identity` is what the engine calls itself, the same under every URL, and empty where it has no name for itself.
    `address` is the engine's URL without its password. `added_by` is CONFIGURED for the target that the server's
    configuration names, which cannot be removed.
    """

    name: str
    engine: str
    version: str
    site: str
    platform: Platform
    features: tuple[Feature, ...]
    capacity: Capacity
    problem: str = ""
    identity: str = ""
    state: TargetState = TargetState.ACTIVE
    address: str = ""
    added_by: str = ""
    added_at: datetime | None = None


def needs(workload: Workload) -> frozenset[Feature]:
    """Return what an engine must be able to do to run the workload."""
    wanted = {
        Feature.VOLUMES: bool(workload.volumes),
        Feature.SECRET_FILES: bool(workload.secrets),
        Feature.COMMAND_CHECKS: isinstance(workload.health.check, CommandCheck),
        Feature.LIMITS: workload.resources.memory is not None or workload.resources.cpus is not None,
        Feature.RESTARTS: workload.restart is not Restart.ALWAYS and not workload.kind.ends,
        Feature.JOBS: workload.kind.ends,
        Feature.SCHEDULES: workload.kind is WorkloadKind.SCHEDULED,
        Feature.AUTOSCALE: workload.autoscale is not None,
        Feature.OWN_VOLUMES: (
            workload.kind is WorkloadKind.STATEFUL and bool(workload.volumes) and workload.replicas > 1
        ),
        Feature.PROJECT_NETWORKS: bool(workload.project),
    }
    return frozenset(feature for feature, needed in wanted.items() if needed)


def lacking(workload: Workload, features: Collection[Feature]) -> tuple[Feature, ...]:
    """Return what the workload needs and an engine with these features cannot do, in the order of Feature."""
    wanted = needs(workload).difference(features)
    return tuple(feature for feature in Feature if feature in wanted)
