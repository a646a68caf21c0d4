"""How states read: a word in the viewer's language and a tone, so that colour is never the only sign.

`mark` only marks a text for extraction; the template translates it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from naru.domain.app import AppState
from naru.domain.comparison import ComparisonState
from naru.domain.image import Origin
from naru.domain.instance import InstanceState
from naru.domain.release import ReleaseState
from naru.domain.rollout import Kind, Rollout, RolloutState, StepName, StepState
from naru.domain.target import Feature

Tone = Literal["good", "busy", "warn", "bad", "idle"]


def mark(text: str) -> str:
    """Return the text: it is translated where it is shown."""
    return text


@dataclass(frozen=True, slots=True)
class Badge:
    """One state, shown."""

    tone: Tone
    word: str


_BADGES: Mapping[StrEnum, Badge] = {
    AppState.NEW: Badge("idle", mark("new")),
    AppState.FAILED: Badge("bad", mark("failed")),
    AppState.LIVE: Badge("good", mark("live")),
    AppState.REMOVED: Badge("idle", mark("removed")),
    InstanceState.STARTING: Badge("busy", mark("starting")),
    InstanceState.READY: Badge("good", mark("ready")),
    InstanceState.UNHEALTHY: Badge("bad", mark("unhealthy")),
    InstanceState.STOPPING: Badge("idle", mark("stopping")),
    InstanceState.EXITED: Badge("bad", mark("exited")),
    InstanceState.COMPLETED: Badge("good", mark("completed")),
    InstanceState.SCHEDULED: Badge("idle", mark("scheduled")),
    ReleaseState.PENDING: Badge("busy", mark("pending")),
    ReleaseState.LIVE: Badge("good", mark("live")),
    ReleaseState.SUPERSEDED: Badge("idle", mark("superseded")),
    ReleaseState.FAILED: Badge("bad", mark("failed")),
    ReleaseState.REFUSED: Badge("bad", mark("refused")),
    RolloutState.QUEUED: Badge("idle", mark("queued")),
    RolloutState.RUNNING: Badge("busy", mark("running")),
    RolloutState.ROLLING_BACK: Badge("warn", mark("rolling back")),
    RolloutState.SUCCEEDED: Badge("good", mark("succeeded")),
    RolloutState.FAILED: Badge("bad", mark("failed")),
    RolloutState.CANCELLED: Badge("idle", mark("cancelled")),
    ComparisonState.RUNNING: Badge("busy", mark("running")),
    ComparisonState.DONE: Badge("good", mark("done")),
    ComparisonState.FAILED: Badge("bad", mark("failed")),
    ComparisonState.CANCELLED: Badge("idle", mark("cancelled")),
    StepState.RUNNING: Badge("busy", mark("running")),
    StepState.PASSED: Badge("good", mark("passed")),
    StepState.FAILED: Badge("bad", mark("failed")),
}

_NAMES: Mapping[StrEnum, str] = {
    Kind.DEPLOY: mark("Deployment"),
    Kind.SCALE: mark("Scaling"),
    Kind.ROLLBACK: mark("Rollback"),
    Kind.MOVE: mark("Move"),
    Kind.REMOVE: mark("Removal"),
    Kind.PURGE: mark("Removal with volumes"),
    StepName.RESOLVE: mark("Resolve the image"),
    StepName.GATE: mark("Pass the gate"),
    StepName.PLACE: mark("Choose a target"),
    StepName.DISTRIBUTE: mark("Fetch the image"),
    StepName.COPY: mark("Copy the volumes"),
    StepName.ROLL: mark("Replace instances"),
    StepName.PROVE: mark("Prove the release"),
    StepName.WATCH: mark("Watch"),
    StepName.ROLL_BACK: mark("Roll back"),
    StepName.REMOVE: mark("Remove"),
    Feature.VOLUMES: mark("volumes"),
    Feature.SECRET_FILES: mark("secrets as files"),
    Feature.COMMAND_CHECKS: mark("checks by a command"),
    Feature.LIMITS: mark("limits"),
    Feature.EXEC: mark("commands in instances"),
    Feature.STATS: mark("figures of use"),
    Feature.RESTARTS: mark("restarts after failures only"),
    Feature.JOBS: mark("runs to an end"),
    Feature.SCHEDULES: mark("schedules"),
    Feature.AUTOSCALE: mark("autoscaling"),
    Feature.OWN_VOLUMES: mark("volumes of each instance"),
    Feature.PROJECT_NETWORKS: mark("networks of projects"),
    Feature.VOLUME_COPIES: mark("copies of volumes"),
    Origin.REGISTRY: mark("registry"),
    Origin.STORED: mark("uploaded"),
    Origin.ENGINE: mark("on the engine"),
}

NOTICES: Mapping[str, str] = {
    "password-saved": mark("The password is saved."),
    "secret-saved": mark("The secret is saved. Releases made from now on use it."),
    "secret-removed": mark("The secret is removed."),
    "registry-saved": mark("The registry credentials are saved."),
    "registry-removed": mark("The registry credentials are removed."),
    "token-revoked": mark("The token is revoked. It is refused from now on."),
    "image-loaded": mark("The archive is loaded."),
    "image-removed": mark("The image is removed."),
    "target-added": mark("The target is added."),
    "target-cordoned": mark("Nothing new comes to the target. What runs there stays."),
    "target-uncordoned": mark("The target takes new apps again."),
    "target-removed": mark("The target is removed."),
    "join-token-revoked": mark("The join token is revoked. It lets nobody in from now on."),
    "node-removed": mark("The node is removed. Other agents refuse it from now on."),
    "comparison-stopping": mark("The comparison is being stopped; all that it made is removed."),
    "cancelled": mark("The rollout is being cancelled."),
}
"""What a page says after a change; the URL carries only the key."""


OVERRIDES: Mapping[str, str] = {"force": mark("Add it even if it does not answer yet")}
"""The label of the box that a page has for a field which overrides an error."""

_PLAN = (
    StepName.RESOLVE,
    StepName.GATE,
    StepName.PLACE,
    StepName.DISTRIBUTE,
    StepName.ROLL,
    StepName.PROVE,
    StepName.WATCH,
)


def still_to_come(rollout: Rollout) -> tuple[StepName, ...]:
    """Name the steps that a rollout has not begun, so that its page has room for them from the start."""
    if rollout.state is RolloutState.ROLLING_BACK:
        return ()
    begun = {step.name for step in rollout.steps}
    plan = (StepName.REMOVE,) if rollout.kind.takes_away else _PLAN
    return tuple(name for name in plan if name not in begun)


def badge(state: StrEnum) -> Badge:
    """Say how a state is shown."""
    return _BADGES[state]


def name(value: StrEnum) -> str:
    """Name a kind or a step for the viewer; the text is still to be translated."""
    return _NAMES[value]
