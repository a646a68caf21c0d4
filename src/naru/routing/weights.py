"""Weights for a door that can only take turns: an address is listed as often as its share asks for."""

from collections.abc import Sequence
from functools import reduce
from math import gcd

ERROR = 0.01
"""How far a share may be off: one percentage point."""
_ROOM = round(1 / ERROR)


def turns(weights: Sequence[int]) -> tuple[int, ...]:
    """Return how often each of these weights (0 or more) takes a turn in one round.

    The shares come out exactly when a round of at most `len(weights)` + 100 turns can express them. Otherwise each
    is off by at most one percentage point, and one that is smaller than that may get no turn.
    """
    total = sum(weights)
    if total == 0:
        return tuple(0 for _ in weights)
    divisor = reduce(gcd, weights)
    longest = sum(weight > 0 for weight in weights) + _ROOM
    if total // divisor <= longest:
        return tuple(weight // divisor for weight in weights)
    return next(
        (shared for length in range(1, longest) if _fair(shared := _share(weights, length), weights)),
        _share(weights, longest),
    )


def in_turn(addresses: Sequence[str], counts: Sequence[int]) -> tuple[str, ...]:
    """List each address as often as its count says, spread evenly over the round."""
    slots = sorted(((turn + 0.5) / count, place) for place, count in enumerate(counts) for turn in range(count))
    return tuple(addresses[place] for _, place in slots)


def _share(weights: Sequence[int], length: int) -> tuple[int, ...]:
    """Share `length` turns by the largest remainder (Hamilton's method): each is off by less than one turn."""
    total = sum(weights)
    counts = [weight * length // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda place: weights[place] * length % total, reverse=True)
    for place in by_remainder[: length - sum(counts)]:
        counts[place] += 1
    return tuple(counts)


def _fair(counts: Sequence[int], weights: Sequence[int]) -> bool:
    length, total = sum(counts), sum(weights)
    return all(
        (count > 0) == (weight > 0) and abs(count / length - weight / total) <= ERROR
        for count, weight in zip(counts, weights, strict=True)
    )
