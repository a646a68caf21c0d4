"""Ten thousand nodes on one core: the same scheduler, on simulated links and clocks.

Links carry one piece at a time, in turn for all who are asked for some (processor sharing at the grain of a piece), so
what a link carries never exceeds its rate. A site has one link to the outside, a node one link each way. Outside is
one seed that has everything and whose own link is shared evenly by the sites. Connections stand, as agents keep them;
a message takes half a round trip. Everything random comes from one seed.
"""

import heapq
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from random import Random
from typing import Final, assert_never

from naru.agent.exchange import bits
from naru.agent.exchange.leads import Leads
from naru.agent.exchange.orders import RULES, Announce, Ask, Cancel, Derive, Drop, Fail, Rules
from naru.agent.exchange.plan import Outcome, Plan
from naru.agent.exchange.schedule import Schedule
from naru.agent.exchange.simulated import Node, Server
from naru.agent.source import Priority

SEED: Final = "outside"
_TICK: Final = 0.1
_THINK: Final = 0.002
_ADVERTISE: Final = 0.5


def simulate(plan: Plan, rules: Rules = RULES) -> Outcome:
    """Let all nodes fetch all pieces. Sites share nothing that changes, so they are simulated one after another."""
    leads = Leads([Random(plan.seed + n).randbytes(32) for n in range(len(plan.pieces))], "image")  # noqa: S311
    each = [_World(replace(plan, sites=1, seed=plan.seed + site), rules, leads).run() for site in range(plan.sites)]
    return Outcome(
        makespan=max(one.makespan for one in each),
        ready=tuple(sorted(seconds for one in each for seconds in one.ready)),
        complete=tuple(sorted(seconds for one in each for seconds in one.complete)),
        outside=tuple(size for one in each for size in one.outside),
        twice=sum(one.twice for one in each),
        failed=sum(one.failed for one in each),
        incomplete=sum(one.incomplete for one in each),
    )


class _World:
    def __init__(self, plan: Plan, rules: Rules, leads: Leads) -> None:
        self._plan = plan
        self._rules = rules
        self._random = Random(plan.seed)  # noqa: S311 - a simulation
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._all = bits.everything(len(plan.pieces))
        self._hot = bits.everything(plan.hot)
        self._sites: list[list[Node]] = []
        self._outside: list[Server] = [Server(plan.uplink) for _ in range(plan.sites)]
        self._bytes = [0] * plan.sites
        self._asked: list[dict[int, str]] = [{} for _ in range(plan.sites)]
        self._twice = self._failed = 0
        for site in range(plan.sites):
            self._sites.append([Node(f"n{n}", site, Server(plan.lan)) for n in range(plan.nodes)])
        self._leads = leads

    def run(self) -> Outcome:
        plan = self._plan
        nodes = [node for site in self._sites for node in site]
        for node in nodes:
            self._at(self._random.uniform(0, plan.spread), partial(self._start, node))
        for when, share in plan.deaths:
            self._at(when, partial(self._kill, share))
        self._at(_TICK, self._tick)
        while self._events and self._now < plan.limit:
            self._now, _, deed = heapq.heappop(self._events)
            deed()
        living = [node for node in nodes if node.alive]
        done = [node for node in living if node.complete >= 0]
        return Outcome(
            makespan=max((node.complete for node in done), default=plan.limit),
            ready=tuple(sorted(node.ready - node.started for node in living if node.ready >= 0)),
            complete=tuple(sorted(node.complete - node.started for node in done)),
            outside=tuple(self._bytes),
            twice=self._twice,
            failed=self._failed,
            incomplete=len(living) - len(done),
        )

    def _at(self, when: float, deed: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), deed))

    def _after(self, seconds: float, deed: Callable[[], None]) -> None:
        self._at(self._now + seconds, deed)

    def _tick(self) -> None:
        """Let time pass for those who wait for something."""
        pending = False
        for site in self._sites:
            for node in site:
                if node.alive and node.complete < 0:
                    pending = True
                    self._think(node)
        if pending:
            self._after(max(_TICK, self._rules.grace), self._tick)

    # A node

    def _start(self, node: Node) -> None:
        if not node.alive:
            return
        node.started = self._now
        schedule = Schedule(node.name, self._plan.pieces, self._leads, self._now, rules=self._rules)
        node.schedule = schedule
        mates = [mate for mate in self._sites[node.site] if mate is not node and mate.alive]
        for mate in mates:
            schedule.expect(mate.name)
            self._after(self._plan.lan_round_trip / 2, partial(self._opened, mate, node))
        schedule.expect(SEED)
        self._after(self._plan.round_trip, partial(self._answer, node, SEED, self._all, 0, True))
        self._after(self._plan.index, partial(self._want, node))

    def _want(self, node: Node) -> None:
        if node.schedule:
            node.schedule.want(range(self._plan.hot), Priority.PROFILE)
            node.schedule.want(range(self._plan.hot, len(self._plan.pieces)), Priority.BACKGROUND)
            self._think(node)

    def _opened(self, node: Node, asker: Node) -> None:
        """An agent is asked for the image."""
        if not node.alive:
            return
        node.listeners.append(asker)
        if node.schedule:
            node.schedule.joined(asker.name, mate=True, member=True, heard=False)
        has, coming = (node.schedule.here, node.schedule.coming) if node.schedule else (0, 0)
        answer = partial(self._answer, asker, node.name, has, coming, node.schedule is not None)
        self._after(self._plan.lan_round_trip / 2, answer)

    def _answer(self, node: Node, peer: str, has: int, coming: int, member: bool) -> None:
        if node.schedule and node.alive:
            node.schedule.joined(peer, mate=peer != SEED, member=member)
            node.schedule.measured(peer, self._plan.lan_round_trip if peer != SEED else self._plan.round_trip)
            node.schedule.announced(peer, coming)
            node.schedule.has(peer, has)
            self._think(node)

    def _think(self, node: Node) -> None:
        if not node.thinking:
            node.thinking = True
            self._after(_THINK, partial(self._decide, node))

    def _decide(self, node: Node) -> None:
        node.thinking = False
        if node.schedule is None or not node.alive:
            return
        for order in node.schedule.decide(self._now):
            match order:
                case Ask(peer, numbers, priority, relay, again):
                    self._ask(node, peer, numbers, priority, relay, again)
                case Cancel(peer, numbers):
                    self._cancel(node, peer, bits.of(numbers))
                case Announce(numbers):
                    coming = bits.of(numbers)
                    for mate in node.listeners:
                        self._after(self._plan.lan_round_trip / 2, partial(self._announced, mate, node.name, coming))
                case Fail(numbers):
                    self._failed += len(numbers)
                case Derive() | Drop():
                    pass
                case _:
                    assert_never(order)

    def _announced(self, node: Node, peer: str, coming: int) -> None:
        if node.schedule:
            node.schedule.announced(peer, coming)

    def _mate(self, node: Node, peer: str) -> Node:
        return self._sites[node.site][int(peer[1:])]

    def _ask(
        self, node: Node, peer: str, numbers: tuple[int, ...], priority: Priority, relay: bool, again: bool
    ) -> None:
        if peer != SEED:
            mate = self._mate(node, peer)
            wanted = partial(self._wanted, mate, node, numbers, priority, relay, again)
            self._after(self._plan.lan_round_trip / 2, wanted)
            return
        asked = self._asked[node.site]
        for number in numbers if not again else ():
            before = asked.get(number)
            if before is not None and self._mate(node, before).alive:
                self._twice += 1
            asked[number] = node.name
        server = self._outside[node.site]
        if again:
            numbers = server.raise_to(node.name, numbers, priority)
        server.put(node.name, numbers, priority)
        self._after(self._plan.round_trip / 2, partial(self._carry_in, node.site))

    def _wanted(
        self, node: Node, asker: Node, numbers: tuple[int, ...], priority: Priority, relay: bool, again: bool
    ) -> None:
        """A mate wants pieces."""
        if node.schedule is None or not node.alive:
            return
        if again:
            node.up.raise_to(asker.name, numbers, priority)
        here = node.schedule.here
        node.up.put(asker.name, [n for n in numbers if here >> n & 1], priority)
        lacking = [n for n in numbers if not here >> n & 1]
        if lacking and relay:
            for number in lacking:
                node.waiting.setdefault(number, {})[asker.name] = priority
            node.schedule.relay(asker.name, bits.of(lacking), priority)
            self._think(node)
        self._send(node)

    def _cancel(self, node: Node, peer: str, chosen: int) -> None:
        if peer == SEED:
            self._outside[node.site].cancel(node.name, chosen)
            return
        mate = self._mate(node, peer)
        mate.up.cancel(node.name, chosen)
        for number in bits.numbers(chosen):
            mate.waiting.get(number, {}).pop(node.name, None)
        if mate.schedule:
            mate.schedule.unrelay(node.name, chosen)

    # Links

    def _carry_in(self, site: int) -> None:
        """The site's link to the outside carries its next piece."""
        server = self._outside[site]
        if server.busy or (chosen := server.next()) is None:
            return
        name, number = chosen
        node = self._sites[site][int(name[1:])]
        size = self._plan.pieces[number]
        server.busy = True
        self._bytes[site] += size

        def carried() -> None:
            server.busy = False
            self._after(self._plan.round_trip / 2, partial(self._arrive, node, SEED, number))
            self._carry_in(site)

        self._after(size / server.rate, carried)

    def _send(self, node: Node) -> None:
        """A node's link carries its next piece."""
        server = node.up
        if server.busy or not node.alive or (chosen := server.next()) is None:
            return
        name, number = chosen
        mate = self._sites[node.site][int(name[1:])]
        size = self._plan.pieces[number]
        server.busy = True
        began = self._now

        def carried() -> None:
            server.busy = False
            mate.down_free = max(self._now, max(mate.down_free, began) + size / self._plan.lan)
            self._at(mate.down_free + self._plan.lan_round_trip / 2, partial(self._arrive, mate, node.name, number))
            self._send(node)

        self._after(size / server.rate, carried)

    def _arrive(self, node: Node, peer: str, number: int) -> None:
        schedule = node.schedule
        if schedule is None or not node.alive or not (peer == SEED or self._mate(node, peer).alive):
            return
        fresh = not schedule.here >> number & 1
        schedule.came(peer, number, self._now)
        self._think(node)
        if not fresh:
            return
        for name, priority in node.waiting.pop(number, {}).items():
            node.up.put(name, (number,), priority)
        self._send(node)
        if not node.fresh:
            self._after(_ADVERTISE, partial(self._advertise, node))
        node.fresh.append(number)
        here = schedule.here
        if node.ready < 0 and here & self._hot == self._hot:
            node.ready = self._now + self._plan.engine
        if here == self._all:
            node.complete = self._now

    def _advertise(self, node: Node) -> None:
        fresh, node.fresh = bits.of(node.fresh), []
        for mate in node.listeners:
            if node.alive and mate.alive and mate.schedule and mate.complete < 0:
                mate.schedule.has(node.name, fresh)
                self._think(mate)

    def _kill(self, share: float) -> None:
        """Let a share of the nodes of every site die, and the others notice."""
        for site in self._sites:
            for node in self._random.sample(site, int(share * len(site))):
                node.alive = False
                self._outside[node.site].cancel(node.name, self._all)
                for mate in site:
                    self._after(self._plan.lan_round_trip, partial(self._gone, mate, node))

    def _gone(self, node: Node, dead: Node) -> None:
        if node.schedule:
            node.schedule.left(dead.name)
        node.up.cancel(dead.name, self._all)
        if dead in node.listeners:
            node.listeners.remove(dead)
        for waiting in node.waiting.values():
            waiting.pop(dead.name, None)
        self._think(node)
