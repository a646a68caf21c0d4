"""How a node comes by an image's index, so that a site asks outside, or derives it, once."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from naru.agent.exchange.frames import Document
from naru.agent.exchange.identity import Member
from naru.agent.exchange.leads import lead
from naru.agent.exchange.orders import Rules
from naru.agent.exchange.origin import Origin
from naru.agent.exchange.peer import Peer
from naru.agent.exchange.pins import Pins
from naru.agent.exchange.swarm import Swarm
from naru.agent.index.index import Index
from naru.domain.errors import Invalid, NaruError, NotFound, Unavailable

_LOG = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.25
_ALONE_SECONDS: Final = 2.0
LONGEST_PROFILE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """An index, the profile that came with it, and whether this node derived it."""

    index: Index
    profile: bytes | None = None
    derived: bool = False


async def find_index(
    swarm: Swarm,
    own: Member,
    peers: Mapping[str, Peer],
    origin: Origin | None,
    rules: Rules,
    pins: Pins,
    pinned: bytes | None,
) -> Found:
    """Return an image's index: from a mate that has it, else from the mate that leads the image, else from outside.

    The lead is this node when no other seeks the image or all of those asked this node for it. Outside is agents of
    other sites, then the origin. Whoever comes with another index than the pinned one is not listened to. Raises
    NotFound when nobody knows the image, Unavailable when nobody answers.
    """
    quest = _Quest(swarm, own, peers, pins, pinned)
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not swarm.settled and loop.time() < began + rules.grace:
        await quest.change(began + rules.grace - loop.time())
    failure: NaruError | None = None
    while loop.time() < began + rules.patience:
        for node in quest.holders(mates=True):
            if found := await quest.get(node, relay=False):
                return found
        leader = quest.leader()
        if leader != own.node:
            if found := await quest.get(leader, relay=True):
                return found
            continue
        for node in quest.holders(mates=False):
            if found := await quest.get(node, relay=False):
                return found
        if origin:
            try:
                return Found(quest.checked(await origin.derive(swarm.image), own.node), derived=True)
            except NaruError as error:
                _LOG.warning("the origin cannot give %s: %s", swarm.image, error)
                failure = error
        for node in quest.strangers():
            if found := await quest.get(node, relay=True):
                return found
        # All who can be asked said no: that is the answer. Where nobody can be asked, a moment is given to connect.
        over = (swarm.answers and not quest.unsure) or loop.time() > began + _ALONE_SECONDS
        if over and swarm.settled and isinstance(failure, NotFound | None):
            break
        quest.again()
        await quest.change(_LOOK_SECONDS)
    raise failure or (
        NotFound(f"no agent that answers knows the image {swarm.image}", "is the digest right?")
        if swarm.answers
        else Unavailable(f"no agent answers who could know the image {swarm.image}", "look at the network of this site")
    )


class _Quest:
    def __init__(self, swarm: Swarm, own: Member, peers: Mapping[str, Peer], pins: Pins, pinned: bytes | None) -> None:
        self.failed: set[str] = set()
        self.unsure = False
        self._swarm = swarm
        self._own = own
        self._peers = peers
        self._pins = pins
        self._pinned = pinned

    def again(self) -> None:
        """Ask everybody again."""
        self.failed.clear()
        self.unsure = False

    def holders(self, *, mates: bool) -> list[str]:
        """Return peers that have the index, the nearest first."""
        found = [
            node
            for node, answer in self._swarm.answers.items()
            if answer.mate is mates and answer.has is not None and node in self._peers and node not in self.failed
        ]
        return sorted(found, key=lambda node: (self._peers[node].rtt, node))

    def leader(self) -> str:
        """Return the member of the site that is to look outside."""
        members = [
            node
            for node, answer in self._swarm.answers.items()
            if answer.mate and answer.member and node in self._peers and node not in self.failed
        ]
        members = [node for node in members if node not in self._swarm.asked_by]
        return lead(self._swarm.name, sorted((self._own.node, *members)))

    def strangers(self) -> list[str]:
        """Return peers of other sites that do not have the index, but may be able to get it."""
        return sorted(
            node
            for node, answer in self._swarm.answers.items()
            if not answer.mate
            and answer.has is None
            and not answer.refused
            and node in self._peers
            and node not in self.failed | self._swarm.asked_by
        )

    async def get(self, node: str, *, relay: bool) -> Found | None:
        """Ask a peer; None when it cannot help, which is remembered."""
        peer = self._peers.get(node)
        if peer is None:
            self.failed.add(node)
            return None
        encoded, profile = await asyncio.gather(
            peer.get(self._swarm, Document.INDEX, relay=relay),
            peer.get(self._swarm, Document.PROFILE, relay=relay),
            return_exceptions=True,
        )
        try:
            if isinstance(encoded, BaseException):
                raise encoded
            index = self.checked(await asyncio.to_thread(Index.decode, encoded), node)
        except NaruError as error:
            _LOG.info("%s does not give the index of %s: %s", node, self._swarm.image, error)
            self.failed.add(node)
            self.unsure = self.unsure or not isinstance(error, NotFound)
            return None
        good = isinstance(profile, bytes) and len(profile) <= LONGEST_PROFILE
        return Found(index, profile if good and isinstance(profile, bytes) else None)

    def checked(self, index: Index, node: str) -> Index:
        """Return the index; raise Invalid when it is of another image, or not the one that the release names."""
        if index.image != self._swarm.image:
            raise Invalid(f"an index of {index.image} came for {self._swarm.image}")
        self._pins.check(index, node, self._pinned)
        return index

    async def change(self, seconds: float) -> None:
        """Wait until a peer says something new, at most so long."""
        self._swarm.changed.clear()
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._swarm.changed.wait()
        except TimeoutError:
            pass
