"""One image's arrival on this node: runs the schedule, keeps what comes, and wakes those who wait."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from naru.agent.exchange import bits
from naru.agent.exchange.frames import Packing, Piece
from naru.agent.exchange.intake import Intake, Kept
from naru.agent.exchange.keep import Keep
from naru.agent.exchange.orders import Announce, Ask, Cancel, Derive, Drop, Fail, Fault, Order
from naru.agent.exchange.peer import Image, Peer
from naru.agent.exchange.schedule import Schedule
from naru.agent.source import Priority
from naru.domain.errors import Invalid, NaruError, NotFound, Unavailable

_LOG = logging.getLogger(__name__)

_GATHER_SECONDS: Final = 0.01
"""How long a decision waits for more to happen, where nobody is kept waiting by it."""
_NEAR: Final = (5e6, 40e6)
_FAR: Final = (100e6, 150e6)
"""Bytes a second, before compression, below which a link is slow, and below which it is not quick: of a mate, whose
processor serves the whole site, and of others, whose link does. Level 6 makes 86 MB/s of a core, level 1 380."""


class Hub(Protocol):
    """What an image needs of the exchange."""

    @property
    def peers(self) -> Mapping[str, Peer]:
        """The agents that are connected, by node."""

    def drop(self, node: str, fault: Fault) -> None:
        """End the connection with a peer, and report why."""

    def derive(self, image: str) -> None:
        """Begin to have the origin bring the image; the swarm is told at the end."""

    def count(self, peer: Peer, size: int) -> None:
        """Bytes of pieces came from a peer."""


class Audience(Protocol):
    """Who hears of what happens: those who ask this node for the image."""

    def arrived(self, numbers: Collection[int]) -> None:
        """Pieces are here, and some may be committed."""

    def failed(self, numbers: Collection[int]) -> None:
        """Pieces cannot be had."""

    def announce(self, numbers: tuple[int, ...]) -> None:
        """Pieces are coming from outside."""


@dataclass(slots=True, eq=False)
class _Waiter:
    pieces: int
    priority: Priority
    done: "asyncio.Future[None]"
    error: NaruError | None = None


class Fetch:
    """The arrival of one image. `committed` are the pieces that may be advertised."""

    def __init__(
        self,
        image: Image,
        keep: Keep,
        schedule: Schedule,
        hub: Hub,
        audience: Audience,
        clock: Callable[[], float],
        *,
        committed: int,
    ) -> None:
        self.keep = keep
        self.schedule = schedule
        self.committed = committed
        self._image = image
        self._hub = hub
        self._audience = audience
        self._clock = clock
        self._intake = Intake(keep, self._kept)
        self._waiters: list[_Waiter] = []
        self._deciding: asyncio.Handle | None = None
        self._fault: NaruError | None = None

    async def bring(self, numbers: Iterable[int], priority: Priority) -> None:
        """Return when pieces are here; raise NotFound or Unavailable when one of them cannot be had."""
        listed = [number for number in numbers if not self.schedule.here >> number & 1]
        if not listed:
            return
        waiter = _Waiter(bits.of(listed), priority, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._fault = None
        self.schedule.want(listed, priority)
        self.kick(soon=True)
        try:
            await waiter.done
        finally:
            self._waiters.remove(waiter)
            left = waiter.pieces
            for other in self._waiters:
                left &= ~other.pieces
            if left:
                self.schedule.unwant(left)
                self.kick()
        if waiter.error:
            raise waiter.error

    def kick(self, *, soon: bool = False) -> None:
        """Decide again, once for all that happens in a moment; `soon` when somebody waits for it."""
        loop = asyncio.get_running_loop()
        if soon and isinstance(self._deciding, asyncio.TimerHandle):
            self._deciding.cancel()
            self._deciding = None
        if self._deciding is None:
            self._deciding = loop.call_soon(self._decide) if soon else loop.call_later(_GATHER_SECONDS, self._decide)

    def close(self) -> None:
        """Decide nothing more, and keep nothing."""
        if self._deciding:
            self._deciding.cancel()
        self._intake.close()
        self.keep.abandon()

    async def take(self, peer: Peer, pieces: Sequence[Piece], extra: Counter[int]) -> None:
        """Keep what a peer sent; raise Invalid when it was not asked for."""
        node = peer.member.node
        self._act(self.schedule.told())  # what was cancelled may still come
        if not self.schedule.knows(node):
            return  # it was dropped, and this was on its way
        chosen: list[Piece] = []
        for piece in pieces:
            if piece.number >= self.keep.pieces.count:
                raise self._lie(node, f"{node} sent a piece that the image does not have")
            if self.schedule.awaits(node, piece.number):
                if not self._intake.holds(node, piece.number):  # it came before the connection broke, too
                    chosen.append(piece)
            elif extra[piece.number] > 0:
                extra[piece.number] -= 1
            else:
                raise self._lie(node, f"{node} sent pieces that nobody asked it for")
        await self._intake.put(node, chosen)

    def _kept(self, kept: Sequence[Kept]) -> None:
        good: list[int] = []
        fresh: set[int] = set()
        for one in kept:
            match one.result:
                case range():
                    self.schedule.came(one.node, one.number, self._clock())
                    good.append(one.number)
                    fresh.update(one.result)
                case Invalid() as error:
                    _LOG.warning("%s lies: %s", one.node, self._lie(one.node, str(error)))
                case error:
                    self._full(error)
        self.arrived(good, fresh)

    def arrived(self, numbers: Collection[int], committed: Collection[int]) -> None:
        """Pieces are here, from a peer or by other ways."""
        came = bits.of(numbers)
        self.committed |= bits.of(committed)
        for waiter in self._waiters:
            waiter.pieces &= ~came
            if not waiter.pieces and not waiter.done.done():
                waiter.done.set_result(None)
        self._audience.arrived(numbers)
        self.kick()

    async def recall(self, numbers: Iterable[int]) -> None:
        """Look which of these pieces are not here any more, although they came once."""
        believed = [number for number in numbers if self.schedule.here >> number & 1]
        gone = bits.of(await asyncio.to_thread(self.keep.gone, believed)) if believed else 0
        self.schedule.lost(gone)
        self.committed &= ~gone

    def found(self, committed: Collection[int]) -> bool:
        """Compare with what the store holds now; say whether something is gone."""
        there = bits.of(committed)
        gone, new = self.committed & ~there, there & ~self.committed
        self.schedule.lost(gone)
        self.committed &= there
        for number in bits.numbers(new):
            self.schedule.arrived(number)
        self.arrived(tuple(bits.numbers(new)), tuple(bits.numbers(new)))
        return bool(gone)

    def packing(self, node: str) -> Packing:
        """Return how a peer is to send: on slow links the smallest, on quick ones what costs no time."""
        slow, quick = _NEAR if self.schedule.near(node) else _FAR
        rate = self.schedule.rate(node)
        return Packing.SMALL if rate < slow else Packing.FAST if rate < quick else Packing.PLAIN

    def _lie(self, node: str, cause: str) -> Invalid:
        self.schedule.dropped(node, Fault.LYING)
        self.kick()
        return Invalid(cause, "look at that node's disk and memory, and at who runs it")

    def _full(self, error: NaruError) -> None:
        """This node cannot keep what comes: nobody is to blame, and nothing more is worth asking."""
        self._fault = error
        self.schedule.give_up(self.schedule.wanted)

    def _decide(self) -> None:
        self._deciding = None
        self._act(self.schedule.decide(self._clock()))

    def _act(self, orders: Iterable[Order]) -> None:
        for order in orders:
            self._carry_out(order)

    def _carry_out(self, order: Order) -> None:
        match order:
            case Ask(node, numbers, priority, relay, again):
                if peer := self._hub.peers.get(node):
                    peer.want(self._image, numbers, priority, relay=relay, packing=self.packing(node), again=again)
            case Cancel(node, numbers):
                if peer := self._hub.peers.get(node):
                    peer.cancel(self._image, numbers)
            case Announce(numbers):
                self._audience.announce(numbers)
            case Derive():
                self._hub.derive(f"sha256:{self._image.name.hex()}")
            case Fail(numbers, absent):
                self._fail(numbers, absent)
            case Drop(node, fault):
                self._hub.drop(node, fault)
            case _:
                assert_never(order)

    def _fail(self, numbers: tuple[int, ...], absent: bool) -> None:
        failed = bits.of(numbers)
        what = f"{len(numbers)} pieces of sha256:{self._image.name.hex()[:12]}"
        error = self._fault or (
            NotFound(f"nobody who answers has {what}", "is the registry reachable from a node of this site?")
            if absent
            else Unavailable(f"nobody answers who could send {what}", "look at the network of this site")
        )
        for waiter in self._waiters:
            if waiter.pieces & failed:
                waiter.error = waiter.error or error
                waiter.pieces &= ~failed
                if not waiter.pieces and not waiter.done.done():
                    waiter.done.set_result(None)
        self._audience.failed(numbers)
