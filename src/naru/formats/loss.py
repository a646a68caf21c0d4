"""What a file asks for that will not be so."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from naru.domain.errors import Invalid
from naru.domain.target import Target, needs
from naru.domain.workload import Workload


@dataclass(frozen=True, slots=True, order=True)
class Loss:
    """One thing that is not honoured: where it is asked for, what it is, why it cannot be, and what is done instead."""

    where: str
    what: str
    why: str
    instead: str = "left out"


@dataclass(slots=True)
class Losses:
    """Collects losses while a file is read, each once and in order."""

    _rows: dict[Loss, None] = field(default_factory=dict)

    def add(self, where: str, what: str, why: str, instead: str = "left out") -> None:
        """Note one loss."""
        self._rows[Loss(where, what, why, instead)] = None

    def rows(self) -> tuple[Loss, ...]:
        """Return what was noted."""
        return tuple(self._rows)


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file holds: the apps, in the order in which they may be deployed, and what of them is lost."""

    workloads: tuple[Workload, ...]
    losses: tuple[Loss, ...] = ()


def on_targets(workloads: Iterable[Workload], targets: Iterable[Target]) -> tuple[Loss, ...]:
    """Return what of the workloads no target can honour; nothing where one target can honour all of a workload.

    Targets that do not answer are left out: what they can do is not known.
    """
    answering = [target for target in targets if not target.problem]
    losses: list[Loss] = []
    for workload in workloads:
        lacking = [(target, sorted(needs(workload) - target.features)) for target in answering]
        if any(not features for _, features in lacking):
            continue
        for target, features in lacking:
            losses.extend(
                Loss(workload.app, str(feature), f"{target.name} ({target.engine}) cannot do it", "its rollout fails")
                for feature in features
            )
    return tuple(losses)


def refuse(losses: Iterable[Loss]) -> None:
    """Raise Invalid when anything is lost: what `--strict` asks for."""
    rows = list(losses)
    if rows:
        first = f"{rows[0].where}: {rows[0].what}"
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        raise Invalid(f"something would be lost: {first}{more}", "change the file, or leave --strict out")
