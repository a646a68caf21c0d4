"""Intervals hold their median, repeat exactly, and say 'tie' where they overlap."""

import random
import statistics

from hypothesis import given, settings
from hypothesis import strategies as st

from naru.lab.models.intervals import best, coverage, interval

values = st.lists(st.floats(0, 1e6), min_size=1, max_size=12)


@settings(max_examples=20)
@given(values, st.integers(0, 9))
def test_an_interval_holds_its_median_within_what_was_seen_and_repeats_exactly(seen, seed):
    one = interval(seen, seed=seed)

    assert one.median == statistics.median(seen)
    assert min(seen) <= one.low <= one.median <= one.high <= max(seen)
    assert one == interval(seen, seed=seed)
    assert one.sure is (len(seen) >= 3)


@settings(max_examples=20)
@given(values)
def test_equal_values_tie(seen):
    assert best({"a": interval(seen), "b": interval(seen)}) == ("a", "b")


def test_few_values_are_never_called_surer_than_they_are():
    assert [round(coverage(count), 4) for count in (1, 2, 3, 5, 6, 50)] == [0.0, 0.5, 0.75, 0.9375, 0.95, 0.95]


def test_what_lies_apart_is_decided_either_way():
    low, high = interval([1.0, 1.1, 1.2, 1.1, 1.0]), interval([2.0, 2.1, 2.2, 2.1, 2.0])

    assert best({"a": low, "b": high}) == ("a",)
    assert best({"a": low, "b": high}, more_is_better=True) == ("b",)
    assert best({"a": low}) == ()


def test_the_interval_covers_the_true_median_about_as_often_as_it_says():
    chance = random.Random(7)
    samples = [[chance.gauss(10, 2) for _ in range(15)] for _ in range(100)]
    covered = sum(one.low <= 10 <= one.high for one in map(interval, samples))
    assert covered >= 90  # 95 are promised; with so few values the bootstrap is a little bold
