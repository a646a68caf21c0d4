"""Who is asked for what: one image's fetching on one node, as a state machine without I/O.

Events are methods; `decide` then returns orders. The rules, in this order:

1. What is demanded is asked at once, whatever else is under way; profiles go before the background, which rests
   meanwhile.
2. What a mate (an agent of the same site) has is fetched from it: the one that would be soonest; in the background the
   rarest first.
3. What no mate has is fetched from outside by exactly one member of the site, its lead; the others ask the lead to
   relay it. A mate that announced a piece as coming is its lead, whoever else would be.
4. Outside is other sites' agents, and when none has a piece, the origin: once for a whole image, so by one lead.
5. Before a node asks outside it hears all mates it knows of, for at most `grace` seconds.
6. What is left at the end is asked of a second mate, when that one would be sooner.
7. What nobody could send for `patience` seconds fails.

Each number is in flight at one peer (two at the end); peers that are too slow, lie, or advertise what they lack are
dropped.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Final

from naru.agent.exchange import bits
from naru.agent.exchange.leads import Leads
from naru.agent.exchange.links import Link
from naru.agent.exchange.orders import RULES, Announce, Ask, Cancel, Derive, Drop, Fail, Fault, Order, Rules
from naru.agent.exchange.wants import Wants
from naru.agent.source import Priority

_PAUSE: Final = 0.1
"""Seconds after which decisions that depend on time alone are due again."""


_LAG: Final = 1.0
"""Seconds between two decisions after which this node was too busy to judge others by time."""


class Schedule:
    """One image on one node. `sizes` are bytes by piece number; `here` is what is committed already."""

    def __init__(
        self,
        node: str,
        sizes: Sequence[int],
        leads: Leads,
        now: float,
        *,
        here: int = 0,
        origin: bool = False,
        rules: Rules = RULES,
    ) -> None:
        self._node = node
        self._sizes = sizes
        self._leads = leads
        self._opened = now
        self._here = here
        self._origin = origin
        self._rules = rules
        self._links: dict[str, Link] = {}
        self._expected: set[str] = set()
        self._own = Wants()
        self._asked_of_us: dict[str, Wants] = {}
        self._profile: list[int] = []
        self._deriving = False
        self._changed = True
        self._decided = now
        self._unasked = 0
        self._urgent = -self._rules.quiet + now
        self._stuck: list[tuple[float, int]] = []
        self._orders: list[Order] = []
        self._asks: dict[tuple[str, Priority, bool, bool], list[int]] = {}
        # Neighbours that start together should not ask everybody for the same piece first.
        self._offset = int.from_bytes(node.encode()[-2:], "big") * 40503 % max(1, len(sizes))

    @property
    def here(self) -> int:
        """What is on this node."""
        return self._here

    @property
    def wanted(self) -> int:
        """What this node or a mate waits for."""
        return reduce(or_, (wants.all for wants in self._asked_of_us.values()), self._own.all)

    @property
    def coming(self) -> int:
        """What is on its way from outside."""
        coming = reduce(or_, (one.flying for one in self._links.values() if not one.mate), 0)
        return coming | self.wanted if self._deriving else coming

    def knows(self, peer: str) -> bool:
        """Whether a peer is there and was not dropped."""
        return peer in self._links

    def awaits(self, peer: str, number: int) -> bool:
        """Whether a peer was asked for a piece that did not come yet."""
        link = self._links.get(peer)
        return link is not None and bool(link.flying >> number & 1)

    def near(self, peer: str) -> bool:
        """Whether a peer is of the same site."""
        link = self._links.get(peer)
        return link is not None and link.mate

    def rate(self, peer: str) -> float:
        """How many bytes a second the peer was seen, or is assumed, to send."""
        link = self._links.get(peer)
        return link.rate if link else 0.0

    # Events: peers

    def expect(self, peer: str) -> None:
        """A peer is known of, and is being connected to."""
        self._changed = True
        self._expected.add(peer)

    def joined(self, peer: str, *, mate: bool, member: bool, heard: bool = True) -> None:
        """A peer answered for the image, or asked for it (then nothing is `heard` of what it has)."""
        self._changed = True
        link = self._links.setdefault(peer, Link(peer, mate))
        link.member = member
        if heard:
            link.heard = True
            self._expected.discard(peer)

    def left(self, peer: str) -> None:
        """A peer is gone, with all that it was asked for."""
        self._changed = True
        self._expected.discard(peer)
        self._links.pop(peer, None)
        self._asked_of_us.pop(peer, None)

    def has(self, peer: str, pieces: int, *, all_of_it: bool = False) -> None:
        """A peer advertised pieces; `all_of_it`: it has no others."""
        if link := self._links.get(peer):
            link.has = pieces if all_of_it else link.has | pieces
            link.coming &= ~pieces
            link.refused &= ~pieces
            self._changed = self._changed or bool(pieces & self._unasked)

    def announced(self, peer: str, pieces: int) -> None:
        """A mate fetches pieces from outside."""
        self._changed = True
        if link := self._links.get(peer):
            link.coming |= pieces & ~link.has

    def measured(self, peer: str, rtt: float) -> None:
        """A round trip takes so many seconds."""
        if rtt > 0 and (link := self._links.get(peer)):
            link.rtt = rtt

    # Events: wants

    def want(self, numbers: Iterable[int], priority: Priority) -> None:
        """This node wants pieces, profiles in the order given; those that are here cost nothing."""
        self._changed = True
        listed = list(numbers)
        new = bits.of(listed) & ~self._here
        if priority is Priority.PROFILE:
            self._profile = [*self._profile, *(n for n in listed if new >> n & 1)]
        self._own.add(new, priority)

    def unwant(self, pieces: int) -> None:
        """This node does not want pieces any more."""
        self._changed = True
        self._own.remove(pieces)
        self._cancel_unwanted()

    def relay(self, peer: str, pieces: int, priority: Priority) -> None:
        """A mate wants pieces of this node, fetched where they are lacking."""
        self._changed = True
        self._asked_of_us.setdefault(peer, Wants()).add(pieces & ~self._here, priority)

    def unrelay(self, peer: str, pieces: int) -> None:
        """A mate cancelled."""
        self._changed = True
        if wants := self._asked_of_us.get(peer):
            wants.remove(pieces)
            self._cancel_unwanted()

    # Events: what comes of it

    def received(self, peer: str, now: float) -> None:
        """Bytes came from a peer."""
        if link := self._links.get(peer):
            link.received(now)

    def arrived(self, number: int) -> None:
        """A piece is here, verified, by other ways."""
        for link in self._links.values():
            link.settle(number, self._sizes[number])
        self._arrived(1 << number)

    def came(self, peer: str, number: int, now: float) -> bool:
        """A peer sent a piece, whose bytes are right; others asked for it are told. False: it was not asked."""
        link = self._links.get(peer)
        room = link.backlog if link else 0
        if link:
            link.delivered(self._sizes[number], now)
        awaited = link is not None and link.settle(number, self._sizes[number])
        self._changed = self._changed or (link is not None and link.backlog < room)
        bit = 1 << number
        for other in self._links.values():
            demand, profile, background = other.asked
            if (demand | profile | background) & bit:
                other.settle(number, self._sizes[number])
                self._orders.append(Cancel(other.name, (number,)))
        self._arrived(bit)
        return awaited

    def _arrived(self, bit: int) -> None:
        self._here |= bit
        self._own.remove(bit)
        for wants in self._asked_of_us.values():
            wants.remove(bit)

    def lost(self, pieces: int) -> None:
        """Pieces are not here any more."""
        self._changed = True
        self._here &= ~pieces

    def missing(self, peer: str, pieces: int, *, relayed: bool) -> None:
        """A peer will not send pieces: it does not have them, or could not get what it was to relay."""
        self._changed = True
        link = self._links.get(peer)
        if link is None:
            return
        for number in bits.numbers(pieces):
            link.settle(number, self._sizes[number])
        if relayed:
            link.refused |= pieces
        elif pieces & link.has:
            link.stale += (pieces & link.has).bit_count()
        link.has &= ~pieces
        link.coming &= ~pieces
        if link.stale >= self._rules.stale:
            self.dropped(peer, Fault.STALE)

    def dropped(self, peer: str, fault: Fault) -> None:
        """A peer does not deserve to be asked."""
        self._changed = True
        if peer in self._links:
            self.left(peer)
            self._orders.append(Drop(peer, fault))

    def derived(self) -> None:
        """The origin is done or gave up: what it brought was told by `arrived`; the rest it cannot bring, for now."""
        self._changed = True
        self._deriving = self._origin = False

    def origin(self) -> None:
        """The origin may be asked again."""
        self._changed = True
        self._origin = True

    def give_up(self, pieces: int, *, absent: bool = False) -> None:
        """Pieces cannot be had or kept: nobody waits for them any more."""
        self._changed = True
        self._own.remove(pieces)
        for wants in self._asked_of_us.values():
            wants.remove(pieces)
        if failed := tuple(bits.numbers(pieces)):
            self._orders.append(Fail(failed, absent))
        self._cancel_unwanted()

    # Decisions

    def decide(self, now: float) -> list[Order]:
        """Return what is to be done now, and assume that it is. Call it after events, and as time passes."""
        if not self._changed and now - self._decided < _PAUSE:
            return self.told()
        self._changed = False
        self._drop_slow(now)
        self._decided = now
        unserved = self._unasked = 0
        wanted = self._wanted_by()
        if any(wanted):
            flying = 0
            for link in self._links.values():
                flying |= link.asked[0] | link.asked[1] | link.asked[2]
            settled = not self._expected or now >= self._opened + self._rules.grace
            for priority in Priority:
                self._raise(wanted[priority] & flying, priority)
                if priority is not Priority.BACKGROUND:
                    stuck = self._assign(wanted[priority] & ~flying, priority, settled, now)
                    unserved |= stuck
                    if wanted[priority] & ~stuck:
                        self._urgent = now
                elif now - self._urgent >= self._rules.quiet:
                    unserved |= self._assign(wanted[priority] & ~flying, priority, settled, now)
            self._duplicate(now)
        self._fail_stuck(unserved, now)
        for (peer, priority, relay, again), asked in self._asks.items():
            self._orders.append(Ask(peer, tuple(asked), priority, relay, again))
        self._asks = {}
        return self.told()

    def told(self) -> list[Order]:
        """Return what events alone made necessary, without a decision."""
        orders, self._orders = self._orders, []
        return orders

    def _wanted_by(self) -> list[int]:
        """Return what is wanted, by this node and for mates, each piece at its best priority."""
        by = list(self._own.by)
        for wants in self._asked_of_us.values():
            for priority, some in enumerate(wants.by):
                by[priority] |= some
        by[1] &= ~by[0]
        by[2] &= ~(by[0] | by[1])
        return by

    def _drop_slow(self, now: float) -> None:
        paused = now - self._decided
        for link in list(self._links.values()):
            if paused > _LAG:
                link.progress += paused  # this node did not look, so nobody can be blamed
            # One that only relays may itself be waiting; that it lives is known by its pings.
            if not link.backlog or now - link.progress <= self._rules.stall + 8 * link.rtt:
                continue
            others = any(other.has & link.flying for other in self._links.values() if other is not link)
            if others or now - link.progress > 4 * self._rules.stall:
                self.dropped(link.name, Fault.SLOW)

    def _raise(self, wanted: int, priority: Priority) -> None:
        """Ask again, with a better priority, for what was asked with a worse one."""
        if priority is Priority.BACKGROUND or not wanted:
            return
        for link in self._links.values():
            worse = reduce(or_, link.asked[priority + 1 :], 0) & wanted
            if worse:
                link.raise_to(priority, worse)
                for relay, some in ((True, worse & link.relays), (False, worse & ~link.relays)):
                    if some:
                        self._asks.setdefault((link.name, priority, relay, True), []).extend(
                            self._ordered(some, priority)
                        )

    def _assign(self, todo: int, priority: Priority, settled: bool, now: float) -> int:
        """Ask for pieces; return those that nobody can send."""
        if not todo:
            return 0
        unasked = todo
        stuck = self._assigned(todo, priority, settled, now)
        for link in self._links.values():
            unasked &= ~link.asked[priority]
        self._unasked |= unasked
        return stuck

    def _assigned(self, todo: int, priority: Priority, settled: bool, now: float) -> int:
        mates = [link for link in self._links.values() if link.mate]
        todo &= ~self._spread(todo, mates, priority, now)
        held = reduce(or_, (mate.has for mate in mates), 0)
        todo &= ~held  # a mate has it and has no room just now
        for mate in mates if todo else ():
            # Who asks us for a piece must not be asked for it: both would wait.
            asks_us = self._asked_of_us[mate.name].all if mate.name in self._asked_of_us else 0
            todo &= ~self._relay(todo & mate.coming & ~asks_us & ~mate.refused, mate, priority, now)
        if not (todo and settled):
            return 0
        outside = [link for link in self._links.values() if not link.mate]
        there = reduce(or_, (link.has for link in outside), 0)
        led, image_lead = self._leads.among(frozenset((self._node, *(m.name for m in mates if m.member))))
        for mate in mates:
            if mate.member:
                asks_us = self._asked_of_us[mate.name].all if mate.name in self._asked_of_us else 0
                leads = led[mate.name] & there | (~there if mate.name == image_lead else 0)
                todo &= ~self._relay(todo & leads & ~asks_us & ~mate.refused, mate, priority, now)
        asked = self._spread(todo & there, outside, priority, now)
        if asked:
            self._orders.append(Announce(tuple(bits.numbers(asked))))
        todo &= ~there
        if todo and self._origin:
            if not self._deriving:
                self._deriving = True
                self._orders += (Derive(), Announce(tuple(bits.numbers(todo))))
            return 0
        return 0 if self._deriving else todo

    def _spread(self, todo: int, links: Sequence[Link], priority: Priority, now: float) -> int:
        """Ask those that have pieces, each of whom would be soonest; return what was asked."""
        free = [link for link in links if link.has & todo and link.room(priority) > 0]
        todo &= reduce(or_, (link.has for link in free), 0)
        asked = 0
        for number in self._ordered(todo, priority, links):
            size, bit = self._sizes[number], 1 << number
            able = [link for link in free if link.has & bit]
            if not able:
                continue
            best = min(able, key=lambda link: link.eta(size, priority)) if len(able) > 1 else able[0]
            best.ask(number, size, priority, relay=False, now=now)
            self._asks.setdefault((best.name, priority, False, False), []).append(number)
            asked |= bit
            if best.room(priority) <= 0:
                free.remove(best)
                if not free:
                    break
        return asked

    def _relay(self, todo: int, mate: Link, priority: Priority, now: float) -> int:
        if todo:
            chosen = list(self._ordered(todo, priority))
            for number in chosen:
                mate.ask(number, self._sizes[number], priority, relay=True, now=now)
            self._asks.setdefault((mate.name, priority, True, False), []).extend(chosen)
        return todo

    def _ordered(self, chosen: int, priority: Priority, holders: Sequence[Link] = ()) -> Iterator[int]:
        """Yield pieces: those of a profile in its order, in the background those first which only one peer has."""
        if priority is Priority.PROFILE:
            self._profile = [n for n in self._profile if self._own.by[Priority.PROFILE] >> n & 1]
            for number in self._profile:
                if chosen >> number & 1:
                    yield number
                    chosen &= ~(1 << number)
        if priority is Priority.BACKGROUND and len(holders) > 1:
            once = several = 0
            for link in holders:
                several |= once & link.has
                once |= link.has
            yield from bits.numbers(chosen & ~several)
            chosen &= several
            yield from bits.numbers(chosen >> self._offset << self._offset)
            chosen &= bits.everything(self._offset)
        yield from bits.numbers(chosen)

    def _duplicate(self, now: float) -> None:
        """At the end, ask idle mates for what others are late with."""
        flying = reduce(or_, (one.flying for one in self._links.values()), 0)
        if not flying or self._own.all & ~flying:
            return
        idle = [link for link in self._links.values() if link.mate and not link.flying and link.has & flying]
        for slow in list(self._links.values()):
            for quick in idle:
                both = quick.has & slow.flying & self._own.all & ~quick.flying
                if not both or now - slow.progress < 2 * quick.eta(self._sizes[bits.lowest(both)], Priority.BACKGROUND):
                    continue
                for _, number in zip(range(self._rules.last), bits.numbers(both), strict=False):
                    if sum(one.flying >> number & 1 for one in self._links.values()) < 2:
                        quick.ask(number, self._sizes[number], Priority.BACKGROUND, relay=False, now=now)
                        self._asks.setdefault((quick.name, Priority.BACKGROUND, False, False), []).append(number)

    def _fail_stuck(self, unserved: int, now: float) -> None:
        seen = 0
        still: list[tuple[float, int]] = []
        late = 0
        for since, some in self._stuck:
            if some := some & unserved:
                seen |= some
                if now - since >= self._rules.patience:
                    late |= some
                else:
                    still.append((since, some))
        if new := unserved & ~seen:
            still.append((now, new))
        self._stuck = still
        if late:
            self.give_up(late, absent=any(link.heard for link in self._links.values()))

    def _cancel_unwanted(self) -> None:
        wanted = self.wanted
        for link in self._links.values():
            if gone := link.flying & ~wanted:
                numbers = tuple(bits.numbers(gone))
                for number in numbers:
                    link.settle(number, self._sizes[number])
                self._orders.append(Cancel(link.name, numbers))
