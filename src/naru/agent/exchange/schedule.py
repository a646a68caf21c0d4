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

from collections.abc import Iterable, Sequence
from typing import Final

from naru.agent.exchange import bits
from naru.agent.exchange.leads import Leads
from naru.agent.exchange.links import Link
from naru.agent.exchange.orders import RULES, Cancel, Drop, Fail, Fault, Order, Rules
from naru.agent.exchange.picture import Picture
from naru.agent.exchange.requests import Requests
from naru.agent.exchange.wants import Wants
from naru.agent.source import Priority

_PAUSE: Final = 0.1
"""Seconds after which decisions that depend on time alone are due again."""


_LAG: Final = 1.0
"""Seconds between two decisions after which this node was too busy to judge others by time."""


class Schedule:
    """One image on one node. `sizes` are bytes by piece number; `here` is what is here already."""

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
        self._picture = Picture(node, sizes, leads, here, origin)
        self._opened = now
        self._rules = rules
        self._expected: set[str] = set()
        self._changed = True
        self._decided = now
        self._unasked = 0
        self._urgent = -self._rules.quiet + now
        self._stuck: list[tuple[float, int]] = []
        self._orders: list[Order] = []

    @property
    def here(self) -> int:
        """What is on this node."""
        return self._picture.here

    @property
    def wanted(self) -> int:
        """What this node or a mate waits for."""
        return self._picture.wanted

    @property
    def coming(self) -> int:
        """What is on its way from outside."""
        return self._picture.coming

    def knows(self, peer: str) -> bool:
        """Whether a peer is there and was not dropped."""
        return peer in self._picture.links

    def awaits(self, peer: str, number: int) -> bool:
        """Whether a peer was asked for a piece that did not come yet."""
        link = self._picture.links.get(peer)
        return link is not None and bool(link.flying >> number & 1)

    def near(self, peer: str) -> bool:
        """Whether a peer is of the same site."""
        link = self._picture.links.get(peer)
        return link is not None and link.mate

    def rate(self, peer: str) -> float:
        """How many bytes a second the peer was seen, or is assumed, to send."""
        link = self._picture.links.get(peer)
        return link.rate if link else 0.0

    # Events: peers

    def expect(self, peer: str) -> None:
        """A peer is known of, and is being connected to."""
        self._changed = True
        self._expected.add(peer)

    def joined(self, peer: str, *, mate: bool, member: bool, heard: bool = True) -> None:
        """A peer answered for the image, or asked for it (then nothing is `heard` of what it has)."""
        self._changed = True
        link = self._picture.links.setdefault(peer, Link(peer, mate))
        link.member = member
        if heard:
            link.heard = True
            self._expected.discard(peer)

    def left(self, peer: str) -> None:
        """A peer is gone, with all that it was asked for."""
        self._changed = True
        self._expected.discard(peer)
        self._picture.links.pop(peer, None)
        self._picture.asked_of_us.pop(peer, None)

    def has(self, peer: str, pieces: int, *, all_of_it: bool = False) -> None:
        """A peer advertised pieces; `all_of_it`: it has no others."""
        if link := self._picture.links.get(peer):
            link.has = pieces if all_of_it else link.has | pieces
            link.coming &= ~pieces
            link.refused &= ~pieces
            self._changed = self._changed or bool(pieces & self._unasked)

    def announced(self, peer: str, pieces: int) -> None:
        """A mate fetches pieces from outside."""
        self._changed = True
        if link := self._picture.links.get(peer):
            link.coming |= pieces & ~link.has

    def measured(self, peer: str, rtt: float) -> None:
        """A round trip takes so many seconds."""
        if rtt > 0 and (link := self._picture.links.get(peer)):
            link.rtt = rtt

    # Events: wants

    def want(self, numbers: Iterable[int], priority: Priority) -> None:
        """This node wants pieces, profiles in the order given; those that are here cost nothing."""
        self._changed = True
        listed = list(numbers)
        new = bits.of(listed) & ~self._picture.here
        if priority is Priority.PROFILE:
            self._picture.profile = [*self._picture.profile, *(n for n in listed if new >> n & 1)]
        self._picture.own.add(new, priority)

    def unwant(self, pieces: int) -> None:
        """This node does not want pieces any more."""
        self._changed = True
        self._picture.own.remove(pieces)
        self._cancel_unwanted()

    def relay(self, peer: str, pieces: int, priority: Priority) -> None:
        """A mate wants pieces of this node, fetched where they are lacking."""
        self._changed = True
        self._picture.asked_of_us.setdefault(peer, Wants()).add(pieces & ~self._picture.here, priority)

    def unrelay(self, peer: str, pieces: int) -> None:
        """A mate cancelled."""
        self._changed = True
        if wants := self._picture.asked_of_us.get(peer):
            wants.remove(pieces)
            self._cancel_unwanted()

    # Events: what comes of it

    def received(self, peer: str, now: float) -> None:
        """Bytes came from a peer."""
        if link := self._picture.links.get(peer):
            link.received(now)

    def arrived(self, number: int) -> None:
        """A piece is here, verified, by other ways."""
        for link in self._picture.links.values():
            link.settle(number, self._picture.sizes[number])
        self._picture.settle(1 << number)

    def came(self, peer: str, number: int, now: float) -> bool:
        """A peer sent a piece, whose bytes are right; others asked for it are told. False: it was not asked."""
        link = self._picture.links.get(peer)
        room = link.backlog if link else 0
        if link:
            link.delivered(self._picture.sizes[number], now)
        awaited = link is not None and link.settle(number, self._picture.sizes[number])
        self._changed = self._changed or (link is not None and link.backlog < room)
        bit = 1 << number
        for other in self._picture.links.values():
            demand, profile, background = other.asked
            if (demand | profile | background) & bit:
                other.settle(number, self._picture.sizes[number])
                self._orders.append(Cancel(other.name, (number,)))
        self._picture.settle(bit)
        return awaited

    def lost(self, pieces: int) -> None:
        """Pieces are not here any more."""
        self._changed = True
        self._picture.here &= ~pieces

    def missing(self, peer: str, pieces: int, *, relayed: bool) -> None:
        """A peer will not send pieces: it does not have them, or could not get what it was to relay."""
        self._changed = True
        link = self._picture.links.get(peer)
        if link is None:
            return
        for number in bits.numbers(pieces):
            link.settle(number, self._picture.sizes[number])
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
        if peer in self._picture.links:
            self.left(peer)
            self._orders.append(Drop(peer, fault))

    def derived(self) -> None:
        """The origin is done or gave up: what it brought was told by `arrived`; the rest it cannot bring, for now."""
        self._changed = True
        self._picture.deriving = self._picture.origin = False

    def origin(self) -> None:
        """The origin may be asked again."""
        self._changed = True
        self._picture.origin = True

    def give_up(self, pieces: int, *, absent: bool = False) -> None:
        """Pieces cannot be had or kept: nobody waits for them any more."""
        self._changed = True
        self._picture.forgo(pieces)
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
        wanted = self._picture.wanted_by
        if any(wanted):
            flying = self._picture.flying
            settled = not self._expected or now >= self._opened + self._rules.grace
            requests = Requests(self._picture, now, settled=settled)
            for priority in Priority:
                if priority is not Priority.BACKGROUND:
                    requests.raise_to(wanted[priority] & flying, priority)
                    stuck = requests.assign(wanted[priority] & ~flying, priority)
                    unserved |= stuck
                    if wanted[priority] & ~stuck:
                        self._urgent = now
                elif now - self._urgent >= self._rules.quiet:
                    unserved |= requests.assign(wanted[priority] & ~flying, priority)
            requests.duplicate(self._rules.last)
            self._unasked = requests.unasked
            self._orders += requests.orders
        self._fail_stuck(unserved, now)
        return self.told()

    def told(self) -> list[Order]:
        """Return what events alone made necessary, without a decision."""
        orders, self._orders = self._orders, []
        return orders

    def _drop_slow(self, now: float) -> None:
        paused = now - self._decided
        for link in list(self._picture.links.values()):
            if paused > _LAG:
                link.progress += paused  # this node did not look, so nobody can be blamed
            # One that only relays may itself be waiting; that it lives is known by its pings.
            if not link.backlog or now - link.progress <= self._rules.stall + 8 * link.rtt:
                continue
            others = any(other.has & link.flying for other in self._picture.links.values() if other is not link)
            if others or now - link.progress > 4 * self._rules.stall:
                self.dropped(link.name, Fault.SLOW)

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
            self.give_up(late, absent=any(link.heard for link in self._picture.links.values()))

    def _cancel_unwanted(self) -> None:
        wanted = self.wanted
        for link in self._picture.links.values():
            if gone := link.flying & ~wanted:
                numbers = tuple(bits.numbers(gone))
                for number in numbers:
                    link.settle(number, self._picture.sizes[number])
                self._orders.append(Cancel(link.name, numbers))
