"""Figures are summed up, kept and rendered without loss."""

from datetime import date
from pathlib import Path

import pytest
from bench.figures import Better, Figure, keep, kept, measured, render
from hypothesis import given
from hypothesis import strategies as st

DAY = date(2026, 1, 31)


def figure(value: float = 1.2, goal: float | None = 1.3, better: Better = "lower") -> Figure:
    return measured("start", "request to live", [value], unit="×", better=better, day=DAY, goal=goal)


def test_a_figure_is_the_median_of_its_samples_with_their_interquartile_range() -> None:
    summed = measured("start", "request to live", [5.0, 1.0, 2.0, 4.0, 3.0], unit="s", better="lower", day=DAY)

    assert (summed.value, summed.spread, summed.repeats) == (3.0, 2.0, 5)


@pytest.mark.parametrize(
    ("value", "better", "reached"),
    [(1.3, "lower", True), (1.31, "lower", False), (1.3, "higher", True), (1.29, "higher", False)],
)
def test_a_goal_is_reached_from_the_side_that_is_better(value: float, better: Better, reached: bool) -> None:
    assert figure(value, goal=1.3, better=better).reached is reached


def test_a_figure_without_a_goal_is_neither_reached_nor_missed() -> None:
    assert figure(goal=None).reached is None


@given(st.lists(st.floats(min_value=0, max_value=1e12), min_size=1, max_size=20), st.none() | st.floats(0, 1e12))
def test_what_is_kept_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, samples: list[float], goal: float | None
) -> None:
    folder: Path = tmp_path_factory.mktemp("results")
    original = measured(
        "start", "요청에서 실행까지", samples, unit="s", better="lower", day=DAY, goal=goal, against="x"
    )

    keep(original, folder)

    assert kept(folder) == [original]


def test_the_page_shows_every_figure_and_names_a_missed_goal() -> None:
    page = render([figure(1.2), figure(2.5)])

    assert "| request to live | 1.2 × | at most 1.3: reached | – | 1 | 0 | 2026-01-31 |" in page
    assert "at most 1.3: **missed**" in page
