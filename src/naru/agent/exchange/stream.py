"""Bytes of a connection as whole frames: received into place, so that each byte is copied once after its decryption."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from naru.agent.exchange.wire import HEADER, header
from naru.domain.errors import Invalid, NaruError, Unavailable

_ROOM: Final = 256 << 10
"""Bytes received at once."""
_DIRECT: Final = 32 << 10
"""A body that is longer, and not here yet, is received where it stays."""
_UNREAD: Final = 1 << 20
"""Bytes of frames that nobody has taken, above which no more are received."""


class FrameStream(asyncio.BufferedProtocol):
    """One connection's bytes. `opened` hears when it stands, its TLS handshake done; `transport` then carries it."""

    def __init__(self, opened: Callable[["FrameStream"], None] | None = None) -> None:
        self.transport: asyncio.Transport
        self._opened = opened
        self._room = memoryview(bytearray(_ROOM))
        self._filled = 0
        self._body = memoryview(b"")
        self._kind = self._got = 0
        self._frames: deque[tuple[int, bytes | memoryview]] = deque()
        self._unread = 0
        self._paused = self._full = False
        self._ended: NaruError | None = None
        self._gone = asyncio.get_running_loop().create_future()
        self._reader: asyncio.Future[None] | None = None
        self._writers: list[asyncio.Future[None]] = []

    async def read(self) -> tuple[int, bytes | memoryview]:
        """Return the next frame's kind and body; raise Unavailable at the end, Invalid where no frame begins."""
        while not self._frames:
            if self._ended:
                raise self._ended
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        kind, body = self._frames.popleft()
        self._unread -= len(body)
        if self._paused and self._unread <= _UNREAD // 2:
            self._paused = False
            self.transport.resume_reading()
        return kind, body

    async def drained(self) -> None:
        """Return when little waits to be sent; raise Unavailable when nothing is sent any more."""
        if self._full and not self._ended:
            waiting = asyncio.get_running_loop().create_future()
            self._writers.append(waiting)
            await waiting
        if self._ended or self.transport.is_closing():
            raise self._ended or Unavailable("the connection ended")

    def close(self) -> None:
        """Send what waits, then end the connection."""
        # A TLS transport that is told so once more, also after the other end was, forgets its protocol for good.
        if not self.transport.is_closing():
            self.transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    async def closed(self) -> None:
        """Return when the connection is gone."""
        await asyncio.shield(self._gone)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is done."""
        self.transport = cast(asyncio.Transport, transport)
        if self._opened:
            self._opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where the next bytes go."""
        return self._body[self._got :] if self._body else self._room[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes are there."""
        if self._body:
            self._got += nbytes
            if self._got == len(self._body):
                self._arrived(self._kind, self._body)
                self._body = memoryview(b"")
        else:
            self._filled += nbytes
            try:
                self._split()
            except Invalid as error:
                self._end(error)
                self.abort()
                return
        self._wake()
        if self._unread > _UNREAD and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def eof_received(self) -> None:
        """Nothing more comes: asyncio closes the connection."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._end(Unavailable("the connection ended"))
        if not self._gone.done():
            self._gone.set_result(None)

    def pause_writing(self) -> None:
        """Much waits to be sent."""
        self._full = True

    def resume_writing(self) -> None:
        """Little waits to be sent."""
        self._full = False
        self._wake_writers()

    def _split(self) -> None:
        at, room = 0, self._room
        while self._filled - at >= HEADER.size:
            length, kind = header(room[at : at + HEADER.size])
            start, end = at + HEADER.size, at + HEADER.size + length
            if end <= self._filled:
                self._arrived(kind, bytes(room[start:end]))
                at = end
            elif length > _DIRECT:
                self._kind, self._got = kind, self._filled - start
                self._body = memoryview(bytearray(length))
                self._body[: self._got] = room[start : self._filled]
                at = self._filled
            else:
                break
        left = self._filled - at
        if at and left:
            room[:left] = bytes(room[at : self._filled])
        self._filled = left

    def _arrived(self, kind: int, body: bytes | memoryview) -> None:
        self._frames.append((kind, body))
        self._unread += len(body)

    def _end(self, error: NaruError) -> None:
        self._ended = self._ended or error
        self._wake()
        self._wake_writers()

    def _wake(self) -> None:
        if self._reader and not self._reader.done():
            self._reader.set_result(None)

    def _wake_writers(self) -> None:
        writers, self._writers = self._writers, []
        for waiting in writers:
            if not waiting.done():
                waiting.set_result(None)
