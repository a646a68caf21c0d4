"""One image among the agents: who has it, who seeks it, and, once its index is known, its arrival."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from naru.agent.exchange import bits
from naru.agent.exchange.fetch import Fetch
from naru.agent.exchange.fetch import Hub as FetchHub
from naru.agent.exchange.frames import Coming, Have, Missing, More, Piece, Reason, Unknown
from naru.agent.exchange.identity import Member
from naru.agent.exchange.keep import Keep
from naru.agent.exchange.leads import Leads
from naru.agent.exchange.orders import Rules
from naru.agent.exchange.pack import Packer
from naru.agent.exchange.peer import Peer, Told
from naru.agent.exchange.pieces import Pieces
from naru.agent.exchange.schedule import Schedule
from naru.agent.exchange.serve import Answerer
from naru.agent.index.index import Index
from naru.agent.objects import ObjectStore
from naru.agent.source import Priority


class Hub(FetchHub, Protocol):
    """What an image needs of the exchange."""

    @property
    def packer(self) -> Packer:
        """What compresses pieces, and keeps them as they are sent."""

    def seek(self, swarm: "Swarm") -> None:
        """Ask all peers for the image, if that was not done."""


@dataclass(slots=True)
class Answer:
    """What a peer says of the image. `has` is None as long as it has no index of it."""

    mate: bool
    member: bool = False
    has: int | None = None
    coming: int = 0
    refused: bool = False


class Swarm:
    """One image. `seeking`: this node wants it; `fetch` is None until the index is known."""

    def __init__(
        self, image: str, own: Member, hub: Hub, clock: Callable[[], float], rules: Rules, *, origin: bool
    ) -> None:
        self.image = image
        self.name = bytes.fromhex(image.removeprefix("sha256:"))
        self.seeking = False
        self.fetch: Fetch | None = None
        self.answers: dict[str, Answer] = {}
        self.asked_by: set[str] = set()
        self.loaded = asyncio.Event()
        self.changed = asyncio.Event()
        self._own = own
        self._hub = hub
        self._clock = clock
        self._rules = rules
        self._origin = origin
        self._expected: set[str] = set()
        self._listeners: set[Answerer] = set()
        self._encoded: bytes | None = None

    @property
    def index(self) -> Index | None:
        """The image's index, when it is here."""
        return self.fetch.keep.pieces.index if self.fetch else None

    @property
    def idle(self) -> bool:
        """Whether nobody waits for the image or asks for it."""
        return not (self._listeners or self.wanted)

    @property
    def wanted(self) -> bool:
        """Whether this node wants pieces of it now."""
        return self.fetch is not None and bool(self.fetch.schedule.wanted)

    @property
    def settled(self) -> bool:
        """Whether all peers that are connected have answered."""
        return not self._expected

    async def indexed(self, index: Index, store: ObjectStore) -> Fetch:
        """The index is here: what peers said of pieces counts from now on."""
        pieces = Pieces(index)
        keep = Keep(store, pieces, self._hub.packer)
        resumed = await asyncio.to_thread(keep.resumed)
        committed = await asyncio.to_thread(keep.committed)
        if self.fetch:  # somebody was quicker
            return self.fetch
        schedule = Schedule(
            self._own.node,
            pieces.sizes,
            Leads(pieces.keys, self.image),
            self._clock(),
            here=bits.of(committed | resumed),
            origin=self._origin,
            rules=self._rules,
        )
        for node in self._expected:
            schedule.expect(node)
        for node, answer in self.answers.items():
            schedule.joined(node, mate=answer.mate, member=answer.member)
            schedule.has(node, answer.has or 0)
            schedule.announced(node, answer.coming)
        self.fetch = Fetch(self, keep, schedule, self._hub, self, self._clock, committed=bits.of(committed))
        for listener in self._listeners:
            listener.indexed(self)
        self._change()
        return self.fetch

    def unknown(self) -> None:
        """The index cannot be had now; the image is sought again when somebody asks."""
        self.asked_by.clear()
        self.seeking = False
        for listener in self._listeners:
            listener.unknown(self)

    def interested(self, member: Member) -> None:
        """A peer asked for the image, so it seeks or has it."""
        if answer := self.answers.get(member.node):
            answer.member = True
            if self.fetch:
                self.fetch.schedule.joined(member.node, mate=answer.mate, member=True, heard=False)

    async def encoded(self) -> bytes | None:
        """Return the encoded index, None while it is not here."""
        if self._encoded is None and self.index:
            self._encoded = await asyncio.to_thread(self.index.encode)
        return self._encoded

    # What peers say

    def expect(self, node: str) -> None:
        """A peer was asked, or is being connected to."""
        self._expected.add(node)
        if self.fetch:
            self.fetch.schedule.expect(node)

    def left(self, node: str) -> None:
        """A peer is gone, or cannot be reached."""
        self._expected.discard(node)
        self.answers.pop(node, None)
        if self.fetch:
            self.fetch.schedule.left(node)
        self._change()

    def told(self, peer: Peer, frame: Told) -> None:
        """A peer says what it has, fetches, or cannot send."""
        node = peer.member.node
        answer = self.answers.setdefault(node, Answer(peer.member.site == self._own.site))
        match frame:
            case Have(_, _, has):
                answer.member, answer.has = True, has
                self._answered(node, answer)
                if self.fetch:
                    self.fetch.schedule.has(node, has, all_of_it=True)
                for listener in self._listeners:
                    listener.advertise()  # it may have lost what it had
            case More(_, numbers):
                answer.has = (answer.has or 0) | bits.of(numbers)
                if self.fetch:
                    self.fetch.schedule.has(node, bits.of(numbers))
            case Coming(_, numbers):
                answer.coming |= bits.of(numbers)
                if self.fetch:
                    self.fetch.schedule.joined(node, mate=answer.mate, member=True, heard=False)
                    self.fetch.schedule.announced(node, bits.of(numbers))
            case Missing(_, reason, numbers):
                if self.fetch:
                    self.fetch.schedule.missing(node, bits.of(numbers), relayed=reason is not Reason.ABSENT)
            case Unknown(_, reason, _, interested):
                answer.member, answer.has = interested, None
                answer.refused = reason is Reason.REFUSED
                self._answered(node, answer)
        self._change()

    def received(self, peer: Peer, size: int) -> None:
        """Bytes of pieces came."""
        self._hub.count(peer, size)
        if self.fetch:
            self.fetch.schedule.received(peer.member.node, self._clock())
            self.fetch.schedule.measured(peer.member.node, peer.rtt)

    async def take(self, peer: Peer, pieces: Sequence[Piece], extra: Counter[int]) -> None:
        """Keep pieces that came."""
        if self.fetch:
            await self.fetch.take(peer, pieces, extra)

    # What those who ask this node want (serve.Served)

    @property
    def keep(self) -> Keep | None:
        """The pieces, once the index is here."""
        return self.fetch.keep if self.fetch else None

    @property
    def here(self) -> int:
        """Pieces that can be sent."""
        return self.fetch.schedule.here if self.fetch else 0

    @property
    def committed(self) -> int:
        """Pieces that may be advertised."""
        return self.fetch.committed if self.fetch else 0

    @property
    def coming(self) -> int:
        """Pieces on their way from outside."""
        return self.fetch.schedule.coming if self.fetch else 0

    def complete(self, member: Member) -> bool:
        """Whether a peer has everything."""
        answer = self.answers.get(member.node)
        return bool(answer and answer.has and self.keep and answer.has.bit_count() == self.keep.pieces.count)

    def listen(self, listener: Answerer) -> None:
        """Tell the listener of what happens from now on."""
        self._listeners.add(listener)

    def deafen(self, listener: Answerer) -> None:
        """Stop telling, and fetch nothing more for it."""
        self._listeners.discard(listener)
        if self.fetch:
            self.fetch.schedule.unrelay(listener.member.node, -1)
            self.fetch.kick()

    def relay(self, member: Member, numbers: Iterable[int], priority: Priority) -> None:
        """Fetch pieces for a mate."""
        self._hub.seek(self)
        if self.fetch:
            self.fetch.schedule.relay(member.node, bits.of(numbers), priority)
            self.fetch.kick(soon=priority is Priority.DEMAND)

    def unrelay(self, member: Member, numbers: Iterable[int]) -> None:
        """Stop fetching pieces for a mate."""
        if self.fetch:
            self.fetch.schedule.unrelay(member.node, bits.of(numbers))
            self.fetch.kick()

    # What happens here (fetch.Audience)

    def arrived(self, numbers: Collection[int]) -> None:
        """Pieces are here."""
        for listener in self._listeners:
            listener.arrived(self, numbers)

    def failed(self, numbers: Collection[int]) -> None:
        """Pieces cannot be had."""
        for listener in self._listeners:
            listener.failed(self, numbers)

    def announce(self, numbers: tuple[int, ...]) -> None:
        """Pieces are coming from outside, which concerns mates."""
        for listener in self._listeners:
            if listener.member.site == self._own.site:
                listener.announce(self, numbers)

    async def refresh(self) -> None:
        """Look at the store again."""
        if self.fetch:
            committed = await asyncio.to_thread(self.fetch.keep.committed)
            if self.fetch.found(committed):
                for listener in self._listeners:
                    listener.renew(self)

    def _answered(self, node: str, answer: Answer) -> None:
        self._expected.discard(node)
        if self.fetch:
            self.fetch.schedule.joined(node, mate=answer.mate, member=answer.member)

    def _change(self) -> None:
        self.changed.set()
        if self.fetch:
            self.fetch.kick()
