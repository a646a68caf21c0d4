"""What a study measures, with what, and how nothing of it is left behind."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from naru.domain.account import Credentials
from naru.domain.comparison import Compared, Measure
from naru.domain.errors import Conflict, NotFound
from naru.domain.image import Image
from naru.domain.workload import Address
from naru.engines.base import OpenEngine

STARTS: Mapping[Measure, int] = {Measure.START_1: 1, Measure.START_10: 10, Measure.START_50: 50}
START, SERVICE, VOLUMES = _PARTS = ("start", "service", "volume")

Break = Callable[[str], AbstractAsyncContextManager[None]]
"""Breaks the node of that name while the block lasts, and has it back at the end."""


@dataclass(frozen=True, slots=True)
class Means:
    """What can be done to a target beside what its engine promises; None where nobody can.

    `sockets` are those of its own programs on this machine, one a node. `powerless` says why nodes cannot be broken;
    those in `vital` never are, as the engine is asked through them.
    """

    sockets: tuple[Path, ...] = ()
    bring_up: Callable[[], Awaitable[float]] | None = None
    kill: Break | None = None
    cut: Break | None = None
    powerless: str = "Naru has no power over the machines of this target"
    vital: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Subject:
    """A target under study. Its engine was opened for an owner that nobody else has."""

    name: str
    engine: OpenEngine
    means: Means = Means()


@dataclass(frozen=True, slots=True)
class Plan:
    """How often, with which image, and through which port of the door.

    `archive` is for engines that lack a stored image, `credentials` for the registry of one that is pulled.
    `mark` tells the apps of this study from those of others on the same engine: up to 12 letters and digits.
    """

    repeats: int
    mark: str
    image: Image
    archive: Path | None
    credentials: Credentials | None
    address: Address
    starts: Mapping[Measure, int] = field(default_factory=lambda: STARTS)


def apps(mark: str) -> tuple[str, ...]:
    """Name the apps of the studies with a mark."""
    return tuple(f"study-{mark}-{part}" for part in _PARTS)


async def clear(engine: OpenEngine, mark: str) -> str:
    """Remove all that a study made on an engine; return what the engine refused to remove, and why.

    Swarm cannot reach volumes on other nodes, and Docker 20.10 may forget to let go of a network.
    """
    left = ""
    for app in apps(mark):
        for volumes in (True, False):
            try:
                await engine.remove(app, volumes=volumes)
                break
            except Conflict as conflict:
                left = str(conflict)
    return left


async def describe(subject: Subject) -> Compared:
    """Say what a subject is."""
    target = await subject.engine.describe()
    room = target.capacity
    return Compared(subject.name, target.engine, target.version, room.nodes, room.cpus, room.memory)


async def fetch(engine: OpenEngine, plan: Plan) -> None:
    """Bring the study's image; raise what the engine says when it cannot have it."""
    try:
        async for _ in engine.fetch(plan.image, credentials=plan.credentials):
            pass
    except NotFound:
        if plan.archive is None:
            raise
        async for _ in engine.fetch(plan.image, archive=plan.archive):
            pass
