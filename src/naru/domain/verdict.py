"""What the gate found and what it decided."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Evidence:
    """One check's outcome: which check, whether it passed, and what it saw in words."""

    check: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Passed:
    """The image may run."""

    evidence: tuple[Evidence, ...]
    kind: Literal["passed"] = "passed"


@dataclass(frozen=True, slots=True)
class Refused:
    """The image may not run; every reason is named."""

    evidence: tuple[Evidence, ...]
    kind: Literal["refused"] = "refused"

    @property
    def reasons(self) -> tuple[str, ...]:
        """The details of the checks that did not pass."""
        return tuple(item.detail for item in self.evidence if not item.passed)


Verdict = Passed | Refused
