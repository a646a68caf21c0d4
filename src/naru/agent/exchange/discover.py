"""Where other agents are: lists, announcements on the site's network, and what is remembered of both.

All of it is hints. Who somebody is, is decided by the certificate that is shown on connecting.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec

from naru.agent.exchange.identity import Member
from naru.domain.errors import Invalid, NaruError

_LOG = logging.getLogger(__name__)

GROUP: Final = ("239.255.70.71", 7071)
"""The multicast group (administratively scoped, RFC 2365) and port of announcements."""
ANNOUNCE_SECONDS: Final = 5.0
_FORGET_SECONDS: Final = 60.0
_MOST: Final = 4096
_TAG: Final = b"naru1 "


class Seen(msgspec.Struct, frozen=True):
    """An agent, and where it accepts connections."""

    node: str
    site: str
    host: str
    port: int


class Discovery(Protocol):
    """Knows of other agents."""

    async def peers(self) -> Sequence[Seen]:
        """Return the agents that may be there now, this node's own perhaps among them."""


class StaticPeers:
    """A list that was given."""

    def __init__(self, *seen: Seen) -> None:
        self.seen = list(seen)

    async def peers(self) -> Sequence[Seen]:
        """Return the list."""
        return tuple(self.seen)


class Remembered:
    """All that several sources know, kept in a file, so that an agent which starts alone finds its peers again."""

    def __init__(self, path: Path, *sources: Discovery) -> None:
        self._path = path
        self._sources = sources
        self._kept = self._load()

    async def peers(self) -> Sequence[Seen]:
        """Return what the sources say now and what they said before; a source that fails costs only its own."""
        found: dict[str, Seen] = {}
        for source in self._sources:
            try:
                found |= {seen.node: seen for seen in await source.peers()}
            except (NaruError, OSError) as error:
                _LOG.warning("peers are remembered, not asked for: %s", error)
        merged = dict(list({**self._kept, **found}.items())[-_MOST:])
        if merged != self._kept:
            self._kept = merged
            beside = self._path.with_suffix(".new")
            beside.write_bytes(msgspec.json.encode(list(merged.values())))
            beside.replace(self._path)
        return tuple(merged.values())

    def _load(self) -> dict[str, Seen]:
        try:
            return {seen.node: seen for seen in msgspec.json.decode(self._path.read_bytes(), type=list[Seen])}
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            _LOG.warning("%s is damaged and is made anew: %s", self._path, error)
            return {}


class Multicast(asyncio.DatagramProtocol):
    """Agents that announce themselves on the local network; announces this one while it is open.

    `interface` is the address of the interface to use, empty for the kernel's choice.
    """

    def __init__(
        self,
        own: Member,
        port: int,
        clock: Callable[[], float],
        *,
        interface: str = "",
        group: tuple[str, int] = GROUP,
        every: float = ANNOUNCE_SECONDS,
    ) -> None:
        self._own = own
        self._port = port
        self._clock = clock
        self._interface = interface
        self._group = group
        self._every = every
        self._seen: dict[str, tuple[float, Seen]] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._announcing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Join the group; without a network that allows it, be silent and hear nothing."""
        try:
            receiver = self._socket()
        except OSError as error:
            _LOG.warning("agents on this network are not found by multicast: %s", error)
            return self
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=receiver)
        self._announcing = asyncio.create_task(self._announce())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the group."""
        if self._announcing:
            self._announcing.cancel()
            await asyncio.gather(self._announcing, return_exceptions=True)
        if self._transport:
            self._transport.close()

    async def peers(self) -> Sequence[Seen]:
        """Return who announced itself lately."""
        now = self._clock()
        self._seen = {node: one for node, one in self._seen.items() if now - one[0] < _FORGET_SECONDS}
        return tuple(seen for _, seen in self._seen.values())

    def datagram_received(self, data: bytes, addr: tuple[str | int, int]) -> None:
        """Note an announcement; whatever else comes is ignored."""
        try:
            seen = announced(data, str(addr[0]), self._own)
        except Invalid:
            return
        if seen and (seen.node in self._seen or len(self._seen) < _MOST):
            self._seen[seen.node] = self._clock(), seen

    def error_received(self, exc: Exception) -> None:
        """The network refuses; the next announcement may pass."""

    async def _announce(self) -> None:
        message = _TAG + f"{self._own.uri} {self._port}".encode()
        while True:
            if self._transport:
                self._transport.sendto(message, self._group)
            await asyncio.sleep(self._every)

    def _socket(self) -> socket.socket:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.setblocking(False)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        interface = socket.inet_aton(self._interface or "0.0.0.0")  # noqa: S104 - the kernel chooses
        if self._interface:
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        receiver.bind(self._group)
        membership = socket.inet_aton(self._group[0]) + interface
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        return receiver


def announced(data: bytes, host: str, own: Member) -> Seen | None:
    """Read an announcement; None when it is of another cluster or one's own. Raise Invalid."""
    try:
        uri, port = data.removeprefix(_TAG).decode("ascii").split(" ")
        number = int(port)
    except ValueError as error:
        raise Invalid("this is no announcement") from error
    if not data.startswith(_TAG) or not 0 < number < 65536:
        raise Invalid("this is no announcement")
    member = Member.parse(uri)
    if member.cluster != own.cluster or member.node == own.node:
        return None
    return Seen(member.node, member.site, host, number)
