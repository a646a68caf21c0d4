"""What becomes of the apps of a target that is drained."""

from dataclasses import dataclass

from naru.domain.rollout import Rollout


@dataclass(frozen=True, slots=True)
class Staying:
    """An app that cannot leave, and why."""

    app: str
    reason: str


@dataclass(frozen=True, slots=True)
class Evacuation:
    """The moves that a drain began, and the apps that stay."""

    target: str
    moves: tuple[Rollout, ...]
    staying: tuple[Staying, ...]
