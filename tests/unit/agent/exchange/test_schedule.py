"""The scheduler's rules one by one, and then all of them in sites whose messages arrive in any order."""

from collections import deque
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naru.agent.exchange import bits
from naru.agent.exchange.leads import Leads
from naru.agent.exchange.orders import Announce, Ask, Cancel, Derive, Drop, Fail, Fault, Rules
from naru.agent.exchange.schedule import Schedule
from naru.agent.source import Priority

KB = 1024
COUNT = 24
ALL = bits.everything(COUNT)
KEYS = tuple(bytes([n]) for n in range(COUNT))
LEADS = Leads(KEYS, "image")
DEMAND, PROFILE, BACKGROUND = Priority


def node(name: str = "me", *, size: int = 8 * KB, rules: Rules | None = None, **options: object) -> Schedule:
    return Schedule(name, (size,) * COUNT, LEADS, 0.0, rules=rules or Rules(), **options)  # type: ignore[arg-type]


def heard(schedule: Schedule, peer: str, *, mate: bool = True, has: int = 0) -> None:
    schedule.joined(peer, mate=mate, member=True)
    schedule.has(peer, has, all_of_it=True)


def asked(orders: list, peer: str) -> list[int]:
    return [number for order in orders if isinstance(order, Ask) and order.peer == peer for number in order.numbers]


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


class Site:
    """Nodes and one seed outside; messages between two of them keep their order, and nothing else does."""

    def __init__(self, rng: Random, nodes: int, *, seeded: int = ALL) -> None:
        self.rng = rng
        self.now = 0.0
        self.names = [f"n{n}" for n in range(nodes)]
        self.alive = set(self.names)
        self.nodes = {name: node(name, rules=Rules(patience=2.0)) for name in self.names}
        self.messages: dict[tuple[str, str], deque] = {}
        self.waiting: dict[str, dict[int, set[str]]] = {name: {} for name in self.names}
        self.wanted = dict.fromkeys(self.names, 0)
        self.demanded = dict.fromkeys(self.names, 0)
        self.failed = dict.fromkeys(self.names, 0)
        self.outside: dict[int, str] = {}
        self.twice: list[int] = []
        self.seeded = seeded
        for name, schedule in self.nodes.items():
            for mate in self.names:
                if mate != name:
                    heard(schedule, mate)
            heard(schedule, "seed", mate=False, has=seeded)

    def want(self, name: str, numbers: list[int], priority: Priority) -> None:
        self.wanted[name] |= bits.of(numbers)
        self.nodes[name].want(numbers, priority)
        if priority is DEMAND:
            self.demanded[name] |= bits.of(numbers)

    def decide(self, name: str) -> None:
        schedule = self.nodes[name]
        for order in schedule.decide(self.now):
            match order:
                case Ask(peer, numbers, priority, relay):
                    if peer == "seed" and not order.again:
                        self.twice += [n for n in numbers if self.outside.get(n, name) in self.alive - {name}]
                        self.outside |= dict.fromkeys(numbers, name)
                    self.send(name, peer, ("want", numbers, relay, priority))
                case Cancel(peer, numbers):
                    self.send(name, peer, ("cancel", numbers))
                case Announce(numbers):
                    for mate in self.names:
                        if mate != name:
                            self.send(name, mate, ("coming", numbers))
                case Fail(numbers):
                    self.failed[name] |= bits.of(numbers)
                    for number in numbers:
                        for asker in self.waiting[name].pop(number, set()):
                            self.send(name, asker, ("missing", (number,)))
                case Drop(peer):
                    raise AssertionError(f"{name} dropped {peer}")
        # What is demanded never waits where somebody can be asked for it.
        flying = 0
        for link in schedule._picture.links.values():
            flying |= link.asked[DEMAND]
        assert not schedule._picture.own.by[DEMAND] & self.seeded & ~flying

    def send(self, sender: str, to: str, message: tuple) -> None:
        self.messages.setdefault((sender, to), deque()).append(message)

    def deliver(self) -> bool:
        pairs = [pair for pair, queue in self.messages.items() if queue]
        if not pairs:
            return False
        sender, to = self.rng.choice(pairs)
        message = self.messages[sender, to].popleft()
        if to == "seed":
            if message[0] == "want" and sender in self.alive:
                for number in message[1]:
                    self.send("seed", sender, ("piece", number))
        elif to in self.alive:
            self.take(sender, to, message)
            self.decide(to)
        return True

    def take(self, sender: str, to: str, message: tuple) -> None:
        schedule = self.nodes[to]
        match message:
            case ("want", numbers, relay, priority):
                for number in numbers:
                    if schedule.here >> number & 1:
                        self.send(to, sender, ("piece", number))
                    elif relay:
                        self.waiting[to].setdefault(number, set()).add(sender)
                        schedule.relay(sender, 1 << number, priority)
                    else:
                        self.send(to, sender, ("missing", (number,)))
            case ("cancel", numbers):
                for number in numbers:
                    self.waiting[to].get(number, set()).discard(sender)
                schedule.unrelay(sender, bits.of(numbers))
            case ("coming", numbers):
                schedule.announced(sender, bits.of(numbers))
            case ("missing", numbers):
                schedule.missing(sender, bits.of(numbers), relayed=True)
            case ("has", numbers):
                schedule.has(sender, bits.of(numbers))
            case ("left", who):
                schedule.left(who)
                for waiting in self.waiting[to].values():
                    waiting.discard(who)
            case ("piece", number):
                schedule.came(sender, number, self.now)
                for asker in self.waiting[to].pop(number, set()):
                    self.send(to, asker, ("piece", number))
                for mate in self.names:
                    if mate != to:
                        self.send(to, mate, ("has", (number,)))

    def kill(self, name: str) -> None:
        self.alive.discard(name)
        for mate in self.names:
            self.messages.pop((name, mate), None)
            self.messages.pop((mate, name), None)
            self.send(name, mate, ("left", name))
        self.messages.pop(("seed", name), None)

    def finish(self) -> None:
        """Deliver everything; let time pass when there is nothing to deliver."""
        for _ in range(60):
            while self.deliver():
                pass
            self.now += 0.2
            for name in sorted(self.alive):
                self.decide(name)

    def check(self) -> None:
        for name in self.alive:
            schedule = self.nodes[name]
            assert schedule.wanted == 0
            assert self.wanted[name] & ~schedule.here & ~self.failed[name] == 0


@settings(max_examples=60)
@given(st.randoms(use_true_random=False), st.integers(1, 5), st.booleans())
def test_in_any_order_of_events_a_site_asks_outside_once_and_everything_ends(
    rng: Random, nodes: int, complete: bool
) -> None:
    site = Site(rng, nodes, seeded=ALL if complete else ALL & ~0b1011)
    for _ in range(rng.randrange(1, 40)):
        name = rng.choice(site.names)
        match rng.randrange(4):
            case 0:
                numbers = rng.sample(range(COUNT), rng.randrange(1, COUNT))
                site.want(name, numbers, rng.choice(list(Priority)))
                site.decide(name)
            case 1:
                site.now += rng.random() / 10
                site.decide(name)
            case _:
                site.deliver()
    site.finish()
    site.check()
    assert site.twice == []
    if complete:
        assert not any(site.failed.values())


@settings(max_examples=40)
@given(st.randoms(use_true_random=False), st.integers(2, 5))
def test_a_site_finishes_although_nodes_die(rng: Random, nodes: int) -> None:
    site = Site(rng, nodes)
    for name in site.names:
        site.want(name, list(range(COUNT)), rng.choice(list(Priority)))
        site.decide(name)
    for _ in range(rng.randrange(60)):
        site.deliver()
        if rng.random() < 0.05 and len(site.alive) > 1:
            site.kill(rng.choice(sorted(site.alive)))
    site.finish()
    site.check()
    assert site.twice == []
    assert not any(site.failed[name] for name in site.alive)


@pytest.mark.parametrize("members", [1, 2, 7, 40])
def test_leads_are_shared_fairly_and_change_little(members: int) -> None:
    keys = tuple(n.to_bytes(4, "big") for n in range(4000))
    leads = Leads(keys, "image")
    names = frozenset(f"n{n}" for n in range(members))
    led, _ = leads.among(names)
    assert sum(one.bit_count() for one in led.values()) == 4000
    assert max(one.bit_count() for one in led.values()) < 1.6 * 4000 / members + 1
    fewer, _ = leads.among(names - {"n0"}) if members > 1 else ({}, "")
    for name, pieces in fewer.items():
        assert led[name] & ~pieces == 0
