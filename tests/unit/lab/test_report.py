"""The report says what was measured, what was not and why, and never names a winner that the values do not show."""

from datetime import UTC, datetime
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from naru.domain.comparison import MEASURES, Compared, Comparison, ComparisonState, Measure, Result
from naru.lab.studies.features import FEATURES
from naru.lab.studies.plot import Panel, Row, svg
from naru.lab.studies.report import html, markdown, plots, verdict

MIB = 1024.0**2
COMPARISON = Comparison(
    id="c1",
    names=("box", "cluster"),
    repeats=5,
    state=ComparisonState.DONE,
    requested_by="admin",
    started_at=datetime(2026, 3, 1, tzinfo=UTC),
    machine="2 cores",
    targets=(
        Compared("box", "docker", "20.10", 1, 2.0, 1 << 30),
        Compared("cluster", "swarm", "20.10", 3, 6.0, 3 << 30),
    ),
    results=(
        Result("box", Measure.START_1, (0.5, 0.6, 0.55, 0.5, 0.6)),
        Result("cluster", Measure.START_1, (1.5, 1.6, 1.55, 1.5, 1.6)),
        Result("box", Measure.CRASH, (1.0, 2.0, 3.0, 1.5, 2.5)),
        Result("cluster", Measure.CRASH, (1.1, 2.1, 2.9, 1.4, 2.6)),
        Result("box", Measure.MEMORY, (60 * MIB, 62 * MIB)),
        Result("cluster", Measure.MEMORY, (80 * MIB, 82 * MIB)),
        Result("box", Measure.NODE_LOSS, (), "it has one node: <nothing> is left"),
        Result("cluster", Measure.NODE_LOSS, (4.0, 5.0, 4.5, 4.2, 4.9)),
        Result("box", Measure.KEPT_BY_RESTART, (1.0,) * 5),
        Result("cluster", Measure.KEPT_BY_RESTART, (1.0, 1.0, 0.0, 1.0, 1.0)),
    ),
)


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        (Measure.START_1, "box"),
        (Measure.CRASH, "tie"),
        (Measure.MEMORY, "undecided: fewer than 3 values"),
        (Measure.NODE_LOSS, "–"),
        (Measure.UPDATE, "–"),
    ],
)
def test_a_verdict_is_no_bolder_than_the_values(measure, words):
    assert verdict(COMPARISON, measure) == words


def test_the_markdown_holds_every_measure_the_machine_and_why_something_is_missing():
    page = markdown(COMPARISON, folder="plots", again="naru compare box cluster")

    assert (
        "Measured on 2026-03-01, 5 times, on 2 cores. box: docker 20.10, 1 node; cluster: swarm 20.10, 3 nodes." in page
    )
    assert all(about.title in page for about in MEASURES.values())
    assert "| 1 instance from nothing to ready | 0.55 s (0.50 s to 0.60 s) | 1.55 s (1.50 s to 1.60 s) | box |" in page
    assert "5 of 5 times | 4 of 5 times" in page
    assert "- box: it has one node: <nothing> is left: Recovery from a killed node (0 values)." in page
    assert "![failures: a dot a repeat, the median and its interval](plots/failures.svg)" in page
    assert all(row.what in page for row in FEATURES)


def test_the_html_is_one_sound_file_that_asks_for_nothing():
    page = html(COMPARISON, again="naru compare box cluster")

    assert "&lt;nothing&gt;" in page
    assert "<nothing>" not in page
    links = [value for name, value in attributes(page) if name in ("src", "href")]
    assert links == []


def test_the_plots_are_sound_svg_with_a_dot_a_value():
    for name, drawn in plots(COMPARISON).items():
        root = ElementTree.fromstring(drawn)
        assert root.tag.endswith("svg"), name
    failures = plots(COMPARISON)["failures.svg"]
    assert failures.count("<circle") == 15


@pytest.mark.parametrize("most", [0.0, 1e-4, 0.3, 1.0, 7.0, 61.2, 12345.0])
def test_an_axis_reaches_beyond_its_values_in_few_steps(most):
    drawn = svg([Panel("t", "s", [Row("a", [most], None)])], "t")

    ticks = [float(text) for text in texts(drawn) if text not in ("t", "s", "a", "")]
    assert ticks[0] == 0
    assert ticks[-1] >= most
    assert 2 <= len(ticks) <= 8


def texts(drawn: str) -> list[str]:
    return [one.text or "" for one in ElementTree.fromstring(drawn).iter() if one.tag.endswith("}text")]


def attributes(page: str) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.extend(attrs)

    Reader().feed(page)
    return found
