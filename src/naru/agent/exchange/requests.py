"""One decision about one image: which pieces are asked of whom. Pure; schedule.py has the rules in words."""

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Final

from naru.agent.exchange import bits
from naru.agent.exchange.links import Link
from naru.agent.exchange.orders import Announce, Ask, Derive, Order
from naru.agent.exchange.picture import Picture
from naru.agent.source import Priority

_MOST_HOLDERS: Final = 2
"""Peers that are asked for the same piece at the end."""


class Requests:
    """What is asked now. `settled`: all mates that are known of were heard, or had their time."""

    def __init__(self, picture: Picture, now: float, *, settled: bool) -> None:
        self.unasked = 0
        self._picture = picture
        self._now = now
        self._settled = settled
        self._orders: list[Order] = []
        self._asks: dict[tuple[str, Priority, bool, bool], list[int]] = {}
        # Neighbours that start together should not ask everybody for the same piece first.
        self._offset = int.from_bytes(picture.node.encode()[-2:], "big") * 40503 % max(1, len(picture.sizes))

    @property
    def orders(self) -> list[Order]:
        """What this decision comes to."""
        asks = (Ask(to, tuple(some), priority, *how) for (to, priority, *how), some in self._asks.items())
        return [*self._orders, *asks]

    def raise_to(self, wanted: int, priority: Priority) -> None:
        """Ask again, with a better priority, for what was asked with a worse one."""
        if not wanted:
            return
        for link in self._picture.links.values():
            worse = reduce(or_, link.asked[priority + 1 :], 0) & wanted
            if worse:
                link.raise_to(priority, worse)
                for relay, some in ((True, worse & link.relays), (False, worse & ~link.relays)):
                    if some:
                        self._asks.setdefault((link.name, priority, relay, True), []).extend(
                            self._ordered(some, priority)
                        )

    def assign(self, todo: int, priority: Priority) -> int:
        """Ask for pieces; return those that nobody can send."""
        if not todo:
            return 0
        unasked = todo
        stuck = self._assigned(todo, priority)
        for link in self._picture.links.values():
            unasked &= ~link.asked[priority]
        self.unasked |= unasked
        return stuck

    def _assigned(self, todo: int, priority: Priority) -> int:
        mates = self._picture.mates
        todo &= ~self._spread(todo, mates, priority)
        held = reduce(or_, (mate.has for mate in mates), 0)
        todo &= ~held  # a mate has it and has no room just now
        for mate in mates if todo else ():
            todo &= ~self._relay(todo & mate.coming & ~self._picture.asked_by(mate) & ~mate.refused, mate, priority)
        if not (todo and self._settled):
            return 0
        outside = self._picture.outside
        there = reduce(or_, (link.has for link in outside), 0)
        led, image_lead = self._picture.leads.among(
            frozenset((self._picture.node, *(m.name for m in mates if m.member)))
        )
        for mate in mates:
            if mate.member:
                leads = led[mate.name] & there | (~there if mate.name == image_lead else 0)
                todo &= ~self._relay(todo & leads & ~self._picture.asked_by(mate) & ~mate.refused, mate, priority)
        asked = self._spread(todo & there, outside, priority)
        if asked:
            self._orders.append(Announce(tuple(bits.numbers(asked))))
        todo &= ~there
        if todo and self._picture.origin:
            if not self._picture.deriving:
                self._picture.deriving = True
                self._orders += (Derive(), Announce(tuple(bits.numbers(todo))))
            return 0
        return 0 if self._picture.deriving else todo

    def _spread(self, todo: int, links: Sequence[Link], priority: Priority) -> int:
        """Ask those that have pieces, each of whom would be soonest; return what was asked."""
        free = [link for link in links if link.has & todo and link.room(priority) > 0]
        todo &= reduce(or_, (link.has for link in free), 0)
        asked = 0
        for number in self._ordered(todo, priority, links):
            size, bit = self._picture.sizes[number], 1 << number
            able = [link for link in free if link.has & bit]
            if not able:
                continue
            best = min(able, key=lambda link: link.eta(size, priority)) if len(able) > 1 else able[0]
            best.ask(number, size, priority, relay=False, now=self._now)
            self._asks.setdefault((best.name, priority, False, False), []).append(number)
            asked |= bit
            if best.room(priority) <= 0:
                free.remove(best)
                if not free:
                    break
        return asked

    def _relay(self, todo: int, mate: Link, priority: Priority) -> int:
        if todo:
            chosen = list(self._ordered(todo, priority))
            for number in chosen:
                mate.ask(number, self._picture.sizes[number], priority, relay=True, now=self._now)
            self._asks.setdefault((mate.name, priority, True, False), []).extend(chosen)
        return todo

    def _ordered(self, chosen: int, priority: Priority, holders: Sequence[Link] = ()) -> Iterator[int]:
        """Yield pieces: those of a profile in its order, in the background those first which only one peer has."""
        if priority is Priority.PROFILE and chosen:
            for number in self._picture.order():
                if chosen >> number & 1:
                    yield number
                    chosen ^= 1 << number
                    if not chosen:
                        return
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

    def duplicate(self, most: int) -> None:
        """At the end, ask idle mates for what others are late with, at most so many pieces of each."""
        own, flying = self._picture.own.all, self._picture.flying
        if not flying or own & ~flying:
            return
        idle = [link for link in self._picture.mates if not link.flying and link.has & flying]
        for slow in list(self._picture.links.values()):
            for quick in idle:
                both = quick.has & slow.flying & own & ~quick.flying
                if not both or self._now - slow.progress < 2 * quick.eta(
                    self._picture.sizes[bits.lowest(both)], Priority.BACKGROUND
                ):
                    continue
                for _, number in zip(range(most), bits.numbers(both), strict=False):
                    asked = sum(one.flying >> number & 1 for one in self._picture.links.values())
                    if asked < _MOST_HOLDERS:
                        quick.ask(number, self._picture.sizes[number], Priority.BACKGROUND, relay=False, now=self._now)
                        self._asks.setdefault((quick.name, Priority.BACKGROUND, False, False), []).append(number)
