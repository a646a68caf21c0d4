"""All of the scheduler's rules together, in sites whose messages arrive in any order."""

from collections import deque
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.agent.exchange.schedules import ALL, COUNT, DEMAND, heard, node

from naru.agent.exchange import bits
from naru.agent.exchange.orders import Announce, Ask, Cancel, Drop, Fail, Rules
from naru.agent.source import Priority


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
