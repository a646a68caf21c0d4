"""How sure a median is, and whether two differ.

The percentile bootstrap (Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3): resample the
values with replacement, take each resample's median, and cut off what lies outside the middle 95 percent.
"""

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
RESAMPLES = 4000
FEWEST = 3
"""Below so many values an interval would be an invention."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The median of `count` values and the interval in which it lies with a confidence of `coverage(count)`.

    From fewer than FEWEST values the interval is the whole of what was seen, and `sure` is False.
    """

    median: float
    low: float
    high: float
    count: int

    @property
    def sure(self) -> bool:
        """Whether there were enough values."""
        return self.count >= FEWEST


def coverage(count: int) -> float:
    """Return how sure an interval can be at most: all of `count` values lie on one side of the median by chance.

    That happens with a probability of 2 / 2^count (the sign test), so 95 percent need 6 values; 3 give 75 percent.
    """
    return min(CONFIDENCE, 1 - 0.5 ** (count - 1))


def interval(values: Sequence[float], *, seed: int = 0) -> Interval:
    """Return the bootstrap interval of the median of one value or more; equal values and seeds give the same."""
    median = statistics.median(values)
    if len(values) < FEWEST:
        return Interval(median, min(values), max(values), len(values))
    chance = random.Random(seed)  # noqa: S311 - chance for statistics, not for secrets
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    cut = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return Interval(median, medians[cut], medians[-1 - cut], len(values))


def best(intervals: Mapping[str, Interval], *, more_is_better: bool = False) -> tuple[str, ...]:
    """Name the best by median and all whose intervals overlap with its own: more than one name is a tie.

    None is named when there is nothing to compare it with.
    """
    if len(intervals) < 2:
        return ()
    sign = -1 if more_is_better else 1
    first = min(intervals, key=lambda name: (sign * intervals[name].median, name))
    lead = intervals[first]
    return tuple(
        sorted(
            name for name, one in intervals.items() if name == first or (one.low <= lead.high and lead.low <= one.high)
        )
    )
