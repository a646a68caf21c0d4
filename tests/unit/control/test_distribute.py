"""Which way an image goes to the nodes of a site."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.control.values import IMAGE, NOON

from naru.control.distribute import described, over, plan, seen, tells, way_of
from naru.domain.distribution import Carried, Course, Distribution, Estimate, Holding, Link, NodeReport, Way

LINK = Link(outside_rate=12.5e6, site_rate=125e6, outside_round_trip=0.02)
REGISTRY = replace(IMAGE, size=180_000_000)


def nodes(count: int, **more: object) -> list[NodeReport]:
    return [
        replace(NodeReport(f"n{number}", "busan", f"10.0.0.{number}", 7071, "passthrough", link=LINK), **more)
        for number in range(count)
    ]


def test_nodes_that_give_each_other_files_all_fetch_at_once():
    chosen = plan(nodes(8), REGISTRY)
    assert (chosen.way, list(map(len, chosen.waves))) == (Way.PEERS, [8])
    assert chosen.estimates[0].complete == pytest.approx(14.4, rel=0.05)
    assert [one.way for one in chosen.estimates[1:]] == [Way.SEED, Way.DIRECT]


def test_nodes_that_take_whole_layers_begin_with_a_seed_that_has_the_best_link():
    quick = replace(LINK, outside_rate=20e6)
    chosen = plan([*nodes(3, mode="unpacked"), *nodes(4, mode="unpacked", link=quick)[3:]], REGISTRY)
    assert (chosen.way, chosen.waves) == (Way.SEED, (("n3",), ("n0", "n1", "n2")))
    assert Way.PEERS not in [one.way for one in chosen.estimates]


def test_nodes_that_may_give_next_to_nothing_fetch_from_outside_one_after_another():
    chosen = plan(nodes(4, link=replace(LINK, upload=100e3)), REGISTRY)
    assert chosen.way is Way.DIRECT
    assert chosen.waves == (("n0",), ("n1",), ("n2",), ("n3",))


def test_nodes_of_no_cluster_can_only_ask_registries():
    chosen = plan(nodes(2, port=0), REGISTRY)
    assert (chosen.way, [one.way for one in chosen.estimates]) == (Way.DIRECT, [Way.DIRECT])


def test_before_anything_was_measured_nothing_is_estimated():
    chosen = plan(nodes(2, link=Link()), REGISTRY)
    assert (chosen.way, chosen.waves, chosen.estimates) == (Way.PEERS, (("n0", "n1"),), ())


def test_nodes_that_have_the_image_are_in_no_wave():
    whole = (Holding(REGISTRY.digest, 500, 500),)
    some = (Holding(REGISTRY.digest, 100, 500),)
    one, two, three = nodes(3)
    chosen = plan([one, replace(two, images=some), replace(three, images=whole)], REGISTRY)
    assert chosen.waves == (("n1", "n0"),)
    assert chosen.estimates[0].egress == 0


BEGUN = Distribution("r1", "shop", REGISTRY.digest, "busan", Way.SEED, 2, NOON, Estimate(Way.SEED, 10, 20, 1e6))


TWO_WAVES = Course(BEGUN, (("n0",), ("n1",)), {"n0": 0, "n1": 0})
WHOLE = (Holding(REGISTRY.digest, 500, 500),)


def test_a_wave_begins_when_the_one_before_has_all():
    one, two = nodes(2)
    assert (TWO_WAVES.waits("n0"), TWO_WAVES.waits("n1")) == (False, True)
    assert seen(TWO_WAVES, [one, two], NOON + timedelta(seconds=5)).begun == 1
    course = seen(TWO_WAVES, [replace(one, images=WHOLE), two], NOON + timedelta(seconds=6))
    assert course.wave_at == NOON + timedelta(seconds=6)
    assert not course.waits("n1")


def test_a_wave_that_is_stuck_keeps_the_next_one_for_a_while_only():
    assert seen(TWO_WAVES, nodes(2), NOON + timedelta(seconds=99)).begun == 1
    assert seen(TWO_WAVES, nodes(2), NOON + timedelta(seconds=101)).begun == 2


def test_a_wave_whose_nodes_are_gone_is_not_waited_for():
    assert seen(TWO_WAVES, nodes(2)[1:], NOON + timedelta(seconds=1)).begun == 2


def test_what_was_carried_is_never_less_than_was_said():
    more, less = (
        [replace(node, carried=Carried(from_outside=size)) for node in nodes(2)] for size in (1_000_000, 400_000)
    )
    course = seen(TWO_WAVES, more, NOON)
    assert course.distribution.egress == 2_000_000
    assert seen(course, less, NOON).distribution.egress == 2_000_000


def test_a_course_is_over_when_all_is_there_or_after_an_hour():
    assert not over(TWO_WAVES, NOON + timedelta(minutes=59))
    assert over(TWO_WAVES, NOON + timedelta(minutes=61))
    done = seen(TWO_WAVES, nodes(2, images=WHOLE), NOON + timedelta(seconds=9))
    assert done.distribution.complete == 9
    assert over(done, NOON + timedelta(seconds=9))


def test_a_seed_that_mounts_files_goes_to_the_outside_alone():
    one, two = nodes(2)
    assert [way_of(TWO_WAVES, node) for node in (one, two, None)] == [Way.DIRECT, Way.SEED, Way.SEED]
    assert way_of(TWO_WAVES, replace(one, mode="unpacked")) is Way.SEED


def test_an_update_is_estimated_by_what_the_nodes_lack_of_it():
    known = nodes(4, images=(Holding(REGISTRY.digest, 475, 500),))
    part, whole = plan(known, REGISTRY).estimates[0], plan(nodes(4), REGISTRY).estimates[0]
    assert part.egress == pytest.approx(0.05 * whole.egress)
    assert part.complete < whole.complete / 5


def test_nodes_are_waited_for_only_when_they_can_say_what_an_image_shares_with_theirs():
    other = (Holding(f"sha256:{'e' * 64}", 500, 500),)
    empty, holding, authority = nodes(1), nodes(2, images=other), nodes(1, authority="ab")
    assert tells(holding, [*holding, *authority], REGISTRY.digest)
    assert tells(holding, [*holding, *nodes(1, images=WHOLE)], REGISTRY.digest)
    asked = nodes(2, images=other, unweighed=(REGISTRY.digest,))
    assert tells([*holding[:1], *asked[1:]], holding, REGISTRY.digest)
    assert not tells(asked, asked, REGISTRY.digest)  # nobody has its index
    assert tells(asked, [*asked, *authority], REGISTRY.digest)  # nobody has it yet
    assert not tells(empty, [*empty, *authority], REGISTRY.digest)  # nothing can be shared
    assert not tells(nodes(2, images=WHOLE), authority, REGISTRY.digest)  # it is said already
    assert not tells(nodes(2, images=other, mode="unpacked"), authority, REGISTRY.digest)


def test_what_was_chosen_is_said_with_what_else_there_was():
    told = described(replace(BEGUN, waves=(1, 1), alternatives=(Estimate(Way.DIRECT, 30, 30, 2e6),)))
    assert told == (
        "2 nodes of busan fetch it (seed) in waves of 1, 1, expected ready in 10.0 s, complete in 20.0 s; "
        "ready by another way: direct 30.0 s"
    )
