"""The side of a connection that answers: for each piece that is wanted it sends the content or Missing.

What is to be relayed waits until it has arrived here and goes out then. What is committed here is advertised, in
batches: a message for every piece to every mate would cost a large site more than the pieces.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from naru.agent.exchange import bits
from naru.agent.exchange.channel import NEAR_BUFFER, Channel
from naru.agent.exchange.frames import (
    Cancel,
    Close,
    Coming,
    Document,
    Get,
    Have,
    Missing,
    More,
    Open,
    Ping,
    Pong,
    Reason,
    Unknown,
    Want,
)
from naru.agent.exchange.identity import Member
from naru.agent.exchange.keep import Keep
from naru.agent.exchange.outbox import Outbox, Stream
from naru.agent.exchange.pace import Pace
from naru.agent.exchange.wire import SLICE
from naru.agent.source import Priority
from naru.domain.errors import Invalid, NaruError, NotFound

_LOG = logging.getLogger(__name__)

ADVERTISE_SECONDS: Final = 0.2
"""How long what is new here may wait to be advertised with more. Who waits for a piece gets it, advertised or not."""
_MOST_IMAGES: Final = 256
_MOST_DOCUMENTS: Final = 8
_MOST_EARLY: Final = 64


class Served(Protocol):
    """One image, as far as those who ask for it need to know."""

    @property
    def keep(self) -> Keep | None:
        """The pieces; None until the index is here."""

    @property
    def seeking(self) -> bool:
        """Whether this node wants anything of the image."""

    @property
    def here(self) -> int:
        """Pieces that can be sent."""

    @property
    def committed(self) -> int:
        """Pieces that may be advertised."""

    @property
    def coming(self) -> int:
        """Pieces on their way from outside."""

    def complete(self, member: Member) -> bool:
        """Whether a peer has everything, and so need not hear what is here."""

    def listen(self, listener: "Answerer") -> None:
        """Tell the listener of what arrives, fails, and is announced, from now on."""

    def deafen(self, listener: "Answerer") -> None:
        """Stop telling."""

    def relay(self, member: Member, numbers: Iterable[int], priority: Priority) -> None:
        """Fetch pieces for a peer."""

    def unrelay(self, member: Member, numbers: Iterable[int]) -> None:
        """Stop fetching pieces for a peer."""


class Shelf(Protocol):
    """What an answerer needs of the exchange."""

    async def opened(self, member: Member, asked: Open) -> Served | None:
        """Return the image that a peer asks for, None when it may not have it."""

    async def document(self, served: Served, document: Document, *, relay: bool, member: Member) -> bytes:
        """Return an encoded index or a profile; raise NotFound, Unavailable."""

    def sent(self, size: int) -> None:
        """Count bytes that went out."""


@dataclass(slots=True, eq=False)
class _Handle:
    served: Served
    stream: Stream
    waiting: dict[int, Priority] = field(default_factory=dict)
    told: int = 0
    early: list[Want] = field(default_factory=list)
    """What was wanted before the index was here."""

    def owes(self, piece: int) -> bool:
        """Whether a piece was wanted and has not gone out."""
        return piece in self.waiting or self.stream.holds(piece)


class Answerer:
    """One connection that was accepted, after both sides said Hello."""

    def __init__(self, channel: Channel, member: Member, shelf: Shelf, pace: Pace, site: str) -> None:
        self.member = member
        self._channel = channel
        self._shelf = shelf
        self._near = member.site == site
        if self._near:
            channel.buffer(NEAR_BUFFER)
        self._out = Outbox(channel, pace, shelf.sent, NEAR_BUFFER if self._near else SLICE)
        self._handles: dict[int, _Handle] = {}
        self._refused: set[int] = set()
        self._documents: dict[tuple[int, Document], asyncio.Task[None]] = {}
        self._advertising: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Answer until the connection ends; raise Invalid when the other side breaks the rules."""
        sending = asyncio.create_task(self._out.run())
        reading = asyncio.create_task(self._read())
        try:
            done, _ = await asyncio.wait((sending, reading), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            if self._advertising:
                self._advertising.cancel()
            tasks = [sending, reading, *self._documents.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for handle in self._handles.values():
                handle.served.deafen(self)

    # What the image's fetching tells

    def indexed(self, served: Served) -> None:
        """The image's index is here."""
        for handle in self._of(served):
            self._tell_all(handle)
            early, handle.early = handle.early, []
            for asked in early:
                self._want(asked)

    def unknown(self, served: Served) -> None:
        """The image's index cannot be had."""
        for handle in self._of(served):
            early, handle.early = handle.early, []
            for asked in early:
                self._out.say(Missing(asked.handle, Reason.FAILED, asked.numbers))
            self._tell_all(handle)

    def arrived(self, served: Served, numbers: Iterable[int]) -> None:
        """Pieces are here; others may be committed."""
        for handle in self._of(served):
            if handle.waiting:
                for piece in numbers:
                    if (priority := handle.waiting.pop(piece, None)) is not None:
                        self._out.send(handle.stream, (piece,), priority)
        self.advertise()

    def failed(self, served: Served, numbers: Iterable[int]) -> None:
        """Pieces cannot be had."""
        for handle in self._of(served):
            gone = tuple(piece for piece in numbers if handle.waiting.pop(piece, None) is not None)
            if gone:
                self._out.say(Missing(handle.stream.handle, Reason.FAILED, gone))

    def announce(self, served: Served, numbers: tuple[int, ...]) -> None:
        """Pieces are coming from outside."""
        for handle in self._of(served):
            self._out.say(Coming(handle.stream.handle, numbers))

    def renew(self, served: Served) -> None:
        """What may be advertised has become less."""
        for handle in self._of(served):
            self._tell_all(handle)

    def advertise(self) -> None:
        """Tell soon what is committed and was not told."""
        if self._advertising is None:
            self._advertising = asyncio.get_running_loop().call_later(ADVERTISE_SECONDS, self._tell_fresh)

    def _tell_fresh(self) -> None:
        self._advertising = None
        for number, handle in self._handles.items():
            fresh = handle.served.committed & ~handle.told
            if fresh and not handle.served.complete(self.member):
                handle.told |= fresh
                self._out.say(More(number, tuple(bits.numbers(fresh))))

    # What the other side asks

    async def _read(self) -> None:
        while True:
            match await self._channel.read():
                case Ping(token):
                    self._out.say(Pong(token))
                case Open() as asked:
                    await self._open(asked)
                case Want(number, _, _, _, pieces) if number in self._refused:
                    self._out.say(Missing(number, Reason.REFUSED, pieces))
                case Get(number, document) if number in self._refused:
                    self._out.say(Unknown(number, Reason.REFUSED, document))
                case Close(number):
                    self._close(number)
                case Want() as asked:
                    self._want(asked)
                case Cancel(number, pieces):
                    self._cancel(self._handle(number), pieces)
                case Get() as asked:
                    self._get(asked)
                case frame:
                    raise Invalid(f"{self.member.node} sent a {type(frame).__name__} to one that answers")
            await self._out.uncrowded()

    async def _open(self, asked: Open) -> None:
        known = len(self._handles) + len(self._refused)
        if asked.handle in self._handles or asked.handle in self._refused or known >= _MOST_IMAGES:
            raise Invalid(f"{self.member.node} opens too many images, or one twice")
        served = await self._shelf.opened(self.member, asked)
        if served is None:
            self._refused.add(asked.handle)
            self._out.say(Unknown(asked.handle, Reason.REFUSED))
            return
        handle = self._handles[asked.handle] = _Handle(served, self._out.open(asked.handle))
        served.listen(self)
        self._tell_all(handle)

    def _close(self, number: int) -> None:
        self._refused.discard(number)
        if handle := self._handles.pop(number, None):
            self._out.close(handle.stream)
            handle.served.deafen(self)
            handle.served.unrelay(self.member, list(handle.waiting))

    def _tell_all(self, handle: _Handle) -> None:
        served, number = handle.served, handle.stream.handle
        if served.keep is None:
            self._out.say(Unknown(number, Reason.UNKNOWN, interested=served.seeking))
            return
        if coming := tuple(bits.numbers(served.coming)):
            self._out.say(Coming(number, coming))
        handle.told = served.committed
        self._out.say(Have(number, served.keep.pieces.count, handle.told))

    def _want(self, asked: Want) -> None:
        handle = self._handle(asked.handle)
        keep = handle.served.keep
        if keep is None and len(handle.early) < _MOST_EARLY:
            handle.early.append(asked)
            return
        if keep is None or (asked.numbers and max(asked.numbers) >= keep.pieces.count):
            self._out.say(Missing(asked.handle, Reason.FAILED, asked.numbers))
            return
        handle.stream.keep, handle.stream.packing = keep, asked.packing
        here = handle.served.here
        # What was wanted before and went out since is on its way.
        wanted = [piece for piece in asked.numbers if handle.owes(piece)] if asked.again else asked.numbers
        there = [piece for piece in wanted if here >> piece & 1]
        lacking = tuple(piece for piece in wanted if not here >> piece & 1)
        self._out.send(handle.stream, there, asked.priority)
        if not lacking:
            return
        if asked.relay and self._near:
            handle.waiting |= dict.fromkeys(lacking, asked.priority)
            handle.served.relay(self.member, lacking, asked.priority)
        else:
            self._out.say(Missing(asked.handle, Reason.ABSENT, lacking))

    def _cancel(self, handle: _Handle, pieces: tuple[int, ...]) -> None:
        if handle.early:
            gone = set(pieces)
            left = [replace(one, numbers=tuple(n for n in one.numbers if n not in gone)) for one in handle.early]
            handle.early = [one for one in left if one.numbers]
        for piece in pieces:
            handle.waiting.pop(piece, None)
        self._out.cancel(handle.stream, pieces)
        handle.served.unrelay(self.member, pieces)

    def _get(self, asked: Get) -> None:
        handle = self._handle(asked.handle)
        key = asked.handle, asked.document
        if key in self._documents or len(self._documents) >= _MOST_DOCUMENTS:
            raise Invalid(f"{self.member.node} asks for too many documents")
        task = asyncio.create_task(self._give(asked, handle))
        self._documents[key] = task
        task.add_done_callback(lambda _: self._documents.pop(key, None))

    async def _give(self, asked: Get, handle: _Handle) -> None:
        try:
            content = await self._shelf.document(handle.served, asked.document, relay=asked.relay, member=self.member)
        except NaruError as error:
            _LOG.info("%s does not get the %s: %s", self.member.node, asked.document.name.lower(), error)
            reason = Reason.ABSENT if isinstance(error, NotFound) else Reason.FAILED
            self._out.say(Unknown(asked.handle, reason, asked.document, interested=handle.served.seeking))
            return
        self._out.document(asked.handle, asked.document, content)

    def _handle(self, number: int) -> _Handle:
        try:
            return self._handles[number]
        except KeyError:
            raise Invalid(f"{self.member.node} asks for an image that it did not open") from None

    def _of(self, served: Served) -> list[_Handle]:
        return [handle for handle in self._handles.values() if handle.served is served]
