"""What Naru writes on everything that it makes, to know it again: whose it is, and how it was made."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import TypeAdapter, ValidationError

from naru.domain.kind import WorkloadKind
from naru.domain.release import Release
from naru.domain.workload import CommandCheck, Health, Resources, Restart, Workload
from naru.engines.base import APP_LABEL, RELEASE_LABEL, REVISION_LABEL
from naru.engines.dockerapi.translate import belongs, in_bytes, in_cores, labels

SHAPE_LABEL = "naru.shape"


@dataclass(frozen=True, slots=True)
class Shape:
    """What Naru wants to know of an instance later, written on it as a label.

    `number` tells the instances of a revision apart; `stop_grace` is seconds; `image` is what the engine was told to
    run, where that is worth knowing. What was added later has a default, so that older instances can be read.
    """

    number: int
    port: int
    health: Health
    resources: Resources
    restart: Restart
    stop_grace: float
    kind: WorkloadKind = WorkloadKind.SERVICE
    project: str = ""
    image: str = ""

    @classmethod
    def of(cls, workload: Workload, number: int, image: str = "") -> Self:
        """Describe instance `number` of a workload."""
        return cls(
            number,
            workload.port,
            workload.health,
            workload.resources,
            workload.restarts,
            workload.stop_grace,
            workload.kind,
            workload.project,
            image,
        )

    @property
    def checked(self) -> bool:
        """See Workload."""
        return bool(self.port) or isinstance(self.health.check, CommandCheck)


_SHAPE = TypeAdapter(Shape)


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose something is and how it was made; a shape of None is one that nobody can read."""

    app: str
    release: int
    revision: str
    shape: Shape | None


def whose(release: Release, owner: str) -> dict[str, str]:
    """Say of which release something is."""
    return {
        **labels(owner, release.app),
        RELEASE_LABEL: str(release.number),
        REVISION_LABEL: release.revision,
    }


def written(shape: Shape) -> dict[str, str]:
    """Return the label that keeps a shape."""
    return {SHAPE_LABEL: _SHAPE.dump_json(shape).decode()}


def read_mark(found: Mapping[str, str], owner: str) -> Mark | None:
    """Read the labels of something; None when this Naru did not make it."""
    app = found.get(APP_LABEL, "")
    if not app or not belongs(found, owner, app) or SHAPE_LABEL not in found:
        return None
    try:
        shape = _SHAPE.validate_json(found[SHAPE_LABEL])
        release = int(found.get(RELEASE_LABEL, ""))
    except (ValidationError, ValueError):
        shape, release = None, 0
    return Mark(app, release, found.get(REVISION_LABEL, ""), shape)


def changed_limits(resources: Resources, memory: int, cores: float) -> Iterator[str]:
    """Say how the limits that the engine knows, in bytes and cores, differ from those that were asked for."""
    if memory != (resources.memory or 0):
        yield f"its memory limit is {in_bytes(memory)}, not {in_bytes(resources.memory or 0)}"
    if not math.isclose(max(cores, 0), resources.cpus or 0, abs_tol=0.001):
        yield f"its CPU limit is {in_cores(cores)}, not {in_cores(resources.cpus or 0)}"
