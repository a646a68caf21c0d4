"""When the rest of an image may follow: a start has its seconds of free processors for itself."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.agent.calm import Calm, FreeTime, stalled

TOLD = "some avg10=5.84 avg60=6.09 avg300=7.31 total=16252072546\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


def test_the_kernel_tells_how_long_programs_waited(tmp_path: Path):
    (told := tmp_path / "cpu").write_text(TOLD)

    assert stalled(told) == pytest.approx(16252.072546)


@pytest.mark.parametrize("content", ["", "some avg10=1", "some total=many\n"])
def test_a_kernel_that_does_not_tell_counts_as_one_where_nothing_waits(tmp_path: Path, content: str):
    (told := tmp_path / "cpu").write_text(content)

    assert stalled(told) == 0.0
    assert stalled(tmp_path / "none") == 0.0


@given(st.lists(st.tuples(st.floats(0.001, 10), st.floats(0, 1)), min_size=1))
def test_free_time_goes_on_by_what_was_not_waited_and_by_a_tenth_at_least(steps):
    now, waited = [0.0], [0.0]
    clock = FreeTime(lambda: now[0], lambda: waited[0])
    for passed, part in steps:
        before = clock()
        now[0] += passed
        waited[0] += part * passed
        assert clock() - before == pytest.approx(max(0.1, 1 - part) * passed, abs=1e-6)


class Clock:
    """Goes on by a second at every look."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return float(self.looks)


async def test_a_node_on_which_nothing_starts_is_calm():
    await asyncio.wait_for(Calm(lambda: 0.0).reached(), 10)


async def test_a_start_is_waited_for_as_long_as_it_is_expected_to_last():
    clock = Clock()
    calm = Calm(clock, look=0)
    calm.expect("a")

    await calm.reached()

    assert clock.looks == 1 + 5


async def test_a_start_that_has_begun_needs_less_than_one_that_is_expected_and_every_image_counts():
    clock = Clock()
    calm = Calm(clock, look=0)
    calm.expect("a")
    calm.expect("b")
    calm.begin("a")
    calm.release("b")

    await calm.reached()

    assert clock.looks == 3 + 2
