"""What a comparison found, as its page shows it: medians, their intervals, who is better, and how it all reads.

The numbers are those of the report (naru.lab.studies.report); here they get words in the viewer's language.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from naru.console.words import mark
from naru.domain.comparison import MEASURES, Aspect, Comparison, Measure, Unit
from naru.lab.models.intervals import FEWEST, Interval, best, coverage, interval

_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Said:
    """The words for a measure; they are those of MEASURES, marked for translation."""

    title: str
    how: str


_UNTIL_ALL = mark("from the request until all are ready")
_MEANWHILE = mark("through the front door meanwhile")
SAID: Mapping[Measure, Said] = {
    Measure.BRING_UP: Said(
        mark("From installed programs to an engine that answers"),
        mark("starting its programs and, in a cluster, joining the nodes, until it takes instances"),
    ),
    Measure.MEMORY: Said(
        mark("Memory of the engine's own programs, a node"),
        mark("proportional set size of its daemons while they run nothing for the study"),
    ),
    Measure.DISK: Said(
        mark("Disk of the engine's running programs"), mark("size of the executables that its daemons run")
    ),
    Measure.KEPT_BY_RESTART: Said(
        mark("What a volume holds survives the crash of its instance"),
        mark("a word written before the crash is read after the restart"),
    ),
    Measure.KEPT_BY_RESCHEDULING: Said(
        mark("What a volume holds is there when the instance is placed anew"),
        mark(
            "the instance loses its node where that can be arranged, else it is removed and made again;"
            " it reads the word"
        ),
    ),
    Measure.START_1: Said(mark("1 instance from nothing to ready"), mark("from the request until it is ready")),
    Measure.START_10: Said(mark("10 instances from nothing to ready"), _UNTIL_ALL),
    Measure.START_50: Said(mark("50 instances from nothing to ready"), _UNTIL_ALL),
    Measure.UPDATE: Said(
        mark("Rolling update of 3 instances"),
        mark("one more at a time, none fewer, drained at the front door before it is stopped"),
    ),
    Measure.UPDATE_LOST: Said(mark("Requests failed by the update"), _MEANWHILE),
    Measure.ROLLBACK: Said(
        mark("Going back to the release before"),
        mark("the new instances do not become ready; from that decision until the old ones alone run"),
    ),
    Measure.ROLLBACK_LOST: Said(mark("Requests failed by going back"), _MEANWHILE),
    Measure.CRASH: Said(
        mark("Recovery from a crashed container"), mark("one of 3 ends without warning; until 3 are ready again")
    ),
    Measure.CRASH_LOST: Said(mark("Requests lost by a crashed container"), _MEANWHILE),
    Measure.NODE_LOSS: Said(
        mark("Recovery from a killed node"),
        mark("a node that runs instances goes dark and is shut down; until 3 are ready on others"),
    ),
    Measure.NODE_LOSS_LOST: Said(mark("Requests lost by a killed node"), _MEANWHILE),
    Measure.PARTITION: Said(
        mark("Recovery from a partition"),
        mark("a node that runs instances loses its network and keeps running; until 3 are ready on others"),
    ),
    Measure.PARTITION_LOST: Said(mark("Requests lost by a partition"), _MEANWHILE),
}
ASPECTS: Mapping[Aspect, str] = {
    Aspect.INSTALLATION: mark("Installation"),
    Aspect.VOLUMES: mark("Volumes"),
    Aspect.DEPLOYMENT: mark("Deployment"),
    Aspect.FAILURES: mark("Failures"),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """What was found for one target: without an interval nothing was, and `note` says why."""

    target: str
    values: Sequence[float] = ()
    interval: Interval | None = None
    note: str = ""
    best: bool = False

    @property
    def said_of(self) -> tuple[str, str]:
        """What makes a note the same as another."""
        return self.target, self.note


@dataclass(frozen=True, slots=True)
class Finding:
    """One measure on all targets. `best` are the targets that may be called so: one is better, several are a tie.

    It is empty where there is nothing to compare, and so while some have too few values (`sure` is False).
    """

    measure: Measure
    unit: Unit
    said: Said
    cells: tuple[Cell, ...]
    best: tuple[str, ...]
    sure: bool

    @property
    def plotted(self) -> bool:
        """Whether a plot says more than the figures: there are values, and not all of them are 0 or a yes or no."""
        return self.unit is not Unit.SHARE and any(value for cell in self.cells for value in cell.values)


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a comparison found, by aspect; `wins` counts for each target the measures in which it is better."""

    aspects: Mapping[Aspect, tuple[Finding, ...]]
    wins: Mapping[str, int]
    ties: int
    done: int
    rounds: int
    coverage: float
    fewest: int = FEWEST

    @property
    def measured(self) -> bool:
        """Whether there is anything to show."""
        return any(cell.values for found in self.aspects.values() for one in found for cell in one.cells)


def findings(comparison: Comparison) -> Findings:
    """Say what a comparison has found so far; new values cost about 20 ms each, so not on the event loop."""
    found = {measure: _finding(comparison, measure) for measure in MEASURES}
    decided = [one.best for one in found.values() if one.best]
    rounds = dict.fromkeys(comparison.names, 0)
    for one in comparison.results:
        rounds[one.target] = max(rounds[one.target], len(one.values))
    return Findings(
        {aspect: tuple(one for one in found.values() if MEASURES[one.measure].aspect is aspect) for aspect in Aspect},
        {name: sum(one == (name,) for one in decided) for name in comparison.names},
        sum(len(one) > 1 for one in decided),
        sum(rounds.values()),
        comparison.repeats * len(comparison.names),
        coverage(comparison.repeats),
    )


def drawn(found: Findings) -> list[dict[str, object]]:
    """Return what the page's plots are drawn from, bytes in MiB."""
    return [_drawn(one) for all_ in found.aspects.values() for one in all_ if one.plotted]


def _finding(comparison: Comparison, measure: Measure) -> Finding:
    about = MEASURES[measure]
    known: dict[str, Interval] = {}
    cells: list[Cell] = []
    for name in comparison.names:
        result = comparison.of(name, measure)
        if result and result.values:
            known[name] = _interval(result.values)
            cells.append(Cell(name, result.values, known[name], result.note))
        else:
            cells.append(Cell(name, note=result.note if result else ""))
    sure = len(known) > 1 and all(one.sure for one in known.values())
    winners = best(known, more_is_better=about.more_is_better) if sure else ()
    return Finding(measure, about.unit, SAID[measure], tuple(_marked(cells, winners)), winners, sure or len(known) < 2)


def _marked(cells: Sequence[Cell], winners: Sequence[str]) -> Iterator[Cell]:
    for cell in cells:
        alone = tuple(winners) == (cell.target,)
        yield Cell(cell.target, cell.values, cell.interval, cell.note, best=alone)


def _drawn(finding: Finding) -> dict[str, object]:
    scale = _MIB if finding.unit is Unit.BYTES else 1
    rows = [
        {
            "name": cell.target,
            "values": [value / scale for value in cell.values],
            "low": cell.interval.low / scale if cell.interval else None,
            "median": cell.interval.median / scale if cell.interval else None,
            "high": cell.interval.high / scale if cell.interval else None,
        }
        for cell in finding.cells
    ]
    return {"measure": str(finding.measure), "rows": rows}


@lru_cache(maxsize=4096)
def _interval(values: tuple[float, ...]) -> Interval:
    return interval(values)
