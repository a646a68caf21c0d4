"""What kinds of workload there are, and what can be said only of some: when to run, how to grow, where to be."""

from dataclasses import dataclass
from enum import StrEnum


class WorkloadKind(StrEnum):
    """What a workload is for, which decides what 'running well' means."""

    SERVICE = "service"
    """Answers requests at its endpoint."""
    WORKER = "worker"
    """Runs for ever and answers nobody."""
    BATCH = "batch"
    """Runs to its end: each release is one run, and `replicas` says how many instances must end well."""
    SCHEDULED = "scheduled"
    """Runs to its end again and again, whenever its schedule says so."""
    STATEFUL = "stateful"
    """Keeps data: its instances have volumes of their own and are replaced one by one, the old before the new."""
    TRAINING = "training"
    """A batch of machine learning or scientific computing: many cores, all instances at once."""
    EDGE = "edge"
    """A service for a small machine at the edge of the network."""

    @property
    def serves(self) -> bool:
        """Whether the front door may lead to it."""
        return self in (WorkloadKind.SERVICE, WorkloadKind.STATEFUL, WorkloadKind.EDGE)

    @property
    def ends(self) -> bool:
        """Whether its instances are meant to end; one that ended with exit code 0 is completed, not lost."""
        return self.runs_once or self is WorkloadKind.SCHEDULED

    @property
    def runs_once(self) -> bool:
        """Whether a release is one run to the end, which nothing but another release repeats."""
        return self in (WorkloadKind.BATCH, WorkloadKind.TRAINING)


@dataclass(frozen=True, slots=True)
class Autoscale:
    """Let the engine choose from `min` to `max` instances so that they use `cpu_percent` of their cores on average."""

    min: int
    max: int
    cpu_percent: int = 80


@dataclass(frozen=True, slots=True)
class Affinity:
    """Where a workload may run: only on these targets, engines and sites, any where none is named.

    `near` names an app whose target and site are preferred, no more than that.
    """

    targets: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    near: str = ""
