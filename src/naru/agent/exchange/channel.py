"""One connection that carries frames, with TLS and little buffering."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from naru.agent.exchange.frames import VERSION, Frame, Hello, Refused, Revoked
from naru.agent.exchange.identity import Member, met
from naru.agent.exchange.stream import FrameStream
from naru.agent.exchange.wire import decode, encode
from naru.domain.errors import Forbidden, Invalid, Unavailable

T = TypeVar("T")

CONNECT_SECONDS: Final = 5.0
FAR_BUFFER: Final = 64 << 10
NEAR_BUFFER: Final = 256 << 10
"""Bytes that wait in this process, and as many unsent in the kernel: what is demanded queues behind these."""


class Channel:
    """A connection. `member` is who is at the other end, None when no certificate was shown; `serial` is its number.

    `revoked` is told each list of certificates that are good no more, and may raise Invalid.
    """

    def __init__(self, stream: FrameStream) -> None:
        self._stream = stream
        transport = stream.transport
        connection = transport.get_extra_info("ssl_object")
        self.member: Member | None = None
        self.serial = 0
        if connection and (shown := met(connection)):
            self.member, self.serial = shown
        self.revoked: Callable[[bytes], None] = lambda _: None
        self.address = str(transport.get_extra_info("peername", ("",))[0])
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer(FAR_BUFFER)

    async def read(self) -> Frame:
        """Return the next frame; raise Unavailable at the end, Invalid for what is none."""
        while isinstance(frame := await self._read(), Revoked):
            self.revoked(frame.encoded)
        return frame

    async def _read(self) -> Frame:
        try:
            return decode(*await self._stream.read())
        except Unavailable as error:
            raise Unavailable(f"the connection with {self.name} ended") from error

    def buffer(self, size: int) -> None:
        """Let so many bytes wait when the other side or the network is slow."""
        with suppress(OSError, AttributeError):
            raw = self._stream.transport.get_extra_info("socket")
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)
        self._stream.transport.set_write_buffer_limits(high=size)

    def write(self, *frames: Frame) -> None:
        """Send frames together; they may wait here until `drained`."""
        self._stream.transport.write(encode(frames[0]) if len(frames) == 1 else b"".join(map(encode, frames)))

    async def drained(self) -> None:
        """Wait until little is left to be sent; raise Unavailable when the connection is gone."""
        try:
            await self._stream.drained()
        except Unavailable as error:
            raise Unavailable(f"the connection with {self.name} ended") from error

    async def greet(self, hello: Hello, own: Member) -> Hello:
        """Exchange the first frames; raise Forbidden when the other side is not whom its certificate names."""
        self.write(hello)
        match await within(self.read(), CONNECT_SECONDS, f"{self.address} says nothing"):
            case Hello() as theirs:
                self.trusted(theirs, own)
                return theirs
            case Refused(cause):
                raise Forbidden(f"{self.address} refuses: {cause}")
            case _:
                raise Invalid(f"{self.address} does not introduce itself", "run the same version on all nodes")

    def trusted(self, theirs: Hello, own: Member) -> Member:
        """Return who is at the other end; raise Forbidden when its certificate does not say so, Invalid."""
        if theirs.version != VERSION:
            raise Invalid(f"{self.address} speaks version {theirs.version}", "run the same version on all nodes")
        if self.member is None or self.member.cluster != own.cluster:
            raise Forbidden(f"{self.address} is not of the cluster {own.cluster}", "join it with a token")
        if (self.member.node, self.member.site) != (theirs.node, theirs.site):
            raise Forbidden(f"{self.address} calls itself {theirs.node}, its certificate does not")
        return self.member

    @property
    def name(self) -> str:
        """Who is at the other end, for people."""
        return self.member.node if self.member else self.address

    def abort(self) -> None:
        """End the connection at once."""
        self._stream.abort()

    async def close(self, cause: str = "") -> None:
        """End the connection, telling why where there is a cause."""
        with suppress(OSError, RuntimeError):
            if cause:
                self.write(Refused(cause))
            self._stream.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._stream.closed()
        self.abort()


async def listen(
    host: str, port: int, context: ssl.SSLContext, accepted: Callable[[FrameStream], None]
) -> asyncio.Server:
    """Accept connections; `accepted` hears of each once it is encrypted. Raises OSError."""
    return await asyncio.get_running_loop().create_server(lambda: FrameStream(accepted), host, port, ssl=context)


async def connect(host: str, port: int, context: ssl.SSLContext) -> Channel:
    """Connect; raise Unavailable."""
    loop = asyncio.get_running_loop()
    opening = loop.create_connection(FrameStream, host, port, ssl=context, server_hostname="naru")
    try:
        _, stream = await within(opening, CONNECT_SECONDS, f"{host} port {port} does not answer")
        return Channel(stream)
    except (OSError, ssl.SSLError) as error:
        raise Unavailable(f"no agent at {host} port {port} is to be reached", "is it running?") from error


async def within(work: Awaitable[T], seconds: float, cause: str) -> T:
    """Return what comes in time; raise Unavailable naming the cause otherwise."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise Unavailable(cause) from None
