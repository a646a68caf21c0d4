"""Every strategy against an engine of values: instances get ready, die and go in whatever order Hypothesis finds."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.control.values import NEW, OLD, instance, workload

from naru.control.rolling import (
    EXITS_BEFORE_GIVING_UP,
    Move,
    Scene,
    broken,
    count,
    plan,
    serves_throughout,
    upstreams,
    way,
)
from naru.domain.instance import Instance, InstanceState
from naru.domain.kind import Autoscale, WorkloadKind
from naru.domain.workload import (
    BlueGreen,
    Canary,
    CanaryStep,
    Recreate,
    Resources,
    Restart,
    Rolling,
    Strategy,
    Workload,
)

LONG_ENOUGH = 400

rollings = st.builds(Rolling, st.integers(0, 4), st.integers(0, 4)).filter(lambda r: r.max_surge + r.max_unavailable)
percents = st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True).map(sorted)
canaries = percents.map(lambda found: Canary(tuple(CanaryStep(percent, 0.0) for percent in found)))
strategies = st.one_of(rollings, canaries, st.just(Recreate()), st.just(BlueGreen()))


@dataclass
class Stage:
    """What runs, and what is on its way out."""

    strategy: Strategy
    replicas: int
    running: list[Instance]
    leaving: int = 0
    phase: int = 0
    made: int = 0
    moves: list[Move] = field(default_factory=list)

    @property
    def new(self) -> list[Instance]:
        return [i for i in self.running if i.revision == NEW]

    @property
    def old(self) -> list[Instance]:
        return [i for i in self.running if i.revision == OLD]

    @property
    def ready(self) -> int:
        return sum(i.ready for i in self.running)

    def step(self) -> Move:
        move = plan(self.strategy, Scene(self.replicas, self.new, self.old, self.phase, self.leaving))
        for _ in range(move.new - len(self.new)):
            self.made += 1
            self.running.append(instance(f"n{self.made}", state=InstanceState.STARTING))
        self.leaving += sum(i.id in move.retire for i in self.running)
        self.running = [i for i in self.running if i.id not in move.retire]
        self.phase += move.hold is not None
        self.moves.append(move)
        return move

    def become(self, index: int, state: InstanceState) -> None:
        if self.running:
            index %= len(self.running)
            self.running[index] = replace(self.running[index], state=state)

    def vanish(self, index: int) -> None:
        if self.running:
            del self.running[index % len(self.running)]

    def settle(self) -> Move:
        """Let everything get ready, one at a time, until the plan is complete."""
        for _ in range(LONG_ENOUGH):
            move = self.step()
            if move.complete and not self.leaving:
                return move
            waiting = [n for n, i in enumerate(self.running) if not i.ready]
            if self.leaving:
                self.leaving -= 1
            elif waiting:
                self.become(waiting[0], InstanceState.READY)
        raise AssertionError(f"no end: {self}")


@st.composite
def stages(draw: st.DrawFn, strategy: st.SearchStrategy[Strategy] = strategies, fresh: bool = False) -> Stage:
    """Draw a scene: as a rollout finds it, or, unless `fresh`, as a crash in the middle of one leaves it."""
    states = st.sampled_from([InstanceState.STARTING, InstanceState.READY, InstanceState.UNHEALTHY])
    old = [instance(f"o{n}", OLD, state) for n, state in enumerate(draw(st.lists(states, max_size=8)))]
    new = [] if fresh else draw(st.lists(st.sampled_from([InstanceState.STARTING, InstanceState.READY]), max_size=8))
    running = [*old, *(instance(f"m{n}", NEW, state) for n, state in enumerate(new))]
    chosen = draw(strategy)
    phase = draw(st.integers(0, len(chosen.steps))) if isinstance(chosen, Canary) and not fresh else 0
    return Stage(chosen, draw(st.integers(0, 8)), running, 0 if fresh else draw(st.integers(0, 2)), phase)


events = st.lists(
    st.tuples(
        st.sampled_from(["ready", "vanish", "sicken", "gone"]),
        st.integers(0, 20),
    ),
    max_size=25,
)


def disturb(stage: Stage, event: tuple[str, int]) -> None:
    what, index = event
    match what:
        case "ready":
            stage.become(index, InstanceState.READY)
        case "sicken":
            stage.become(index, InstanceState.UNHEALTHY)
        case "gone":
            stage.leaving = max(0, stage.leaving - 1)
        case _:
            stage.vanish(index)


@given(stages(), events)
def test_whatever_happens_the_plan_ends_once_the_instances_get_ready(stage, happenings):
    for event in happenings:
        stage.step()
        disturb(stage, event)

    stage.settle()

    assert len(stage.new) == stage.replicas
    assert all(i.ready for i in stage.new)
    if isinstance(stage.strategy, Rolling | Recreate):
        assert not stage.old


@given(stages(rollings), events)
def test_rolling_plans_no_more_than_the_surge_allows(stage, happenings):
    began = len(stage.running)
    most = max(began, stage.replicas + stage.strategy.max_surge)
    for event in happenings:
        stage.step()
        assert len(stage.running) <= most
        disturb(stage, event)


@given(stages(rollings), events)
def test_rolling_takes_no_more_ready_instances_away_than_it_may(stage, happenings):
    least = stage.replicas - stage.strategy.max_unavailable
    for event in happenings:
        before = stage.ready
        stage.step()
        assert stage.ready >= min(before, least)
        disturb(stage, event)


@given(stages(st.just(Recreate())), events)
def test_recreate_starts_nothing_before_everything_old_is_gone(stage, happenings):
    for event in happenings:
        there, new = len(stage.old) + stage.leaving, len(stage.new)
        stage.step()
        if there:
            assert len(stage.new) <= new
        disturb(stage, event)


@given(stages(st.one_of(canaries, st.just(BlueGreen()))), events)
def test_blue_green_and_canary_keep_the_old_instances(stage, happenings):
    for event in happenings:
        old = stage.old
        stage.step()
        assert stage.old == old
        disturb(stage, event)


@given(stages(st.just(BlueGreen()), fresh=True))
def test_blue_green_switches_all_traffic_at_once_when_every_new_instance_is_ready(stage):
    stage.settle()

    assert [move.share for move in stage.moves if not move.complete] == [0.0] * (len(stage.moves) - 1)
    assert stage.moves[-1].share == 1.0


@given(stages(canaries, fresh=True).filter(lambda s: s.replicas and s.old))
def test_a_canary_raises_its_share_step_by_step_with_enough_instances_for_each(stage):
    stage.settle()

    shares = [move.share for move in stage.moves]
    assert shares == sorted(shares)
    assert [m.share for m in stage.moves if m.hold is not None] == [s.percent / 100 for s in stage.strategy.steps]
    assert all(move.new >= move.share * stage.replicas for move in stage.moves)


@given(stages(fresh=True))
def test_a_finished_plan_asks_for_nothing_more(stage):
    stage.settle()
    there = list(stage.running)

    again = stage.step()

    assert again.complete
    assert not again.retire
    assert stage.running == there


@given(st.integers(0, 8), st.integers(0, 8), strategies)
def test_scaling_touches_no_instance_that_stays(before, after, strategy):
    stage = Stage(strategy, after, [instance(f"m{n}") for n in range(before)])
    names = [i.id for i in stage.running]

    stage.settle()

    stayed = [i.id for i in stage.new if i.id in names]
    assert stayed == names[: min(before, after)]
    assert len(stage.new) == after


def test_scaling_to_nothing_retires_everything():
    stage = Stage(Rolling(), 0, [instance("o1", OLD), instance("o2", OLD)])

    stage.settle()

    assert stage.running == []


@pytest.mark.parametrize(
    ("strategy", "replicas", "expected"),
    [
        (Rolling(), 1, True),
        (Rolling(0, 1), 2, True),
        (Rolling(0, 1), 1, False),
        (Rolling(1, 3), 3, False),
        (Recreate(), 3, False),
        (BlueGreen(), 1, True),
        (Canary(), 1, True),
        (Rolling(), 0, False),
    ],
)
def test_which_rollouts_promise_that_somebody_answers_throughout(strategy, replicas, expected):
    assert serves_throughout(strategy, replicas) is expected


@given(st.integers(1, 30), st.integers(1, 30), st.floats(0.01, 0.99))
def test_the_new_instances_together_get_their_share(fresh, stale, share):
    new, old = [instance(f"n{n}") for n in range(fresh)], [instance(f"o{n}", OLD) for n in range(stale)]

    found = upstreams(new, old, share)

    weight = sum(u.weight for u in found if u.address.startswith("n")) / sum(u.weight for u in found)
    assert weight == pytest.approx(share, abs=1e-3)
    assert len(found) == fresh + stale


def test_traffic_goes_to_ready_instances_only():
    new = [instance("n1"), instance("n2", state=InstanceState.UNHEALTHY), instance("n3", address="")]

    assert [u.address for u in upstreams(new, [], None)] == ["n1:8080"]


@pytest.mark.parametrize("share", [None, 0.0, 0.3])
def test_a_side_without_ready_instances_leaves_the_traffic_to_the_other(share):
    assert [u.address for u in upstreams([instance("n1")], [], share)] == ["n1:8080"]
    assert [u.address for u in upstreams([], [instance("o1", OLD)], share)] == ["o1:8080"]


@pytest.mark.parametrize(("share", "expected"), [(0.0, ["o1:8080"]), (1.0, ["n1:8080"])])
def test_a_side_without_a_share_gets_no_upstream_at_all(share, expected):
    assert [u.address for u in upstreams([instance("n1")], [instance("o1", OLD)], share)] == expected


@pytest.mark.parametrize(
    "one",
    [
        instance("n1", state=InstanceState.UNHEALTHY),
        instance("n1", state=InstanceState.EXITED, oom_killed=True),
        instance("n1", state=InstanceState.STARTING, exits=EXITS_BEFORE_GIVING_UP),
    ],
)
def test_an_instance_that_cannot_work_breaks_the_release(one):
    assert broken(workload(), [instance("n0"), one]) == one


@pytest.mark.parametrize(
    "one",
    [
        instance("n1", oom_killed=True, exits=1),
        instance("n1", exits=EXITS_BEFORE_GIVING_UP + 5),
        instance("n1", state=InstanceState.STARTING, exits=EXITS_BEFORE_GIVING_UP - 1),
        instance("n1", state=InstanceState.EXITED, exits=1),
    ],
)
def test_an_instance_that_came_back_or_still_may_breaks_nothing(one):
    assert broken(workload(), [one]) is None


@pytest.mark.parametrize("restart", [Restart.NEVER, Restart.ON_FAILURE])
def test_an_instance_that_ended_for_good_breaks_the_release(restart):
    one = instance("n1", state=InstanceState.EXITED, exits=1, exit_code=0)

    assert broken(workload(restart=restart), [one]) == one


@given(st.sampled_from(WorkloadKind), st.sampled_from([Rolling(3, 0), Recreate()]))
def test_what_keeps_data_gives_its_place_up_before_the_next_takes_it(kind, strategy):
    schedule = "0 3 * * *" if kind is WorkloadKind.SCHEDULED else ""
    match way(Workload("shop", "shop:1", 80, 2, kind=kind, schedule=schedule, strategy=strategy)):
        case Rolling(surge, unavailable):
            assert kind in (WorkloadKind.STATEFUL, WorkloadKind.SERVICE, WorkloadKind.WORKER, WorkloadKind.EDGE)
            assert kind is not WorkloadKind.STATEFUL or (surge, unavailable) == (0, 1)
        case BlueGreen():
            assert kind.runs_once
        case other:
            assert other == Recreate()


@given(st.integers(0, 9), st.integers(0, 9))
def test_the_engine_chooses_how_many_there_are_within_the_bounds_once_the_old_ones_are_gone(new, old):
    scaled = Workload("shop", "shop:1", 80, 3, resources=Resources(cpus=1), autoscale=Autoscale(2, 5))

    wanted = count(scaled, new, old)

    assert wanted == (3 if not new else max(3 if old else 2, min(new, 5)))
    assert count(replace(scaled, autoscale=None), new, old) == 3
