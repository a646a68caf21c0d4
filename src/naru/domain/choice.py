"""Where a workload should run: every candidate with its score, each criterion's share, and the reasons in words."""

from dataclasses import dataclass
from enum import StrEnum

from naru.domain.kind import WorkloadKind


class Criterion(StrEnum):
    """What tells targets apart that can all run the workload."""

    ROOM = "room"
    """How little of the target is promised to apps already."""
    NEARNESS = "nearness"
    """How near it is to the app that the workload wants to be near."""
    START = "start"
    """How soon an instance serves there, as measured."""
    RECOVERY = "recovery"
    """How soon a killed instance is replaced there, as measured."""
    FOOTPRINT = "footprint"
    """How little memory the engine takes for itself, as measured."""
    NODES = "nodes"
    """How small a part of the target the loss of one node is."""
    SUITABILITY = "suitability"
    """What published comparisons say about the engine for such a workload."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured on a target: seconds and bytes, medians; None for what was not measured.

    `start` is from the request for an instance until it is ready, `recovery` from the kill of an instance until as
    many as before are ready, `footprint` the resident memory of the engine's own programs.
    """

    start: float | None = None
    recovery: float | None = None
    footprint: float | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What one criterion says: a score from 0 to 1, and the weight, of 100, that it has for the workload's kind."""

    criterion: Criterion
    score: float
    weight: int
    reason: str

    @property
    def points(self) -> float:
        """What it adds to the candidate's score."""
        return self.score * self.weight


@dataclass(frozen=True, slots=True)
class Candidate:
    """One target. `refusals` say why it cannot run the workload; without any, `shares` add up to `score`, 0 to 100."""

    target: str
    engine: str
    site: str
    score: float
    shares: tuple[Share, ...] = ()
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """Where the app should run: `target`, empty when no candidate can run it, and why.

    `candidates` are all targets: those that can run it first, by score, and those of equal score by name.
    """

    app: str
    kind: WorkloadKind
    target: str
    reason: str
    candidates: tuple[Candidate, ...]
