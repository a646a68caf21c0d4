"""What reading and writing files gives, and what is lost on the way."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from naru.domain.errors import Invalid
from naru.domain.kind import Affinity, WorkloadKind
from naru.domain.target import Target, lacking
from naru.domain.workload import Workload
from naru.formats.tree import At, told


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
class StoredFile:
    """The value of a secret that apps of the file read; it is stored before they are deployed."""

    name: str
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file holds as apps.

    `workloads` stand in an order in which they may be deployed; `waits` names for an app those whose rollouts must
    have succeeded before its own begins.
    """

    workloads: tuple[Workload, ...]
    losses: tuple[Loss, ...] = ()
    waits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: tuple[StoredFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Exported:
    """An app as a file, and what of the app the file's format cannot say."""

    text: str
    losses: tuple[Loss, ...] = ()


def on_targets(workloads: Iterable[Workload], targets: Iterable[Target]) -> tuple[Loss, ...]:
    """Return what of the workloads no target can honour; nothing where one target can honour all of a workload.

    Targets that do not answer are left out: what they can do is not known.
    """
    answering = [target for target in targets if not target.problem]
    losses: list[Loss] = []
    for workload in workloads:
        missing = [(target, lacking(workload, target.features)) for target in answering]
        if any(not features for _, features in missing):
            continue
        for target, features in missing:
            losses.extend(
                Loss(workload.app, str(feature), f"{target.name} ({target.engine}) cannot do it", "its rollout fails")
                for feature in features
            )
    return tuple(losses)


def note_kind(workload: Workload, losses: Losses, runs: str) -> None:
    """Note what of the workload's kind, growth and place another platform is not told; `runs` is what it does."""
    w = workload
    if w.kind.ends:
        when = f" at {w.schedule}" if w.schedule else ""
        losses.add(w.app, f"kind: {w.kind}{when}", f"it {runs}", "it is started again when it ends")
    if w.kind is WorkloadKind.STATEFUL and w.volumes and w.replicas > 1:
        losses.add(w.app, "a volume for each instance", f"it {runs}", "one for all")
    if w.autoscale:
        bounds = f"{w.autoscale.min} to {w.autoscale.max} instances"
        losses.add(w.app, bounds, "it is told one count", f"{w.replicas}")
    note_place(w, losses)


def note_place(w: Workload, losses: Losses) -> None:
    """Note what of the workload's place and network another platform is not told."""
    if w.project:
        losses.add(w.app, f"the network of the project {w.project}", "networks are made outside of the file")
    if w.affinity != Affinity():
        losses.add(w.app, "where it may run", "targets and sites are Naru's")


def refuse(losses: Iterable[Loss]) -> None:
    """Raise Invalid when anything is lost: what `--strict` asks for."""
    rows = list(losses)
    if rows:
        first = f"{rows[0].where}: {rows[0].what}"
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        raise Invalid(f"something would be lost: {first}{more}", "change the file, or leave --strict out")


def note_rest(at: At, read: Collection[str], losses: Losses, why: str, instead: str = "left out") -> None:
    """Note everything below `at` that asks for something and is none of what is read."""
    for name, value in at.entries():
        if name not in read and value.meant:
            losses.add(at.path, told(name, value), why, instead)
