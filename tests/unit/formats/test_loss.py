import pytest

from naru.domain.errors import Invalid
from naru.domain.image import Platform
from naru.domain.target import Capacity, Feature, Target
from naru.domain.workload import CommandCheck, Health, Resources, SecretFile, Volume, Workload
from naru.formats.loss import Loss, Losses, on_targets, refuse

SHOP = Workload(
    "shop",
    "shop:1",
    80,
    1,
    health=Health(CommandCheck(("true",))),
    resources=Resources(memory=64 << 20),
    volumes=(Volume("data", "/data"),),
    secrets=(SecretFile("token", "/token"),),
)


def target(name: str, *features: Feature, problem: str = "") -> Target:
    return Target(name, "docker", "1", "home", Platform(), features, Capacity(1, 1, 1, 0), problem)


def test_what_no_engine_can_honour_is_lost():
    losses = on_targets([SHOP], [target("small", Feature.VOLUMES, Feature.SECRET_FILES)])

    assert [(loss.where, loss.what) for loss in losses] == [("shop", "command-checks"), ("shop", "limits")]
    assert losses[0].why == "small (docker) cannot do it"


def test_nothing_is_lost_where_one_engine_can_honour_all_of_it():
    assert on_targets([SHOP], [target("small"), target("big", *Feature)]) == ()


def test_an_engine_that_does_not_answer_is_left_out():
    assert on_targets([SHOP], [target("gone", problem="it does not answer")]) == ()


def test_being_strict_refuses_any_loss_and_names_the_first():
    losses = [Loss("services.web", "tty", "nobody reads it"), Loss("services.db", "init", "none is added")]

    refuse([])
    with pytest.raises(Invalid, match=r"services\.web: tty and 1 more"):
        refuse(losses)


def test_a_loss_is_told_once():
    losses = Losses()
    losses.add("a", "b", "c")
    losses.add("a", "b", "c")

    assert len(losses.rows()) == 1
