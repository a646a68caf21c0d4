"""The side of a connection that asks."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

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
    Refused,
    Unknown,
    Want,
)
from naru.agent.exchange.identity import Member
from naru.agent.source import Priority
from naru.domain.errors import Forbidden, Invalid, NaruError, NotFound, Unavailable

PING_SECONDS: Final = 1.0
SILENT_SECONDS: Final = 6.0
"""A peer that says nothing for so long, although it is pinged, is gone."""
_MOST_PARTIAL: Final = 8
_NEWEST: Final = 16

Told = Have | More | Coming | Missing | Unknown


class Image(Protocol):
    """One image, as far as a peer that is asked for it needs to know."""

    @property
    def name(self) -> bytes:
        """The 32 bytes of its manifest's digest."""

    def told(self, peer: "Peer", frame: Told) -> None:
        """A peer says what it has, fetches, or cannot send."""

    def received(self, peer: "Peer", size: int) -> None:
        """Bytes of pieces came."""

    async def take(self, peer: "Peer", pieces: Sequence[Piece], extra: Counter[int]) -> None:
        """Keep pieces; `extra` are those that may come unasked. Raises Invalid when the peer lies."""


@dataclass(slots=True)
class _Opened:
    image: Image
    extra: Counter[int] = field(default_factory=Counter)
    """Pieces that may still come after they were cancelled."""
    documents: dict[Document, tuple[bytearray, "asyncio.Future[bytes]"]] = field(default_factory=dict)


class Peer:
    """A connection to another agent, after both sides said Hello. `rtt` is in seconds, 0 until it was measured."""

    def __init__(self, channel: Channel, member: Member, clock: Callable[[], float]) -> None:
        self.member = member
        self.rtt = 0.0
        self.received = 0
        self._channel = channel
        self._clock = clock
        self._opened: dict[int, _Opened] = {}
        self._numbers: dict[bytes, int] = {}
        self._partial: dict[tuple[int, int], bytearray] = {}
        self._trips: list[float] = []
        self._pinged: dict[int, float] = {}
        self._heard = clock()

    async def run(self) -> None:
        """Take what comes until the connection ends: raises Unavailable, or Invalid when the peer breaks the rules."""
        pinging = asyncio.create_task(self._ping())
        reading = asyncio.create_task(self._read())
        try:
            done, _ = await asyncio.wait((pinging, reading), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (pinging, reading):
                task.cancel()
            await asyncio.gather(pinging, reading, return_exceptions=True)
            for opened in self._opened.values():
                for _, waiting in opened.documents.values():
                    if not waiting.done():
                        _fail(waiting, Unavailable(f"the connection with {self.member.node} ended"))
            self._opened.clear()
            self._numbers.clear()

    def open(self, image: Image, grant: bytes = b"") -> None:
        """Ask what the peer has of an image, once."""
        if image.name not in self._numbers:
            number = next(n for n in range(1 << 16) if n not in self._opened)
            self._numbers[image.name] = number
            self._opened[number] = _Opened(image)
            self._channel.write(Open(number, image.name, grant))

    def close(self, image: Image) -> None:
        """Ask nothing more of an image."""
        if (number := self._numbers.pop(image.name, None)) is not None:
            del self._opened[number]
            self._channel.write(Close(number))

    def want(
        self,
        image: Image,
        numbers: Sequence[int],
        priority: Priority,
        *,
        relay: bool,
        packing: Packing,
        again: bool = False,
    ) -> None:
        """Ask for pieces of an image that is open; `again` when they are asked for, and only wanted sooner."""
        if (number := self._numbers.get(image.name)) is not None:
            self._channel.write(Want(number, priority, relay, packing, tuple(numbers), again))

    def cancel(self, image: Image, numbers: Sequence[int]) -> None:
        """Take back what was asked."""
        if (number := self._numbers.get(image.name)) is not None:
            self._opened[number].extra.update(numbers)
            self._channel.write(Cancel(number, tuple(numbers)))

    async def get(self, image: Image, document: Document, *, relay: bool) -> bytes:
        """Return a document of an image that is open; raise NotFound, Forbidden, Unavailable."""
        number = self._numbers.get(image.name)
        if number is None:
            raise Unavailable(f"the connection with {self.member.node} ended")
        opened = self._opened[number]
        if document not in opened.documents:
            opened.documents[document] = bytearray(), asyncio.get_running_loop().create_future()
            self._channel.write(Get(number, document, relay))
        return await asyncio.shield(opened.documents[document][1])

    async def _ping(self) -> None:
        token = 0
        while True:
            token += 1
            self._pinged[token] = self._clock()
            self._channel.write(Ping(token))
            await asyncio.sleep(PING_SECONDS)
            if self._clock() - self._heard > SILENT_SECONDS:
                raise Unavailable(f"{self.member.node} has been silent for {SILENT_SECONDS:.0f} seconds")

    async def _read(self) -> None:
        while True:
            frame = await self._channel.read()
            self._heard = self._clock()
            await self._handle(frame)

    async def _handle(self, frame: Frame) -> None:
        match frame:
            case Bundle(number, pieces):
                await self._take(self._image(number), pieces)
            case Part():
                await self._part(frame)
            case Unknown(number, reason, Document() as document, _):
                self._document_refused(number, document, reason)
            case Have(number) | More(number) | Coming(number) | Missing(number) | Unknown(number):
                if opened := self._image(number):
                    opened.image.told(self, frame)
            case Blob():
                self._blob(frame)
            case Pong(token):
                if (since := self._pinged.pop(token, None)) is not None:
                    # Behind bulk on the same connection a ping takes longer than the way does: the least is the way.
                    self._trips = [*self._trips[1 - _NEWEST :], self._clock() - since]
                    self.rtt = min(self._trips)
            case Refused(cause):
                raise Forbidden(f"{self.member.node} refuses: {cause}")
            case _:
                raise Invalid(f"{self.member.node} sent a {type(frame).__name__} to one that asks")

    def _image(self, number: int) -> _Opened | None:
        return self._opened.get(number)  # None: it was closed while this was on its way

    async def _take(self, opened: _Opened | None, pieces: Sequence[Piece]) -> None:
        if opened:
            size = sum(len(piece.body) for piece in pieces)
            self.received += size
            opened.image.received(self, size)
            await opened.image.take(self, pieces, opened.extra)

    async def _part(self, part: Part) -> None:
        opened = self._image(part.handle)
        key = part.handle, part.number
        gathered = self._partial.get(key)
        if gathered is None:
            if part.offset or len(self._partial) >= _MOST_PARTIAL:
                raise Invalid(f"{self.member.node} sends parts of pieces that it did not begin, or of too many")
            gathered = self._partial[key] = bytearray()
        if not part.offset:
            gathered.clear()  # it is sent anew
        if part.offset != len(gathered):
            raise Invalid(f"{self.member.node} sends the parts of a piece in another order")
        gathered += part.body
        if opened:
            self.received += len(part.body)
            opened.image.received(self, len(part.body))
        if len(gathered) == part.total:
            del self._partial[key]
            if opened:
                await opened.image.take(self, (Piece(part.number, part.zstd, memoryview(gathered)),), opened.extra)

    def _blob(self, blob: Blob) -> None:
        opened = self._image(blob.handle)
        if opened is None:
            return
        if blob.document not in opened.documents:
            raise Invalid(f"{self.member.node} sends a document that nobody asked for")
        gathered, waiting = opened.documents[blob.document]
        if blob.offset != len(gathered):
            raise Invalid(f"{self.member.node} sends a document in another order")
        gathered += blob.body
        self.received += len(blob.body)
        if len(gathered) == blob.total:
            del opened.documents[blob.document]
            if not waiting.done():
                waiting.set_result(bytes(gathered))

    def _document_refused(self, number: int, document: Document, reason: Reason) -> None:
        opened = self._image(number)
        if opened and document in opened.documents:
            _, waiting = opened.documents.pop(document)
            what = f"the {document.name.lower()} of sha256:{opened.image.name.hex()[:12]}"
            if not waiting.done():
                absent = NotFound(f"{self.member.node} does not have {what}")
                failed = Unavailable(f"{self.member.node} could not get {what}")
                _fail(waiting, absent if reason is Reason.ABSENT else failed)


def _fail(waiting: "asyncio.Future[bytes]", error: NaruError) -> None:
    waiting.set_exception(error)
    waiting.exception()  # nobody may be waiting any more, and that is no error
