"""Plots as SVG 1.1: a panel a measure, a row a target, a dot a repeat, a bar for the interval, a tick at the median."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from naru.lab.models.intervals import Interval

WIDTH = 640
_LABEL, _RIGHT, _TITLE, _ROW, _AXIS, _GAP = 120, 24, 26, 26, 30, 14
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222}.t{font-weight:600}.m{fill:#666}"
    ".a{stroke:#ccc}.i{stroke:#7aa7d9;stroke-width:8;stroke-linecap:round;opacity:.6}"
    ".d{fill:#1f5fa8;opacity:.7}.c{stroke:#c2410c;stroke-width:2.5}"
    "@media(prefers-color-scheme:dark){text{fill:#eee}.m{fill:#aaa}.a{stroke:#444}.d{fill:#9cc4f2}.i{stroke:#3f6ea3}}"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One target's values; `interval` is None where there are none, and `note` says why."""

    name: str
    values: Sequence[float]
    interval: Interval | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One measure, in the unit that its axis names."""

    title: str
    unit: str
    rows: Sequence[Row]


def svg(panels: Sequence[Panel], title: str) -> str:
    """Draw panels below one another; the axis of each begins at 0."""
    parts, top = list[str](), _GAP
    for panel in panels:
        parts.extend(_panel(panel, top))
        top += _height(panel) + _GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}"'
        f' role="img"><title>{escape(title)}</title><style>{_STYLE}</style>{"".join(parts)}</svg>\n'
    )


def _height(panel: Panel) -> int:
    return _TITLE + _ROW * len(panel.rows) + _AXIS


def _panel(panel: Panel, top: int) -> Iterator[str]:
    yield f'<text class="t" x="0" y="{top + 12}">{escape(panel.title)}</text>'
    most = max((value for row in panel.rows for value in row.values), default=0.0)
    step = _step(most)
    end = max(step, ceil(most / step - 1e-9) * step)
    bottom = top + _TITLE + _ROW * len(panel.rows)

    def x(value: float) -> float:
        return round(_LABEL + value / end * (WIDTH - _LABEL - _RIGHT), 1)

    for number in range(round(end / step) + 1):
        at = number * step
        yield f'<line class="a" x1="{x(at)}" x2="{x(at)}" y1="{top + _TITLE}" y2="{bottom}"/>'
        yield f'<text class="m" x="{x(at)}" y="{bottom + 15}" text-anchor="middle">{at:.10g}</text>'
    yield f'<text class="m" x="0" y="{bottom + 15}">{escape(panel.unit)}</text>'
    for index, row in enumerate(panel.rows):
        middle = top + _TITLE + _ROW * index + _ROW // 2
        yield f'<text x="0" y="{middle + 4}">{escape(row.name)}</text>'
        if row.interval is None:
            yield f'<text class="m" x="{_LABEL}" y="{middle + 4}">{escape(row.note[:70])}</text>'
            continue
        low, high, median = x(row.interval.low), x(row.interval.high), x(row.interval.median)
        yield f'<line class="i" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>'
        for value in row.values:
            yield f'<circle class="d" cx="{x(value)}" cy="{middle}" r="3"/>'
        yield f'<line class="c" x1="{median}" x2="{median}" y1="{middle - 8}" y2="{middle + 8}"/>'


def _step(most: float) -> float:
    """Return a round step that divides the axis into three to seven parts."""
    if most <= 0:
        return 1.0
    power = 10.0 ** floor(log10(most))
    return next(power * factor for factor in (0.2, 0.5, 1.0, 2.0) if most / (power * factor) <= 6)
