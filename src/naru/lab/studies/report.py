"""A comparison as a report: Markdown with plots beside it, and one HTML file that holds everything."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from naru.domain.comparison import MEASURES, About, Aspect, Comparison, Measure, Unit
from naru.lab.models.intervals import FEWEST, Interval, best, coverage, interval
from naru.lab.studies.features import FEATURES
from naru.lab.studies.plot import Panel, Row, svg

PLOTTED = (Aspect.INSTALLATION, Aspect.DEPLOYMENT, Aspect.FAILURES)
_MIB = 1024**2
_AXES = {Unit.SECONDS: "seconds", Unit.BYTES: "MiB", Unit.REQUESTS: "requests", Unit.SHARE: "share"}


def intervals(comparison: Comparison, measure: Measure) -> Mapping[str, Interval]:
    """Return the interval of each target that has values."""
    found = {name: comparison.of(name, measure) for name in comparison.names}
    return {name: interval(result.values) for name, result in found.items() if result and result.values}


def verdict(comparison: Comparison, measure: Measure) -> str:
    """Say which target is better, 'tie' where the intervals overlap, or why there is no saying."""
    known = intervals(comparison, measure)
    if len(known) < 2:
        return "–"
    if not all(one.sure for one in known.values()):
        return f"undecided: fewer than {FEWEST} values"
    winners = best(known, more_is_better=MEASURES[measure].more_is_better)
    return winners[0] if len(winners) == 1 else f"tie of {' and '.join(winners)}" if len(known) > 2 else "tie"


def plots(comparison: Comparison) -> Mapping[str, str]:
    """Draw one SVG an aspect, by file name."""
    return {f"{aspect}.svg": svg(list(_panels(comparison, aspect)), f"{aspect}") for aspect in PLOTTED}


def markdown(comparison: Comparison, *, folder: str, again: str, remarks: Sequence[str] = ()) -> str:
    """Write the report; its plots are in `folder`, and `again` is how to repeat it."""
    lines = ["# Comparison of engines", "", *_about(comparison), ""]
    lines += [f"- {remark}" for remark in remarks] + [""] * bool(remarks)
    lines += [f"Again: `{again}`.", ""]
    for aspect in Aspect:
        lines += [f"## {str(aspect).capitalize()}", ""]
        if aspect in PLOTTED:
            lines += [f"![{aspect}: a dot a repeat, the median and its interval]({folder}/{aspect}.svg)", ""]
        lines += _table(["measure", *comparison.names, "better", "how"], _rows(comparison, aspect))
        notes = [f"- {note}" for note in _notes(comparison, aspect)]
        lines += ["", *notes, *[""] * bool(notes)]
    engines = list(dict.fromkeys(target.engine for target in comparison.targets))
    lines += ["## What no measurement shows", "", "By documentation.", ""]
    rows = ([row.what, *(row.of(engine) for engine in engines), row.source] for row in FEATURES)
    return "\n".join([*lines, *_table(["", *engines, "source"], rows), ""])


def html(comparison: Comparison, *, again: str) -> str:
    """Write the report as one file."""
    parts = [f"<p>{escape(line)}</p>" for line in (*_about(comparison), f"Again: {again}") if line]
    drawn = plots(comparison)
    for aspect in Aspect:
        parts += [f"<h2>{escape(str(aspect).capitalize())}</h2>", drawn.get(f"{aspect}.svg", "")]
        parts.append(_html_table(["measure", *comparison.names, "better", "how"], _rows(comparison, aspect)))
        parts += [f"<p class=note>{escape(note)}</p>" for note in _notes(comparison, aspect)]
    engines = list(dict.fromkeys(target.engine for target in comparison.targets))
    rows = ([row.what, *(row.of(engine) for engine in engines), row.source] for row in FEATURES)
    parts += ["<h2>What no measurement shows</h2>", _html_table(["", *engines, "source (by documentation)"], rows)]
    return _PAGE.replace("@BODY@", "\n".join(parts))


def shown(value: float, unit: Unit) -> str:
    """Write a value for people."""
    match unit:
        case Unit.SECONDS:
            return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
        case Unit.BYTES:
            return f"{value / _MIB:.1f} MiB"
        case Unit.REQUESTS:
            return f"{value:g}"
        case Unit.SHARE:
            return f"{value:.0%}"


def cell(comparison: Comparison, target: str, measure: Measure) -> str:
    """Write one target's result: the median and its interval, or that there is none."""
    about = MEASURES[measure]
    result = comparison.of(target, measure)
    if result is None or not result.values:
        return "not measured"
    if about.unit is Unit.SHARE:
        return f"{sum(result.values):.0f} of {len(result.values)} times"
    one = interval(result.values)
    bounds = "" if one.low == one.high else f" ({shown(one.low, about.unit)} to {shown(one.high, about.unit)})"
    return f"{shown(one.median, about.unit)}{bounds}"


def _about(comparison: Comparison) -> list[str]:
    when = f"{comparison.started_at:%Y-%m-%d}"
    targets = "; ".join(
        f"{one.name}: {one.engine} {one.version}, {one.nodes} node{'s' * (one.nodes != 1)}"
        for one in comparison.targets
    )
    return [
        f"Measured on {when}, {comparison.repeats} times, on {comparison.machine or 'an unnamed machine'}. {targets}.",
        "",
        f"Values are medians with their {coverage(comparison.repeats):.0%} interval (percentile bootstrap; 95% need 6 "
        "repeats). Where intervals overlap, it is a tie. Targets took turns, so that what else the machine did fell on "
        "all of them.",
    ]


def _rows(comparison: Comparison, aspect: Aspect) -> Iterator[list[str]]:
    for measure, about in _of(aspect):
        cells = [cell(comparison, name, measure) for name in comparison.names]
        yield [about.title, *cells, verdict(comparison, measure), about.how]


def _notes(comparison: Comparison, aspect: Aspect) -> Iterator[str]:
    """Say once a target what could not be measured, or not each time, and why."""
    for name in comparison.names:
        why: dict[str, list[str]] = {}
        for measure, about in _of(aspect):
            result = comparison.of(name, measure)
            if result and result.note:
                why.setdefault(result.note, []).append(f"{about.title} ({len(result.values)} values)")
        yield from (f"{name}: {note}: {'; '.join(titles)}." for note, titles in why.items())


def _panels(comparison: Comparison, aspect: Aspect) -> Iterator[Panel]:
    for measure, about in _of(aspect):
        scale = _MIB if about.unit is Unit.BYTES else 1
        rows = []
        for name in comparison.names:
            result = comparison.of(name, measure)
            values = [value / scale for value in result.values] if result else []
            note = result.note if result else "not measured"
            rows.append(Row(name, values, interval(values) if values else None, note))
        yield Panel(about.title, _AXES[about.unit], rows)


def _of(aspect: Aspect) -> list[tuple[Measure, About]]:
    return [(measure, about) for measure, about in MEASURES.items() if about.aspect is aspect]


def _table(headings: Sequence[str], rows: Iterator[list[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"

    return [line(headings), "|" + "---|" * len(headings), *map(line, rows)]


def _html_table(headings: Sequence[str], rows: Iterator[list[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(one)}</{tag}>' for one in cells)}</tr>"

    return f"<table>{line(headings, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Comparison of engines</title>
<style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { text-align: left; padding: .3rem .6rem; vertical-align: top; border-bottom: 1px solid #8884 }
svg { max-width: 100%; height: auto } .note { opacity: .75 }
</style>
<h1>Comparison of engines</h1>
@BODY@
</html>
"""
