from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.control.values import NOON, OLD, instance, release

from naru.control.reconcile import Repair, compare
from naru.domain.instance import InstanceState
from naru.domain.workload import Autoscale, Resources
from naru.routing.base import Route, Upstream

LIVE = release(3)


def mine(name: str, state: InstanceState = InstanceState.READY, **more: object):
    return instance(name, LIVE.revision, state, **more)


def route(*names: str) -> Route:
    upstreams = tuple(Upstream(f"{name}:8080") for name in names)
    return Route("shop", LIVE.workload.address, upstreams, LIVE.workload.health)


WELL = [mine("n1"), mine("n2"), mine("n3")]
ALL = route("n1", "n2", "n3")


def test_nothing_is_put_right_where_all_is_well():
    assert compare(LIVE, WELL, ALL) == Repair()


@given(st.integers(2, 5))
def test_whatever_the_engine_chose_between_its_bounds_is_left_to_it(count):
    scaled = replace(LIVE.workload, replicas=3, resources=Resources(cpus=1), autoscale=Autoscale(2, 5))
    live = replace(LIVE, workload=scaled)
    chosen = [replace(mine(f"n{number}"), revision=live.revision) for number in range(count)]

    assert compare(live, chosen, route(*(f"n{number}" for number in range(count)))) == Repair()


def test_what_is_outside_of_the_engines_bounds_is_put_right():
    live = replace(LIVE, workload=replace(LIVE.workload, resources=Resources(cpus=1), autoscale=Autoscale(2, 3)))
    chosen = [replace(mine(f"n{number}"), revision=live.revision) for number in range(1, 5)]

    assert len(compare(live, chosen, None).replace) == 1
    assert compare(live, chosen[:1], None).missing


def test_an_instance_that_disappeared_is_missing_and_gets_no_traffic():
    repair = compare(LIVE, WELL[:2], ALL)

    assert repair == Repair(route("n1", "n2"), missing=True, notes=("1 of 3 instances are missing",))


def test_an_instance_on_its_way_out_counts_as_gone():
    repair = compare(LIVE, [*WELL[:2], mine("n3", InstanceState.STOPPING)], ALL)

    assert repair.missing
    assert not repair.replace


def test_an_instance_that_is_starting_is_waited_for_without_traffic():
    repair = compare(LIVE, [*WELL[:2], mine("n3", InstanceState.STARTING)], ALL)

    assert repair == Repair(route("n1", "n2"))


def test_an_instance_that_someone_changed_is_replaced_and_that_is_told():
    repair = compare(LIVE, [*WELL[:2], mine("n3", drift=("memory",))], ALL)

    assert repair.replace == {"n3"}
    assert repair.route == route("n1", "n2")
    assert repair.notes == ("n3 was changed by someone else: memory",)


def test_a_sick_instance_is_replaced_when_the_pace_allows():
    seen = [*WELL[:2], mine("n3", InstanceState.UNHEALTHY, failure="GET / answered 500")]

    assert compare(LIVE, seen, ALL).replace == {"n3"}
    assert compare(LIVE, seen, ALL, heal=False) == Repair(route("n1", "n2"))


def test_the_youngest_are_too_many():
    repair = compare(LIVE, [*WELL, mine("n4"), mine("n5")], ALL)

    assert repair.replace == {"n4", "n5"}
    assert not repair.missing
    assert repair.route is None


def test_instances_of_another_revision_are_leftovers_without_traffic():
    repair = compare(LIVE, [*WELL, instance("o1", OLD)], route("n1", "n2", "n3", "o1"))

    assert repair == Repair(ALL, leftovers=frozenset({"o1"}), notes=("1 instances of another revision were left over",))


def test_a_door_that_forgot_the_route_gets_it_again():
    assert compare(LIVE, WELL, None) == Repair(ALL)


def test_an_app_with_no_replicas_keeps_a_route_without_upstreams():
    nothing = replace(LIVE, workload=replace(LIVE.workload, replicas=0))

    assert compare(nothing, [], None).route == route()
    assert compare(nothing, [], route()) == Repair()


STATES = sorted(set(InstanceState) - {InstanceState.COMPLETED, InstanceState.SCHEDULED})
"""The states of what serves."""


@given(
    st.integers(0, 6),
    st.lists(st.tuples(st.sampled_from([LIVE.revision, OLD]), st.sampled_from(STATES), st.booleans())),
)
def test_doing_what_the_repair_says_leaves_nothing_to_repair(replicas, drawn):
    live = replace(LIVE, workload=replace(LIVE.workload, replicas=replicas))
    seen = [
        instance(f"n{n}", revision, state, drift=("memory",) if drift else ())
        for n, (revision, state, drift) in enumerate(drawn)
    ]

    for turn in range(len(drawn) + 2):
        repair = compare(live, seen, None)
        kept = [
            i for i in seen if i.id not in repair.replace | repair.leftovers and i.state is not InstanceState.STOPPING
        ]
        missing = range(replicas - len(kept))
        seen = [*kept, *(instance(f"x{turn}-{n}", live.revision, created_at=NOON) for n in missing)]
        assert len(kept) <= max(replicas, 0)
    repair = compare(live, seen, None)

    assert (repair.missing, repair.replace, repair.leftovers) == (False, frozenset(), frozenset())
    assert not [i for i in seen if i.drift and all(i.ready for i in seen)]


def test_of_several_that_were_changed_and_serve_one_goes_at_a_time():
    changed = [mine(f"n{n}", drift=("memory",)) for n in range(3)]

    assert compare(LIVE, changed, ALL) == Repair(
        route("n1", "n2"), replace=frozenset({"n0"}), notes=("n0 was changed by someone else: memory",)
    )
    assert not compare(LIVE, [mine("x", InstanceState.STARTING), *changed[1:]], ALL).replace
