from hypothesis import given, settings
from hypothesis import strategies as st

from naru.agent.exchange.orders import RULES
from naru.agent.exchange.plan import Plan
from naru.agent.exchange.simulate import simulate

MB = 1 << 20


def test_a_site_is_as_quick_as_its_link_to_the_outside_and_asks_for_each_piece_once() -> None:
    plan = Plan(sites=2, nodes=8, pieces=(MB,) * 60, hot=10)
    outcome = simulate(plan)
    bound = 60 * MB / plan.uplink
    assert bound <= outcome.makespan < 1.1 * bound + plan.index + RULES.quiet
    assert outcome.outside == (60 * MB, 60 * MB)
    assert outcome.percentile(0.99) < 1.5 * (10 * MB / plan.uplink + plan.index)


def test_the_same_seed_gives_the_same_outcome() -> None:
    plan = Plan(sites=1, nodes=5, pieces=(MB,) * 20, spread=2.0, deaths=((1.0, 0.4),))
    assert simulate(plan) == simulate(plan)


@settings(max_examples=15)
@given(
    nodes=st.integers(2, 12),
    spread=st.floats(0, 3),
    deaths=st.lists(st.tuples(st.floats(0, 4), st.floats(0, 0.5)), max_size=2).map(tuple),
    seed=st.integers(0, 1000),
)
def test_all_that_live_finish_and_no_piece_is_asked_twice_outside_but_for_a_death(
    nodes: int, spread: float, deaths: tuple[tuple[float, float], ...], seed: int
) -> None:
    outcome = simulate(Plan(1, nodes, (MB,) * 12 + (MB // 3,) * 5, 4, spread=spread, deaths=deaths, seed=seed))
    assert outcome.incomplete == 0
    assert outcome.failed == 0
    assert outcome.twice == 0
