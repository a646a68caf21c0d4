"""Which strategy the options stand for."""

import pytest

from naru.cli.deploy import StrategyName, chosen_strategy
from naru.domain.errors import Invalid
from naru.domain.workload import BlueGreen, Canary, CanaryStep, Recreate, Rolling


@pytest.mark.parametrize(
    ("name", "canary", "strategy"),
    [
        ("rolling", "", Rolling(2, 1)),
        ("recreate", "", Recreate()),
        ("blue-green", "", BlueGreen()),
        ("canary", "", Canary()),
        ("canary", "20:5s", Canary((CanaryStep(20, 5.0),))),
        ("rolling", "20:5s", Canary((CanaryStep(20, 5.0),))),
    ],
)
def test_options_choose_a_strategy(name, canary, strategy):
    assert chosen_strategy(StrategyName(name), max_surge=2, max_unavailable=1, canary=canary) == strategy


@pytest.mark.parametrize("name", ["recreate", "blue-green"])
def test_canary_steps_without_a_canary_are_refused(name):
    with pytest.raises(Invalid):
        chosen_strategy(StrategyName(name), max_surge=1, max_unavailable=0, canary="10:1s")
