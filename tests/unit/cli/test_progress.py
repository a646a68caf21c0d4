"""A rollout told step by step."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from naru.cli.progress import Picture, lines, verdict
from naru.domain.proof import Proof
from naru.domain.rollout import Kind, LayerProgress, Rollout, RolloutState, Step, StepName, StepState
from naru.domain.workload import Workload

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORKLOAD = Workload("shop", "nginx:1", 80, 3)
QUEUED = Rollout("shop-1", "shop", Kind.DEPLOY, WORKLOAD, RolloutState.QUEUED, "admin", NOW)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


RESOLVING = Step(StepName.RESOLVE, StepState.RUNNING, at(1))
RESOLVED = replace(RESOLVING, state=StepState.PASSED, ended_at=at(1.5), outcome="nginx:1 is sha256:12")
ROLLED = Step(
    StepName.ROLL, StepState.FAILED, at(2), at(9), "1 of 3 ready", "GET / answered 500\nlast lines:\n  \x1b[2Jboom"
)
RUNNING = replace(QUEUED, state=RolloutState.RUNNING, steps=(RESOLVING,))
FAILED = replace(
    QUEUED,
    state=RolloutState.FAILED,
    steps=(RESOLVED, ROLLED),
    ended_at=at(10),
    reason=ROLLED.reason,
    proof=Proof(4, 1),
)


def drawn(rollout: Rollout, now: datetime) -> str:
    picture = Picture(lambda: now)
    picture.rollout = rollout
    console = Console(width=100, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(picture)
    return captured.get()


def test_each_step_is_told_when_it_begins_and_when_it_ends():
    assert list(lines(None, QUEUED)) == ["shop: deploy nginx:1, 3 replicas, rollout shop-1", "queued"]
    assert list(lines(QUEUED, RUNNING)) == ["resolve: running"]
    assert list(lines(RUNNING, FAILED)) == [
        "resolve: passed in 0.5 s, nginx:1 is sha256:12",
        "roll: failed in 7.0 s, 1 of 3 ready",
    ]


def test_what_was_missed_is_told_at_once_and_nothing_twice():
    assert len(list(lines(None, FAILED))) == 3
    assert list(lines(FAILED, FAILED)) == []


STEPS = st.permutations(list(StepName)).flatmap(lambda names: st.integers(0, len(names)).map(lambda n: names[:n]))


@given(STEPS, st.integers(0, 9))
def test_nothing_is_lost_however_rarely_one_looks(names, cut):
    ended = tuple(Step(name, StepState.PASSED, at(n), at(n + 1)) for n, name in enumerate(names))
    half = replace(RUNNING, steps=ended[:cut])
    whole = replace(RUNNING, steps=ended)
    assert [*lines(None, half), *lines(half, whole)] == list(lines(None, whole))


def test_the_picture_shows_steps_durations_and_outcomes():
    picture = drawn(FAILED, at(60))
    assert "✓  resolve" in picture
    assert "0.5 s" in picture
    assert "✗  roll" in picture
    assert "1 of 3 ready" in picture


def test_a_running_step_counts_its_seconds():
    assert "2.5 s" in drawn(RUNNING, at(3.5))


def test_layers_under_way_have_a_bar_each():
    fetching = Step(StepName.DISTRIBUTE, StepState.RUNNING, at(2))
    layers = (
        LayerProgress("sha256:aaaaaaaaaaaaaaaa", "done", 10, 10),
        LayerProgress("sha256:bbbbbbbbbbbbbbbb", "downloading", 1 << 20, 4 << 20),
        LayerProgress("sha256:cccccccccccccccc", "waiting", 0, 0),
    )
    picture = drawn(replace(RUNNING, steps=(RESOLVED, fetching), progress=layers), at(3))
    assert "aaaaaaaaaaaa" not in picture
    assert "bbbbbbbbbbbb" in picture
    assert "1.0 MiB / 4.0 MiB" in picture
    assert "1 of 3 layers" in picture


def test_a_failure_says_why_once_and_obeys_no_escape_of_a_container():
    text = verdict(FAILED).plain
    assert text.startswith("failed in 10.0 s, 4 requests, 1 failed")
    assert text.count("GET / answered 500") == 1
    assert "boom" in text
    assert "\x1b" not in text
