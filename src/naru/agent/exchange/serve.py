"""The side of a connection that answers: it sends what the other asked for, the most urgent first.

For each piece that is wanted it sends the content or Missing. What is to be relayed waits until it has arrived here
and goes out then. The connection holds at most one piece a priority in memory besides what the transport buffers.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from naru.agent.exchange import bits
from naru.agent.exchange.channel import Channel
from naru.agent.exchange.frames import (
    Blob,
    Bundle,
    Cancel,
    Close,
    Coming,
    Document,
    Frame,
    Get,
    Have,
    Missing,
    More,
    Open,
    Packing,
    Part,
    Piece,
    Ping,
    Pong,
    Reason,
    Unknown,
    Want,
)
from naru.agent.exchange.identity import Member
from naru.agent.exchange.keep import Keep
from naru.agent.exchange.pace import Pace
from naru.agent.exchange.pack import Packer
from naru.agent.exchange.wire import SLICE
from naru.agent.source import Priority
from naru.domain.errors import Invalid, NaruError, NotFound

_LOG = logging.getLogger(__name__)

_BUNDLE: Final = 256 << 10
"""Bytes of pieces, before compression, that are read and sent together."""
_SLICES_AHEAD: Final = 2
"""Packed slices below which more is packed while they are sent: a link must not wait for the processor."""
_MOST_IMAGES: Final = 256
_MOST_DOCUMENTS: Final = 8
_MOST_ANSWERS: Final = 256
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


@dataclass(slots=True)
class _Handle:
    served: Served
    packing: Packing = Packing.FAST
    ready: list["OrderedDict[int, None]"] = field(default_factory=lambda: [OrderedDict() for _ in Priority])
    waiting: dict[int, Priority] = field(default_factory=dict)
    told: int = 0
    loaded: dict[int, Priority] = field(default_factory=dict)
    """Pieces that were read, and are being sent with that priority."""
    early: list[Want] = field(default_factory=list)
    """What was wanted before the index was here."""


class Answerer:
    """One connection that was accepted, after both sides said Hello."""

    def __init__(self, channel: Channel, member: Member, shelf: Shelf, pace: Pace, packer: Packer, site: str) -> None:
        self.member = member
        self._channel = channel
        self._shelf = shelf
        self._pace = pace
        self._packer = packer
        self._site = site
        self._handles: dict[int, _Handle] = {}
        self._refused: set[int] = set()
        self._frames: deque[Frame] = deque()
        self._slices: list[deque[Frame]] = [deque() for _ in Priority]
        self._documents: dict[tuple[int, Document], asyncio.Task[None]] = {}
        self._ahead: tuple[Priority, asyncio.Task[None]] | None = None
        self._work = asyncio.Event()
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Answer until the connection ends; raise Invalid when the other side breaks the rules."""
        sending = asyncio.create_task(self._send())
        reading = asyncio.create_task(self._read())
        try:
            done, _ = await asyncio.wait((sending, reading), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            tasks = [sending, reading, *self._documents.values(), *(task for _, task in filter(None, [self._ahead]))]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for handle in self._handles.values():
                handle.served.deafen(self)

    # What the image's fetching tells

    def indexed(self, served: Served) -> None:
        """The image's index is here."""
        for number, handle in self._of(served):
            self._tell_all(number, handle)
            early, handle.early = handle.early, []
            for asked in early:
                self._want(asked)

    def unknown(self, served: Served) -> None:
        """The image's index cannot be had."""
        for number, handle in self._of(served):
            early, handle.early = handle.early, []
            for asked in early:
                self._put(Missing(number, Reason.FAILED, asked.numbers))
            self._tell_all(number, handle)

    def arrived(self, served: Served, numbers: Iterable[int], committed: Iterable[int]) -> None:
        """Pieces are here; others are committed and may be advertised."""
        for number, handle in self._of(served):
            for piece in numbers:
                priority = handle.waiting.pop(piece, None)
                if priority is not None:
                    handle.ready[priority][piece] = None
            fresh = [piece for piece in committed if not handle.told >> piece & 1]
            if fresh:
                handle.told |= bits.of(fresh)
                self._frames.append(More(number, tuple(fresh)))
            self._work.set()

    def failed(self, served: Served, numbers: Iterable[int]) -> None:
        """Pieces cannot be had."""
        for number, handle in self._of(served):
            gone = tuple(piece for piece in numbers if handle.waiting.pop(piece, None) is not None)
            if gone:
                self._put(Missing(number, Reason.FAILED, gone))

    def announce(self, served: Served, numbers: tuple[int, ...]) -> None:
        """Pieces are coming from outside."""
        for number, _ in self._of(served):
            self._put(Coming(number, numbers))

    def renew(self, served: Served) -> None:
        """What may be advertised has become less."""
        for number, handle in self._of(served):
            self._tell_all(number, handle)

    # What the other side asks

    async def _read(self) -> None:
        while True:
            match await self._channel.read():
                case Ping(token):
                    self._put(Pong(token))
                case Open() as asked:
                    await self._open(asked)
                case Want(number, _, _, _, pieces) if number in self._refused:
                    self._put(Missing(number, Reason.REFUSED, pieces))
                case Get(number, document) if number in self._refused:
                    self._put(Unknown(number, Reason.REFUSED, document))
                case Close(number):
                    self._refused.discard(number)
                    if handle := self._handles.pop(number, None):
                        handle.served.deafen(self)
                        handle.served.unrelay(self.member, list(handle.waiting))
                case Want() as asked:
                    self._want(asked)
                case Cancel(number, pieces):
                    self._cancel(self._handle(number), pieces)
                case Get() as asked:
                    self._get(asked)
                case frame:
                    raise Invalid(f"{self.member.node} sent a {type(frame).__name__} to one that answers")
            await self._flushed()

    async def _flushed(self) -> None:
        """Read no more questions while the other side takes no answers."""
        while len(self._frames) > _MOST_ANSWERS:
            self._room.clear()
            self._work.set()
            await self._room.wait()

    async def _open(self, asked: Open) -> None:
        known = len(self._handles) + len(self._refused)
        if asked.handle in self._handles or asked.handle in self._refused or known >= _MOST_IMAGES:
            raise Invalid(f"{self.member.node} opens too many images, or one twice")
        served = await self._shelf.opened(self.member, asked)
        if served is None:
            self._refused.add(asked.handle)
            self._put(Unknown(asked.handle, Reason.REFUSED))
            return
        handle = self._handles[asked.handle] = _Handle(served)
        served.listen(self)
        self._tell_all(asked.handle, handle)

    def _tell_all(self, number: int, handle: _Handle) -> None:
        served = handle.served
        if served.keep is None:
            self._put(Unknown(number, Reason.UNKNOWN, interested=served.seeking))
            return
        if coming := tuple(bits.numbers(served.coming)):
            self._put(Coming(number, coming))
        handle.told = served.committed
        self._put(Have(number, served.keep.pieces.count, handle.told))

    def _want(self, asked: Want) -> None:
        handle = self._handle(asked.handle)
        keep = handle.served.keep
        if keep is None and len(handle.early) < _MOST_EARLY:
            handle.early.append(asked)
            return
        if keep is None or (asked.numbers and max(asked.numbers) >= keep.pieces.count):
            self._put(Missing(asked.handle, Reason.FAILED, asked.numbers))
            return
        handle.packing = asked.packing
        here = handle.served.here
        absent, relayed = [], []
        raised: set[int] = set()
        for piece in asked.numbers:
            if here >> piece & 1:
                for other in Priority:
                    if other is not asked.priority:
                        handle.ready[other].pop(piece, None)
                if piece in handle.loaded:
                    raised.add(piece)
                else:
                    handle.ready[asked.priority][piece] = None
            elif asked.relay and self.member.site == self._site:
                handle.waiting[piece] = asked.priority
                relayed.append(piece)
            else:
                absent.append(piece)
        if absent:
            self._put(Missing(asked.handle, Reason.ABSENT, tuple(absent)))
        if raised:
            self._raise(asked.handle, handle, raised, asked.priority)
        if relayed:
            handle.served.relay(self.member, relayed, asked.priority)
        self._work.set()

    def _raise(self, number: int, handle: _Handle, raised: set[int], priority: Priority) -> None:
        """Send what is read already with another priority, rather than a second time."""
        for piece in raised:
            handle.loaded[piece] = priority
        for other in Priority:
            stay: deque[Frame] = deque()
            for frame in self._slices[other] if other is not priority else ():
                moves = isinstance(frame, Part) and frame.handle == number and frame.number in raised
                (self._slices[priority] if moves else stay).append(frame)
            if other is not priority:
                self._slices[other] = stay

    def _cancel(self, handle: _Handle, pieces: tuple[int, ...]) -> None:
        if handle.early:
            gone = set(pieces)
            left = [replace(one, numbers=tuple(n for n in one.numbers if n not in gone)) for one in handle.early]
            handle.early = [one for one in left if one.numbers]
        for piece in pieces:
            handle.waiting.pop(piece, None)
            for ready in handle.ready:
                ready.pop(piece, None)
        number = next(number for number, one in self._handles.items() if one is handle)
        packed = self._packed(number)
        self._slices = [deque(_without(slices, number, set(pieces))) for slices in self._slices]
        for piece in packed - self._packed(number):
            del handle.loaded[piece]
        handle.served.unrelay(self.member, pieces)

    def _packed(self, handle: int) -> set[int]:
        """Return the pieces of which parts wait to be sent."""
        waiting = (frame for slices in self._slices for frame in slices)
        return {frame.number for frame in waiting if isinstance(frame, Part) and frame.handle == handle}

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
            self._put(Unknown(asked.handle, reason, asked.document, interested=handle.served.seeking))
            return
        view = memoryview(content)
        queue = self._slices[Priority.PROFILE]
        for at in range(0, max(1, len(content)), SLICE):
            queue.append(Blob(asked.handle, asked.document, at, len(content), view[at : at + SLICE]))
        self._work.set()

    def _handle(self, number: int) -> _Handle:
        try:
            return self._handles[number]
        except KeyError:
            raise Invalid(f"{self.member.node} asks for an image that it did not open") from None

    def _of(self, served: Served) -> list[tuple[int, _Handle]]:
        return [(number, handle) for number, handle in self._handles.items() if handle.served is served]

    def _put(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._work.set()

    # Sending

    async def _send(self) -> None:
        while True:
            self._work.clear()
            while self._frames:
                self._channel.write(self._frames.popleft())
                await self._channel.drained()
            self._room.set()
            if (frame := await self._next()) is not None:
                await self._write(frame)
                continue
            await self._channel.drained()
            if not self._frames:
                await self._work.wait()

    async def _write(self, frame: Frame) -> None:
        size = 0
        match frame:
            case Part(number, piece, _, offset, total, body) if offset + len(body) == total:
                size = len(body)
                if handle := self._handles.get(number):
                    handle.loaded.pop(piece, None)
            case Bundle(_, pieces):
                size = sum(len(piece.body) for piece in pieces)
            case Part() | Blob():
                size = len(frame.body)
        await self._pace.take(size)
        self._channel.write(frame)
        self._shelf.sent(size)
        await self._channel.drained()

    async def _next(self) -> Frame | None:
        """Return the next frame of content, of the best priority that has any, and pack on while it is sent."""
        for priority in Priority:
            if not self._slices[priority]:
                if self._ahead and self._ahead[0] <= priority:
                    await self._loaded()
                if not self._slices[priority] and (found := self._asked(priority)):
                    await self._loaded()
                    await self._load(*found, priority)
            # While that was read, something more urgent may have come.
            if chosen := next(filter(None, self._slices), None):
                frame = chosen.popleft()
                self._load_ahead()
                return frame
        return None

    def _asked(self, priority: Priority) -> tuple[int, _Handle] | None:
        return next(((number, handle) for number, handle in self._handles.items() if handle.ready[priority]), None)

    def _load_ahead(self) -> None:
        if self._ahead is None and sum(map(len, self._slices)) < _SLICES_AHEAD:
            for priority in Priority:
                if found := self._asked(priority):
                    self._ahead = priority, asyncio.create_task(self._load(*found, priority))
                    return

    async def _loaded(self) -> None:
        """Wait for what is being packed ahead."""
        if self._ahead:
            await self._ahead[1]
            self._ahead = None

    async def _load(self, number: int, handle: _Handle, priority: Priority) -> None:
        """Read the next pieces of a handle into slices."""
        keep, ready = handle.served.keep, handle.ready[priority]
        if keep is None:
            return
        chosen: list[int] = []
        size = 0
        while ready and size < _BUNDLE:
            piece, _ = ready.popitem(last=False)
            size += keep.pieces.sizes[piece]
            if chosen and size > 2 * _BUNDLE:
                ready[piece] = None
                ready.move_to_end(piece, last=False)
                break
            chosen.append(piece)
        handle.loaded |= dict.fromkeys(chosen, priority)
        packed = await asyncio.to_thread(_pack, keep, chosen, handle.packing, self._packer)
        lacking = tuple(piece for piece in chosen if piece not in packed)
        if lacking:
            self._put(Missing(number, Reason.ABSENT, lacking))
        for frame in _frames(number, packed):
            if isinstance(frame, Part):
                self._slices[handle.loaded[frame.number]].append(frame)
            else:
                self._slices[priority].append(frame)
        for piece in (*lacking, *(piece for piece, (_, body) in packed.items() if len(body) <= SLICE)):
            del handle.loaded[piece]  # it goes out as a whole


def _pack(keep: Keep, chosen: Iterable[int], packing: Packing, packer: Packer) -> dict[int, tuple[bool, bytes]]:
    packed = {}
    for number in chosen:
        with suppress(NotFound, OSError):
            packed[number] = keep.pack(number, packing, packer)
    return packed


def _without(slices: Iterable[Frame], handle: int, pieces: set[int]) -> Iterable[Frame]:
    """Yield what is to be sent without these pieces, of which nothing was sent yet."""
    waiting = list(slices)
    untouched = {one.number for one in waiting if isinstance(one, Part) and one.handle == handle and not one.offset}
    gone = pieces & untouched
    for frame in waiting:
        match frame:
            case Part(of, piece) if of == handle and piece in gone:
                continue
            case Bundle(of, bundled) if of == handle:
                if left := tuple(piece for piece in bundled if piece.number not in pieces):
                    yield replace(frame, pieces=left)
            case _:
                yield frame


def _frames(handle: int, packed: dict[int, tuple[bool, bytes]]) -> Iterable[Frame]:
    """Yield small pieces together and big ones in parts."""
    small: list[Piece] = []
    size = 0
    for number, (zstd, body) in packed.items():
        if len(body) > SLICE:
            view = memoryview(body)
            for at in range(0, len(body), SLICE):
                yield Part(handle, number, zstd, at, len(body), view[at : at + SLICE])
            continue
        if small and size + len(body) > 2 * SLICE:
            yield Bundle(handle, tuple(small))
            small, size = [], 0
        small.append(Piece(number, zstd, body))
        size += len(body)
    if small:
        yield Bundle(handle, tuple(small))
