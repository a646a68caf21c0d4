"""Targets compared by measurement: what was measured, on what, and how it went."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Aspect(StrEnum):
    """The four questions of a comparison."""

    INSTALLATION = "installation"
    VOLUMES = "volumes"
    DEPLOYMENT = "deployment"
    FAILURES = "failures"


class Measure(StrEnum):
    """What is measured; MEASURES says the rest."""

    BRING_UP = "bring-up"
    MEMORY = "memory"
    DISK = "disk"
    KEPT_BY_RESTART = "kept-by-restart"
    KEPT_BY_RESCHEDULING = "kept-by-rescheduling"
    START_1 = "start-1"
    START_10 = "start-10"
    START_50 = "start-50"
    UPDATE = "update"
    UPDATE_LOST = "update-lost"
    ROLLBACK = "rollback"
    ROLLBACK_LOST = "rollback-lost"
    CRASH = "crash"
    CRASH_LOST = "crash-lost"
    NODE_LOSS = "node-loss"
    NODE_LOSS_LOST = "node-loss-lost"
    PARTITION = "partition"
    PARTITION_LOST = "partition-lost"


class Unit(StrEnum):
    """What values are counted in. SHARE is 1 where something held and 0 where it did not."""

    SECONDS = "s"
    BYTES = "bytes"
    REQUESTS = "requests"
    SHARE = "share"


@dataclass(frozen=True, slots=True)
class About:
    """What a measure is."""

    aspect: Aspect
    title: str
    unit: Unit
    how: str

    @property
    def more_is_better(self) -> bool:
        """Whether a higher value is the better one."""
        return self.unit is Unit.SHARE


MEASURES: Mapping[Measure, About] = {
    Measure.BRING_UP: About(
        Aspect.INSTALLATION,
        "From installed programs to an engine that answers",
        Unit.SECONDS,
        "starting its programs and, in a cluster, joining the nodes, until it takes instances",
    ),
    Measure.MEMORY: About(
        Aspect.INSTALLATION,
        "Memory of the engine's own programs, a node",
        Unit.BYTES,
        "proportional set size of its daemons while they run nothing for the study",
    ),
    Measure.DISK: About(
        Aspect.INSTALLATION,
        "Disk of the engine's running programs",
        Unit.BYTES,
        "size of the executables that its daemons run",
    ),
    Measure.KEPT_BY_RESTART: About(
        Aspect.VOLUMES,
        "What a volume holds survives the crash of its instance",
        Unit.SHARE,
        "a word written before the crash is read after the restart",
    ),
    Measure.KEPT_BY_RESCHEDULING: About(
        Aspect.VOLUMES,
        "What a volume holds is there when the instance is placed anew",
        Unit.SHARE,
        "the instance loses its node where that can be arranged, else it is removed and made again; it reads the word",
    ),
    Measure.START_1: About(
        Aspect.DEPLOYMENT, "1 instance from nothing to ready", Unit.SECONDS, "from the request until it is ready"
    ),
    Measure.START_10: About(
        Aspect.DEPLOYMENT, "10 instances from nothing to ready", Unit.SECONDS, "from the request until all are ready"
    ),
    Measure.START_50: About(
        Aspect.DEPLOYMENT, "50 instances from nothing to ready", Unit.SECONDS, "from the request until all are ready"
    ),
    Measure.UPDATE: About(
        Aspect.DEPLOYMENT,
        "Rolling update of 3 instances",
        Unit.SECONDS,
        "one more at a time, none fewer, drained at the front door before it is stopped",
    ),
    Measure.UPDATE_LOST: About(
        Aspect.DEPLOYMENT, "Requests failed by the update", Unit.REQUESTS, "through the front door meanwhile"
    ),
    Measure.ROLLBACK: About(
        Aspect.DEPLOYMENT,
        "Going back to the release before",
        Unit.SECONDS,
        "the new instances do not become ready; from that decision until the old ones alone run",
    ),
    Measure.ROLLBACK_LOST: About(
        Aspect.DEPLOYMENT, "Requests failed by going back", Unit.REQUESTS, "through the front door meanwhile"
    ),
    Measure.CRASH: About(
        Aspect.FAILURES,
        "Recovery from a crashed container",
        Unit.SECONDS,
        "one of 3 ends without warning; until 3 are ready again",
    ),
    Measure.CRASH_LOST: About(
        Aspect.FAILURES, "Requests lost by a crashed container", Unit.REQUESTS, "through the front door meanwhile"
    ),
    Measure.NODE_LOSS: About(
        Aspect.FAILURES,
        "Recovery from a killed node",
        Unit.SECONDS,
        "a node that runs instances goes dark and is shut down; until 3 are ready on others",
    ),
    Measure.NODE_LOSS_LOST: About(
        Aspect.FAILURES, "Requests lost by a killed node", Unit.REQUESTS, "through the front door meanwhile"
    ),
    Measure.PARTITION: About(
        Aspect.FAILURES,
        "Recovery from a partition",
        Unit.SECONDS,
        "a node that runs instances loses its network and keeps running; until 3 are ready on others",
    ),
    Measure.PARTITION_LOST: About(
        Aspect.FAILURES, "Requests lost by a partition", Unit.REQUESTS, "through the front door meanwhile"
    ),
}


@dataclass(frozen=True, slots=True)
class Result:
    """The values of one measure on one target, one a repeat; without any, `note` says why there are none."""

    target: str
    measure: Measure
    values: tuple[float, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """A target as it was when it was measured."""

    name: str
    engine: str
    version: str
    nodes: int
    cpus: float
    memory: int


class ComparisonState(StrEnum):
    """Where a comparison stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self is not ComparisonState.RUNNING


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison: `step` says what is under way, `machine` on what kind of machine the server runs.

    `image` is what was deployed, by its reference in a registry, empty for the image that Naru carries with it.
    """

    id: str
    names: tuple[str, ...]
    repeats: int
    state: ComparisonState
    requested_by: str
    started_at: datetime
    image: str = ""
    machine: str = ""
    step: str = ""
    targets: tuple[Compared, ...] = ()
    results: tuple[Result, ...] = ()
    ended_at: datetime | None = None
    reason: str = ""

    def of(self, target: str, measure: Measure) -> Result | None:
        """Return one result."""
        return next((one for one in self.results if one.target == target and one.measure is measure), None)
