"""A rollout: the record of one change to an app, step by step."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from naru.domain.choice import Choice
from naru.domain.image import Image
from naru.domain.proof import Proof
from naru.domain.workload import Workload


class Kind(StrEnum):
    """What was asked for."""

    DEPLOY = "deploy"
    SCALE = "scale"
    ROLLBACK = "rollback"
    MOVE = "move"
    """Run the live release on another target."""
    REMOVE = "remove"
    """Take the app away and keep its volumes."""
    PURGE = "purge"
    """Take the app away with its volumes."""

    @property
    def takes_away(self) -> bool:
        """Whether the app is gone afterwards."""
        return self in (Kind.REMOVE, Kind.PURGE)


class RolloutState(StrEnum):
    """Where a rollout stands."""

    QUEUED = "queued"
    RUNNING = "running"
    ROLLING_BACK = "rolling-back"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in _ENDED


_ENDED = frozenset({RolloutState.SUCCEEDED, RolloutState.FAILED, RolloutState.CANCELLED})

TRANSITIONS: dict[RolloutState, frozenset[RolloutState]] = {
    RolloutState.QUEUED: frozenset({RolloutState.RUNNING, RolloutState.CANCELLED}),
    RolloutState.RUNNING: frozenset({RolloutState.SUCCEEDED, RolloutState.ROLLING_BACK, RolloutState.FAILED}),
    RolloutState.ROLLING_BACK: frozenset({RolloutState.FAILED, RolloutState.CANCELLED}),
    RolloutState.SUCCEEDED: frozenset(),
    RolloutState.FAILED: frozenset(),
    RolloutState.CANCELLED: frozenset(),
}


class StepName(StrEnum):
    """The steps of a deployment, in the order in which they are taken."""

    RESOLVE = "resolve"
    GATE = "gate"
    PLACE = "place"
    DISTRIBUTE = "distribute"
    COPY = "copy"
    """Bring the volumes of an app that moves."""
    ROLL = "roll"
    PROVE = "prove"
    WATCH = "watch"
    ROLL_BACK = "roll-back"
    REMOVE = "remove"


class StepState(StrEnum):
    """Where a step stands."""

    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """One step as it is stored: when it ran, what came of it, and why.

    `outcome` is one line for the operator; `reason` holds what is needed to mend a failure: the failing check and
    its answer, the exit code, the last log lines. `choice` is what the place step decided among.
    """

    name: StepName
    state: StepState
    started_at: datetime
    ended_at: datetime | None = None
    outcome: str = ""
    reason: str = ""
    choice: Choice | None = None


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """How far one layer has come, in bytes; `total` is 0 while nobody knows it."""

    layer: str
    status: str
    current: int
    total: int


@dataclass(frozen=True, slots=True)
class Rollout:
    """One change to an app, from the request to its end.

    `image` is set from the start where the image is already known (scaling, rolling back), else by the resolve
    step. `release` is the release that this rollout made, 0 before it exists; `restores` is the number of the
    earlier release that a rollback goes back to. `target` is where it is to run, and `source` the target that the app
    leaves for it, empty when it stays where it is. `phase` counts the traffic shifts of a canary that are done.
    """

    id: str
    app: str
    kind: Kind
    workload: Workload
    state: RolloutState
    requested_by: str
    requested_at: datetime
    image: Image | None = None
    release: int = 0
    restores: int = 0
    target: str = ""
    source: str = ""
    phase: int = 0
    ended_at: datetime | None = None
    reason: str = ""
    steps: tuple[Step, ...] = ()
    proof: Proof = Proof()
    progress: tuple[LayerProgress, ...] = ()

    @property
    def copies(self) -> bool:
        """Whether volumes go along: an app that has some does not move without."""
        return self.kind is Kind.MOVE and bool(self.workload.volumes)
