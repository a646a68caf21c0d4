"""The scheduler's rules, one by one."""

from tests.unit.agent.exchange.schedules import ALL, BACKGROUND, COUNT, DEMAND, KB, PROFILE, asked, heard, node

from naru.agent.exchange import bits
from naru.agent.exchange.orders import Announce, Ask, Cancel, Derive, Drop, Fail, Fault, Rules
from naru.agent.exchange.schedule import Schedule


def test_what_a_mate_has_is_not_fetched_from_outside() -> None:
    schedule = node()
    heard(schedule, "mate", has=ALL)
    heard(schedule, "far", mate=False, has=ALL)
    schedule.want(range(COUNT), BACKGROUND)
    orders = schedule.decide(1.0)
    assert sorted(asked(orders, "mate")) == list(range(COUNT))
    assert asked(orders, "far") == []


def test_what_nobody_near_has_is_divided_among_the_site_by_lead() -> None:
    names = ["me", "you", "they"]
    orders = {}
    for name in names:
        schedule = node(name)
        for mate in names:
            if mate != name:
                heard(schedule, mate)
        heard(schedule, "far", mate=False, has=ALL)
        schedule.want(range(COUNT), BACKGROUND)
        orders[name] = schedule.decide(1.0)
    outside = [number for name in names for number in asked(orders[name], "far")]
    assert sorted(outside) == list(range(COUNT))
    assert all(order.relay for order in orders["me"] if isinstance(order, Ask) and order.peer != "far")
    assert [order.numbers for order in orders["me"] if isinstance(order, Announce)] == [
        tuple(sorted(asked(orders["me"], "far")))
    ]


def test_nothing_is_fetched_from_outside_before_the_mates_are_heard_or_the_grace_is_over() -> None:
    schedule = node(rules=Rules(grace=0.5))
    schedule.expect("mate")
    heard(schedule, "far", mate=False, has=ALL)
    schedule.want([1], DEMAND)
    assert asked(schedule.decide(0.1), "far") == []
    assert asked(schedule.decide(0.6), "far") == [1]


def test_what_a_mate_announced_is_asked_of_it_whoever_leads() -> None:
    schedule = node()
    heard(schedule, "mate")
    heard(schedule, "far", mate=False, has=ALL)
    schedule.announced("mate", ALL)
    schedule.want(range(COUNT), BACKGROUND)
    assert sorted(asked(schedule.decide(1.0), "mate")) == list(range(COUNT))


def test_a_lead_that_dies_is_followed_by_the_next() -> None:
    schedule = node()
    heard(schedule, "mate")
    heard(schedule, "far", mate=False, has=ALL)
    schedule.want(range(COUNT), BACKGROUND)
    first = asked(schedule.decide(1.0), "far")
    schedule.left("mate")
    assert sorted(first + asked(schedule.decide(1.1), "far")) == list(range(COUNT))


def test_a_mate_that_asks_us_for_a_piece_is_not_asked_for_it() -> None:
    schedule = node()
    heard(schedule, "mate")
    heard(schedule, "far", mate=False, has=ALL)
    schedule.relay("mate", ALL, BACKGROUND)
    assert sorted(asked(schedule.decide(1.0), "far")) == list(range(COUNT))


def test_what_is_demanded_is_asked_although_the_link_is_full() -> None:
    schedule = node(size=1024 * KB)
    heard(schedule, "far", mate=False, has=ALL)
    schedule.want(range(COUNT), BACKGROUND)
    first = asked(schedule.decide(1.0), "far")
    assert len(first) < COUNT
    last = COUNT - 1
    schedule.want([last, first[0]], DEMAND)
    orders = [order for order in schedule.decide(1.0) if isinstance(order, Ask)]
    assert {(order.numbers, order.priority, order.again) for order in orders} == {
        ((last,), DEMAND, False),
        ((first[0],), DEMAND, True),
    }


def test_the_background_rests_while_anything_else_is_under_way_and_a_while_after() -> None:
    schedule = node(rules=Rules(quiet=1.0))
    heard(schedule, "mate", has=ALL)
    schedule.want([1], DEMAND)
    schedule.want(range(COUNT), BACKGROUND)
    assert asked(passing(schedule, 1.0, 3.0), "mate") == [1]
    schedule.came("mate", 1, 3.0)
    assert asked(passing(schedule, 3.0, 3.8), "mate") == []
    assert len(asked(schedule.decide(4.1), "mate")) == COUNT - 1


def test_the_background_fills_no_queue_where_a_demand_would_wait() -> None:
    schedule = node(size=64 * KB)
    heard(schedule, "far", mate=False, has=ALL)
    schedule.measured("far", 0.02)
    schedule.want(range(COUNT), BACKGROUND)
    assert len(asked(schedule.decide(1.0), "far")) * 64 * KB <= (256 + 64) * KB


def test_in_the_background_one_large_piece_follows_another_without_a_pause_and_no_third() -> None:
    schedule = node(size=1024 * KB)
    heard(schedule, "far", mate=False, has=ALL)
    schedule.want(range(COUNT), BACKGROUND)
    first, second = asked(schedule.decide(1.0), "far")
    assert asked(schedule.decide(2.0), "far") == []
    schedule.came("far", first, 2.1)
    assert len(asked(schedule.decide(2.2), "far")) == 1
    assert schedule.awaits("far", second)


def test_a_profile_is_asked_in_its_order_and_before_the_background() -> None:
    schedule = node()
    heard(schedule, "mate", has=ALL)
    schedule.want(range(COUNT), BACKGROUND)
    schedule.want([7, 3, 9], PROFILE)
    orders = [order for order in schedule.decide(1.0) if isinstance(order, Ask)]
    assert orders[0].numbers == (7, 3, 9)


def test_the_rarest_are_asked_first_in_the_background() -> None:
    schedule = node(size=512 * KB)
    heard(schedule, "one", has=ALL)
    heard(schedule, "two", has=ALL & ~(1 << 20))
    schedule.want(range(COUNT), BACKGROUND)
    orders = [order for order in schedule.decide(1.0) if isinstance(order, Ask)]
    assert next(order for order in orders if order.peer == "one").numbers[0] == 20


def test_the_soonest_mate_is_asked() -> None:
    schedule = node()
    for name, seconds in (("near", 0.0002), ("distant", 0.08)):
        heard(schedule, name, has=ALL)
        schedule.measured(name, seconds)
    schedule.want([5], DEMAND)
    assert asked(schedule.decide(1.0), "near") == [5]


def test_a_late_piece_is_asked_of_a_second_mate_and_cancelled_at_the_first() -> None:
    schedule = node()
    heard(schedule, "slow", has=ALL)
    schedule.want([4], BACKGROUND)
    schedule.decide(1.0)
    heard(schedule, "quick", has=ALL)
    assert asked(schedule.decide(1.5), "quick") == [4]
    schedule.came("quick", 4, 1.55)
    assert Cancel("slow", (4,)) in schedule.decide(1.6)


def passing(schedule: Schedule, start: float, end: float) -> list:
    """What is decided while time passes."""
    orders = []
    for step in range(int((end - start) * 5) + 1):
        orders += schedule.decide(start + step / 5)
    return orders


def test_a_peer_that_sends_nothing_is_dropped_and_another_asked() -> None:
    schedule = node(rules=Rules(stall=2.0))
    heard(schedule, "far", mate=False, has=ALL)
    heard(schedule, "other", mate=False, has=ALL)
    schedule.measured("far", 0.001)
    schedule.want([4], DEMAND)
    orders = passing(schedule, 1.0, 5.0)
    assert Drop("far", Fault.SLOW) in orders
    assert asked(orders, "other") == [4]


def test_the_only_one_that_has_a_piece_is_given_more_time() -> None:
    schedule = node(rules=Rules(stall=2.0))
    heard(schedule, "far", mate=False, has=ALL)
    schedule.want([4], DEMAND)
    assert Drop("far", Fault.SLOW) not in passing(schedule, 1.0, 8.0)
    assert Drop("far", Fault.SLOW) in passing(schedule, 8.0, 11.0)


def test_a_node_that_was_too_busy_to_look_blames_nobody() -> None:
    schedule = node(rules=Rules(stall=2.0))
    heard(schedule, "far", mate=False, has=ALL)
    heard(schedule, "other", mate=False, has=ALL)
    schedule.want([4], DEMAND)
    schedule.decide(1.0)
    assert not any(isinstance(order, Drop) for order in schedule.decide(60.0))


def test_a_peer_that_advertises_what_it_lacks_is_dropped() -> None:
    schedule = node(rules=Rules(stale=3))
    heard(schedule, "mate", has=ALL)
    schedule.want(range(COUNT), BACKGROUND)
    schedule.decide(1.0)
    schedule.missing("mate", 0b11, relayed=False)
    assert Drop("mate", Fault.STALE) not in schedule.decide(1.1)
    schedule.missing("mate", 0b100, relayed=False)
    assert Drop("mate", Fault.STALE) in schedule.decide(1.2)


def test_the_origin_is_asked_once_and_by_one_node_of_a_site() -> None:
    names = ["me", "you", "they"]
    deriving = []
    for name in names:
        schedule = node(name, origin=True)
        for mate in names:
            if mate != name:
                heard(schedule, mate)
        schedule.want(range(COUNT), BACKGROUND)
        orders = schedule.decide(1.0) + schedule.decide(1.2)
        deriving += [name for order in orders if isinstance(order, Derive)]
    assert len(deriving) == 1


def test_what_nobody_has_fails_after_the_patience() -> None:
    schedule = node(rules=Rules(patience=3.0))
    heard(schedule, "mate")
    schedule.want([1, 2], BACKGROUND)
    led = schedule.decide(0.0)
    for order in led:
        if isinstance(order, Ask):
            schedule.missing(order.peer, bits.of(order.numbers), relayed=True)
    assert not any(isinstance(order, Fail) for order in passing(schedule, 0.2, 2.9))
    (failed,) = [order for order in schedule.decide(3.4) if isinstance(order, Fail)]
    assert failed == Fail((1, 2), absent=True)
    assert schedule.wanted == 0


def test_what_is_not_wanted_any_more_is_cancelled() -> None:
    schedule = node()
    heard(schedule, "mate", has=ALL)
    schedule.want([1, 2, 3], BACKGROUND)
    schedule.decide(1.0)
    schedule.unwant(0b110)
    assert schedule.decide(1.0) == [Cancel("mate", (1, 2))]
