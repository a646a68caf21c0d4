"""Connections to all agents that are known, kept up."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from naru.agent.exchange.channel import Channel, connect
from naru.agent.exchange.discover import Discovery, Seen
from naru.agent.exchange.membership import Membership
from naru.agent.exchange.orders import COOL_DOWN, Fault
from naru.agent.exchange.peer import Peer
from naru.domain.errors import Forbidden, Invalid, NaruError

_LOG = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 2.0
_FORGIVE_SECONDS: Final = 600.0
_AGAIN: Final = (0.2, 10.0)
"""Seconds until a lost connection is tried again: at first, and at last."""


class Watch(Protocol):
    """Who hears of connections."""

    def connected(self, peer: Peer) -> None:
        """A peer is there."""

    def lost(self, node: str) -> None:
        """A peer is gone, or was not reached."""


@dataclass(slots=True)
class _Contact:
    seen: Seen
    task: "asyncio.Task[None]"
    channel: Channel | None = None
    tried: bool = False
    until: float = 0.0
    fault: str = ""
    faults: int = 0


class Contacts:
    """The connections on which this node asks. `port` is where it accepts its peers' own."""

    def __init__(self, membership: Membership, discovery: Discovery, watch: Watch, clock: Callable[[], float]) -> None:
        self.peers: dict[str, Peer] = {}
        self.port = 0
        self._membership = membership
        self._discovery = discovery
        self._watch = watch
        self._clock = clock
        self._contacts: dict[str, _Contact] = {}

    @property
    def connecting(self) -> list[str]:
        """Agents that are being tried for the first time."""
        return [node for node, contact in self._contacts.items() if not contact.tried]

    def seen(self) -> list[tuple[Seen, str]]:
        """Return all agents that are known, and why one was dropped last, if it was lately."""
        lately = self._clock() - _FORGIVE_SECONDS
        return [(one.seen, one.fault if lately < one.until else "") for one in self._contacts.values()]

    async def run(self) -> None:
        """Look for agents and keep connected to them, until cancelled."""
        try:
            while True:
                try:
                    for seen in await self._discovery.peers():
                        self.meet(seen)
                except (NaruError, OSError) as error:
                    _LOG.warning("no new peers are found: %s", error)
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            tasks = [contact.task for contact in self._contacts.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._contacts.clear()

    def meet(self, seen: Seen) -> None:
        """Know of an agent; it is connected to unless it is."""
        if seen.node == self._membership.own.node or not seen.port:
            return
        if contact := self._contacts.get(seen.node):
            contact.seen = seen
        else:
            self._contacts[seen.node] = _Contact(seen, asyncio.create_task(self._stay(seen.node)))

    def drop(self, node: str, fault: Fault) -> None:
        """End the connection with a peer and ask it nothing for a while."""
        if contact := self._contacts.get(node):
            now = self._clock()
            if now < contact.until and contact.fault == fault.value:
                return
            first, most = COOL_DOWN[fault]
            contact.faults = contact.faults + 1 if now < contact.until + _FORGIVE_SECONDS else 1
            seconds = min(most, first * 2 ** (contact.faults - 1))
            contact.until, contact.fault = now + seconds, fault.value
            _LOG.warning("%s is not asked for %.0f seconds: %s", node, seconds, fault.value)
            if contact.channel:
                contact.channel.abort()

    async def _stay(self, node: str) -> None:
        wait = _AGAIN[0]
        contact = self._contacts[node]
        while True:
            try:
                await self._connected(contact)
            except Invalid as error:
                _LOG.warning("%s breaks the rules: %s", node, error)
                self.drop(node, Fault.LYING)
            except NaruError as error:
                level = logging.WARNING if isinstance(error, Forbidden) else logging.INFO
                _LOG.log(level, "not connected with %s: %s", node, error)
            contact.tried = True
            contact.channel = None
            if self.peers.pop(node, None):
                wait = _AGAIN[0]
            self._watch.lost(node)
            await asyncio.sleep(max(wait, contact.until - self._clock()))
            wait = min(2 * wait, _AGAIN[1])

    async def _connected(self, contact: _Contact) -> None:
        channel = await connect(contact.seen.host, contact.seen.port, self._membership.identity.client())
        contact.channel = channel
        try:
            hello = await self._membership.greet(channel, self.port)
            if hello.node != contact.seen.node or channel.member is None:
                raise Forbidden(f"{contact.seen.host} is {hello.node}, not {contact.seen.node}")
            peer = Peer(channel, channel.member, self._clock)
            self.peers[hello.node] = peer
            contact.tried = True
            with self._membership.among(channel):
                self._watch.connected(peer)
                await peer.run()
        finally:
            await channel.close()
