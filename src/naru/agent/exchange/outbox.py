"""What one connection sends: answers first, then contents, the most urgent first.

Contents are packed while others are sent; what is at hand as it came is passed on without a thread. At most a few
slices and one batch a priority are in memory, besides what the transport buffers.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from naru.agent.exchange.channel import Channel
from naru.agent.exchange.frames import Blob, Bundle, Document, Frame, Missing, Packing, Part, Reason
from naru.agent.exchange.keep import Keep
from naru.agent.exchange.pace import Pace
from naru.agent.exchange.slices import sliced, without
from naru.agent.source import Priority

_BATCH: Final = 256 << 10
"""Bytes of pieces, before compression, that are read and sent together."""
_SLICES_AHEAD: Final = 2
"""Packed slices below which more is packed while they are sent: a link must not wait for the processor."""
_MOST_ANSWERS: Final = 256


@dataclass(slots=True, eq=False)
class Stream:
    """The pieces of one image that are to be sent under its handle. `keep` has them."""

    handle: int
    keep: Keep | None = None
    packing: Packing = Packing.FAST
    ready: list["OrderedDict[int, None]"] = field(default_factory=lambda: [OrderedDict() for _ in Priority])
    packed: dict[int, Priority] = field(default_factory=dict)
    """Pieces that were read, and are being sent with that priority."""

    def holds(self, piece: int) -> bool:
        """Whether a piece is to be sent and has not gone out."""
        return piece in self.packed or any(piece in ready for ready in self.ready)


class Outbox:
    """See the module. `longest` bounds what is sent in one go, in bytes; `sent` hears of bytes that went out."""

    def __init__(self, channel: Channel, pace: Pace, sent: Callable[[int], None], longest: int) -> None:
        self._channel = channel
        self._pace = pace
        self._sent = sent
        self._longest = longest
        self._streams: dict[int, Stream] = {}
        self._answers: deque[Frame] = deque()
        self._slices: list[deque[Frame]] = [deque() for _ in Priority]
        self._ahead: tuple[Priority, asyncio.Task[None]] | None = None
        self._work = asyncio.Event()
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Send until the connection ends."""
        try:
            while True:
                self._work.clear()
                if self._answers:
                    answers = list(self._answers)
                    self._answers.clear()
                    self._channel.write(*answers)
                    await self._channel.drained()
                self._room.set()
                if (frame := await self._next()) is not None:
                    await self._write(frame)
                    continue
                await self._channel.drained()
                if not self._answers:
                    await self._work.wait()
        finally:
            if self._ahead:
                self._ahead[1].cancel()
                await asyncio.gather(self._ahead[1], return_exceptions=True)

    def open(self, handle: int) -> Stream:
        """Begin to send an image's pieces under a handle."""
        self._streams[handle] = Stream(handle)
        return self._streams[handle]

    def close(self, stream: Stream) -> None:
        """Send nothing more under a handle, but what has begun."""
        self._streams.pop(stream.handle, None)

    def say(self, frame: Frame) -> None:
        """Send an answer before all contents."""
        self._answers.append(frame)
        self._work.set()

    async def uncrowded(self) -> None:
        """Return when the other side takes its answers: until then it need not be asked for more questions."""
        while len(self._answers) > _MOST_ANSWERS:
            self._room.clear()
            self._work.set()
            await self._room.wait()

    def send(self, stream: Stream, pieces: Iterable[int], priority: Priority) -> None:
        """Send pieces in this order; what waits already only changes its priority."""
        raised: set[int] = set()
        for piece in pieces:
            for other in Priority:
                if other is not priority:
                    stream.ready[other].pop(piece, None)
            if piece in stream.packed:
                raised.add(piece)
            else:
                stream.ready[priority][piece] = None
        if raised:
            self._raise(stream, raised, priority)
        self._work.set()

    def cancel(self, stream: Stream, pieces: Collection[int]) -> None:
        """Do not send pieces; those of which a part went out are sent to their end."""
        for piece in pieces:
            for ready in stream.ready:
                ready.pop(piece, None)
        packed = self._packed(stream.handle)
        gone = set(pieces)
        self._slices = [deque(without(slices, stream.handle, gone)) for slices in self._slices]
        for piece in packed - self._packed(stream.handle):
            del stream.packed[piece]

    def document(self, handle: int, document: Document, content: bytes) -> None:
        """Send a document as urgently as a profile."""
        view = memoryview(content)
        queue = self._slices[Priority.PROFILE]
        for at in range(0, max(1, len(content)), self._longest):
            queue.append(Blob(handle, document, at, len(content), view[at : at + self._longest]))
        self._work.set()

    def _raise(self, stream: Stream, raised: set[int], priority: Priority) -> None:
        """Send what is read already with another priority, rather than a second time."""
        for piece in raised:
            stream.packed[piece] = priority
        for other in Priority:
            stay: deque[Frame] = deque()
            for frame in self._slices[other] if other is not priority else ():
                moves = isinstance(frame, Part) and frame.handle == stream.handle and frame.number in raised
                (self._slices[priority] if moves else stay).append(frame)
            if other is not priority:
                self._slices[other] = stay

    def _packed(self, handle: int) -> set[int]:
        """Return the pieces of which parts wait to be sent."""
        waiting = (frame for slices in self._slices for frame in slices)
        return {frame.number for frame in waiting if isinstance(frame, Part) and frame.handle == handle}

    async def _write(self, frame: Frame) -> None:
        size = 0
        match frame:
            case Part(number, piece, _, offset, total, body) if offset + len(body) == total:
                size = len(body)
                if stream := self._streams.get(number):
                    stream.packed.pop(piece, None)
            case Bundle(_, pieces):
                size = sum(len(piece.body) for piece in pieces)
            case Part() | Blob():
                size = len(frame.body)
        await self._pace.take(size)
        self._channel.write(frame)
        self._sent(size)
        await self._channel.drained()

    async def _next(self) -> Frame | None:
        """Return the next frame of content, of the best priority that has any, and pack on while it is sent."""
        for priority in Priority:
            if not self._slices[priority]:
                if self._ahead and self._ahead[0] <= priority:
                    await self._packed_ahead()
                if not self._slices[priority] and (stream := self._asked(priority)):
                    await self._packed_ahead()
                    await self._pack(stream, priority)
            # While that was read, something more urgent may have come.
            if chosen := next(filter(None, self._slices), None):
                frame = chosen.popleft()
                self._pack_ahead()
                return frame
        return None

    def _asked(self, priority: Priority) -> Stream | None:
        return next((stream for stream in self._streams.values() if stream.ready[priority]), None)

    def _pack_ahead(self) -> None:
        if self._ahead is None and sum(map(len, self._slices)) < _SLICES_AHEAD:
            for priority in Priority:
                if stream := self._asked(priority):
                    self._ahead = priority, asyncio.create_task(self._pack(stream, priority))
                    return

    async def _packed_ahead(self) -> None:
        """Wait for what is being packed ahead."""
        if self._ahead:
            await self._ahead[1]
            self._ahead = None

    async def _pack(self, stream: Stream, priority: Priority) -> None:
        """Turn the next pieces of a stream into slices."""
        keep = stream.keep
        if keep is None:
            return
        chosen = _batch(stream.ready[priority], keep.pieces.sizes)
        stream.packed |= dict.fromkeys(chosen, priority)
        packed = keep.at_hand(chosen, stream.packing)
        if packed is None:
            packed = await asyncio.to_thread(keep.packed, chosen, stream.packing)
        lacking = tuple(piece for piece in chosen if piece not in packed)
        if lacking:
            self.say(Missing(stream.handle, Reason.ABSENT, lacking))
        for frame in sliced(stream.handle, packed, self._longest):
            if isinstance(frame, Part):
                self._slices[stream.packed[frame.number]].append(frame)
            else:
                self._slices[priority].append(frame)
        for piece in (*lacking, *(piece for piece, (_, body) in packed.items() if len(body) <= self._longest)):
            del stream.packed[piece]  # it goes out as a whole


def _batch(ready: "OrderedDict[int, None]", sizes: tuple[int, ...]) -> list[int]:
    """Take the pieces that are to be read next: few, but at least one."""
    chosen: list[int] = []
    size = 0
    while ready and size < _BATCH:
        piece, _ = ready.popitem(last=False)
        size += sizes[piece]
        if chosen and size > 2 * _BATCH:
            ready[piece] = None
            ready.move_to_end(piece, last=False)
            break
        chosen.append(piece)
    return chosen
