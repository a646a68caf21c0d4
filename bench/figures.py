"""A figure: what was measured, against which goal and which rival, and how much it varied."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from statistics import median, quantiles
from typing import Literal

Better = Literal["lower", "higher"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. `name` is its file's name; all else is what the file holds.

    `value` is the median of `repeats` runs and `spread` their interquartile range, both in `unit`. `goal` is the number
    to reach, None where the figure is only watched. `against` says what it was measured against, empty for nothing.
    """

    name: str
    figure: str
    value: float
    unit: str
    goal: float | None
    better: Better
    against: str
    repeats: int
    spread: float
    date: str

    @property
    def reached(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.better == "lower" else self.value >= self.goal


def measured(
    name: str,
    figure: str,
    samples: Sequence[float],
    *,
    unit: str,
    better: Better,
    day: date,
    goal: float | None = None,
    against: str = "",
) -> Figure:
    """Sum up `samples`, one per repeat, in `unit`."""
    spread = 0.0
    if len(samples) > 1:
        low, _, high = quantiles(samples, n=4, method="inclusive")
        spread = high - low
    return Figure(name, figure, median(samples), unit, goal, better, against, len(samples), spread, day.isoformat())


def keep(figure: Figure, folder: Path) -> Path:
    """Write the figure to `folder`/NAME.json, replacing the one of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{figure.name}.json"
    fields = asdict(figure)
    del fields["name"]
    target.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n")
    return target


def kept(folder: Path) -> list[Figure]:
    """Read every figure of `folder`, by name."""
    return [Figure(name=path.stem, **json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]


def render(figures: Iterable[Figure]) -> str:
    """Return docs/performance.md: the figures as one table."""
    rows = [
        f"| {f.figure} | {_number(f.value)} {f.unit} | {_goal(f)} | {f.against or '–'} | {f.repeats} "
        f"| {_number(f.spread)} | {f.date} |"
        for f in figures
    ]
    return _PAGE.format(rows="\n".join(rows) or "| nothing measured yet | | | | | | |")


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return "–"
    bound = "at most" if figure.better == "lower" else "at least"
    return f"{bound} {_number(figure.goal)}: {'reached' if figure.reached else '**missed**'}"


def _number(value: float) -> str:
    """Three significant digits for small numbers, whole ones for large; no exponent."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


_PAGE = """\
# Performance

Made by `make bench` from bench/results/; do not edit by hand. A value is the median of its repeats, the spread their
interquartile range in the same unit. Ratios are taken within one run, on the same machine, so they carry over; times
and sizes are of the machine that measured them.

| figure | value | goal | against | repeats | spread | measured |
|---|---|---|---|---|---|---|
{rows}
"""
