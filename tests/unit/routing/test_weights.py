"""Turns in proportion to weights."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.routing.weights import ERROR, in_turn, turns

weights = st.lists(st.integers(0, 10_000), max_size=60)


@given(weights)
def test_no_share_is_off_by_more_than_a_percentage_point(given_weights):
    counts = turns(given_weights)
    if total := sum(given_weights):
        for count, weight in zip(counts, given_weights, strict=True):
            assert abs(count / sum(counts) - weight / total) <= ERROR + 1e-12


@given(weights)
def test_a_round_is_short(given_weights):
    assert sum(turns(given_weights)) <= sum(weight > 0 for weight in given_weights) + 100


@given(weights)
def test_weight_zero_gets_no_turn(given_weights):
    assert all(count == 0 for count, weight in zip(turns(given_weights), given_weights, strict=True) if weight == 0)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=60))
def test_equal_weights_take_one_turn_each(given_weights):
    assert turns([given_weights[0]] * len(given_weights)) == (1,) * len(given_weights)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=20))
def test_every_address_is_listed_as_often_as_it_takes_turns(counts):
    addresses = [f"10.0.0.{place}:80" for place in range(len(counts))]
    listed = in_turn(addresses, counts)
    assert [listed.count(address) for address in addresses] == counts


@pytest.mark.parametrize(
    ("given_weights", "expected"),
    [([], ()), ([0, 0], (0, 0)), ([7], (1,)), ([30, 30, 30, 10], (3, 3, 3, 1)), ([90, 10], (9, 1)), ([1, 99], (1, 99))],
)
def test_small_proportions_come_out_exactly(given_weights, expected):
    assert turns(given_weights) == expected


def test_turns_are_spread_over_the_round():
    listed = in_turn(["often", "seldom"], [4, 2])
    assert not any(one == two == "seldom" for one, two in pairwise(listed))
    assert listed.index("seldom") < 3
