"""Seconds of a slowed network."""

import pytest
from bench.dilation import Dilation, core_each
from tests.fleets import Shape


def test_a_slowed_link_carries_as_much_within_a_round_trip() -> None:
    shape = Shape(8, uplink=100e6, round_trip=0.02, lan=1e9)

    slow = core_each(8, cores=2).shape(shape)

    assert slow == Shape(8, uplink=25e6, round_trip=0.08, lan=250e6)
    assert slow.uplink * slow.round_trip == shape.uplink * shape.round_trip


@pytest.mark.parametrize(("nodes", "cores", "factor"), [(1, 2, 1), (2, 2, 1), (8, 2, 4), (16, 2, 8), (8, 6, 8 / 6)])
def test_links_are_slowed_until_each_node_has_a_core(nodes: int, cores: int, factor: float) -> None:
    assert core_each(nodes, cores).factor == factor


def test_a_timer_that_nobody_slowed_counts_whole() -> None:
    assert Dilation(4).seconds(61, timers=1) == 16
    assert Dilation(4).seconds(60) == 15
    assert Dilation(1).seconds(7, timers=1) == 7
