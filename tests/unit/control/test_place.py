from dataclasses import replace

import pytest
from tests.unit.control.values import IMAGE, target, workload

from naru.control.place import place
from naru.domain.errors import Conflict, Unavailable
from naru.domain.image import Platform
from naru.domain.target import Capacity, Feature
from naru.domain.workload import CommandCheck, Health, Resources, SecretFile, Volume

ROOMY = Capacity(4, 8 << 30, 100 << 30, 0)


def test_the_emptiest_target_is_chosen_and_the_others_are_named_with_their_reasons():
    full = target("full", capacity=replace(ROOMY, instances=9))
    away = target("away", problem="does not answer")

    placement = place(workload(), IMAGE, [away, full, target("empty")])

    assert placement.target.name == "empty"
    assert dict(placement.runners_up) == {"full": "has more instances", "away": "does not answer"}


def test_an_app_stays_where_it_is_while_it_can():
    full = target("full", capacity=replace(ROOMY, instances=9))

    placement = place(workload(), IMAGE, [full, target("empty")], "full")

    assert placement.target is full
    assert "where it runs already" in placement.reason


def test_an_app_leaves_a_target_that_cannot_run_it_any_more():
    small = target("small", capacity=replace(ROOMY, memory=1 << 20))

    placement = place(workload(resources=Resources(memory=1 << 30)), IMAGE, [small, target("large")], "small")

    assert placement.target.name == "large"


@pytest.mark.parametrize(
    ("asked", "there", "words"),
    [
        ({"resources": Resources(memory=16 << 30)}, {}, "16384 MiB, the target has 8192 MiB"),
        ({"resources": Resources(cpus=8)}, {}, "8 cores, the target has 4"),
        ({}, {"platform": Platform("linux", "arm64")}, "the image is for linux/amd64, the target is linux/arm64"),
        ({"volumes": (Volume("data", "/data"),)}, {"features": ()}, "cannot do volumes"),
        ({"secrets": (SecretFile("key", "/key"),)}, {"features": ()}, "cannot do secret-files"),
        ({"health": Health(CommandCheck(("true",)))}, {"features": ()}, "cannot do command-checks"),
        ({"resources": Resources(cpus=1)}, {"features": (Feature.EXEC,)}, "cannot do limits"),
        ({}, {"capacity": replace(ROOMY, disk_free=1 << 20)}, "of disk"),
    ],
)
def test_what_is_lacking_is_named(asked, there, words):
    with pytest.raises(Conflict, match=words):
        place(workload(**asked), replace(IMAGE, size=1 << 30), [target(**there)])


@pytest.mark.parametrize("targets", [[], [target(problem="docker does not answer")]])
def test_without_a_target_that_answers_it_is_worth_trying_again(targets):
    with pytest.raises(Unavailable):
        place(workload(), IMAGE, targets)
