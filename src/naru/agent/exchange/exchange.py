"""A node's exchange: asks peers for what the node lacks and gives them what it has (agent.source.Source)."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from naru.agent.calm import Calm
from naru.agent.exchange.access import MEMBERS, Access
from naru.agent.exchange.authority import Authority
from naru.agent.exchange.contacts import Contacts
from naru.agent.exchange.discover import Discovery, Seen
from naru.agent.exchange.door import Door
from naru.agent.exchange.fetch import Fetch
from naru.agent.exchange.frames import Document, Open
from naru.agent.exchange.identity import Identity, Member
from naru.agent.exchange.membership import Membership
from naru.agent.exchange.orders import RULES, Fault, Rules
from naru.agent.exchange.origin import Origin
from naru.agent.exchange.pace import Pace
from naru.agent.exchange.pack import Packer
from naru.agent.exchange.packs import MOST_PACKED, Packs
from naru.agent.exchange.peer import Peer
from naru.agent.exchange.pins import Pins
from naru.agent.exchange.quest import Profiles, Quests
from naru.agent.exchange.serve import Served
from naru.agent.exchange.swarm import Swarm
from naru.agent.index.index import Index
from naru.agent.objects import ObjectStore
from naru.agent.source import Priority
from naru.domain.errors import Invalid, NaruError, NotFound

_LOG = logging.getLogger(__name__)

PORT: Final = 7071
_TICK_SECONDS: Final = 0.1
_ORIGIN_SECONDS: Final = 15.0
_ROUNDS: Final = 3
"""How often what should be here and is not is fetched again: the store may evict, and lets go of what arrives."""
_MOST_SWARMS: Final = 64
_RENEW_SECONDS: Final = 3600.0


@dataclass(slots=True)
class Traffic:
    """Bytes of content since the start, as they crossed the network: from mates, from outside, and to others."""

    site: int = 0
    outside: int = 0
    sent: int = 0
    derived: int = 0
    """Images that this node got from their origin."""

    def derive(self) -> None:
        """Count one more."""
        self.derived += 1


@dataclass(frozen=True, slots=True)
class PeerView:
    """A peer, for people. `rtt` in seconds, `received` in bytes; `fault` says why it was dropped, if it was lately."""

    seen: Seen
    connected: bool
    rtt: float
    received: int
    fault: str


class Exchange:
    """See the module. Runs while it is open as a context; `port` is then the one it listens on.

    `upload` caps what is sent, in bytes a second, `packed` the bytes of compressed pieces on the disk. The background
    rests until all is `calm`. With `authority` this node lets others join. `access` decides which
    images a member may have.
    """

    def __init__(
        self,
        store: ObjectStore,
        identity: Identity,
        *,
        discovery: Discovery,
        origin: Origin | None = None,
        profiles: Profiles | None = None,
        host: str = "0.0.0.0",  # noqa: S104 - peers are elsewhere; TLS decides who they are
        port: int = PORT,
        upload: float | None = None,
        authority: Authority | None = None,
        access: Access = MEMBERS,
        calm: Calm | None = None,
        packed: int = MOST_PACKED,
        rules: Rules = RULES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.traffic = Traffic()
        self.port = port
        self.pins = Pins()
        self._store = store
        self.membership = Membership(identity, authority)
        self._origin = origin
        self._profiles = profiles
        self._host = host
        self._access = access
        self._calm = calm or Calm()
        self._rules = rules
        self._clock = clock
        self._packs = Packs(store.root / "packed", packed)
        self._packer = Packer(packs=self._packs)
        self._contacts = Contacts(self.membership, discovery, self, clock)
        self._door = Door(self.membership, self, self._contacts.meet, Pace(upload, clock))
        self._swarms: dict[str, Swarm] = {}
        self._apart: set[str] = set()
        self._quests = Quests(
            store, profiles, self.membership.own, self._contacts.peers, origin, rules, self.pins, self.traffic.derive
        )
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen, and begin to find peers; raise Invalid when the port is taken."""
        await self._door.open(self._host, self.port)
        self.port = self._contacts.port = self._door.port
        for work in (self._contacts.run(), self._tick(), self._renew()):
            self._start(work)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all connections and everything that is under way."""
        await self._door.close()
        ending = list(self._tasks)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, self._quests.close(), return_exceptions=True)
        for swarm in self._swarms.values():
            if swarm.fetch:
                swarm.fetch.close()
        self._packs.close()

    # What the node asks (agent.source.Source)

    async def fetch(self, index: Index, digests: Sequence[bytes], priority: Priority) -> None:
        """Bring objects of an index into the object store, verified and committed.

        What is there already costs nothing; the background waits until no start is under way. Raises NotFound when
        nobody has one of them, Unavailable when nobody answers or the disk is full; the objects that did arrive stay.
        """
        if priority is Priority.BACKGROUND:
            await self._calm.reached()
        for _ in range(_ROUNDS):
            lacking = await asyncio.to_thread(self._store.missing, digests)
            if not lacking:
                return
            fetch = await self._fetching(index)
            numbers = [n for digest in lacking for n in fetch.keep.pieces.numbers(digest)]
            await fetch.recall(numbers)
            await fetch.bring(numbers, priority)

    async def fetch_pieces(self, index: Index, numbers: Sequence[int], priority: Priority) -> None:
        """Bring pieces, in this order, so that `read` has them at once; raise as `fetch`."""
        await (await self._fetching(index)).bring(numbers, priority)

    async def read(self, index: Index, digest: bytes, offset: int, length: int) -> bytes:
        """Return bytes of an object, verified by its chunks, before the whole of it has arrived; at most to its end."""
        fetch = await self._fetching(index)
        chosen = fetch.keep.pieces.covering(digest, offset, length)
        numbers = [piece.number for piece in chosen]
        for _ in range(_ROUNDS):
            if not self._store.has(digest):
                await fetch.bring(numbers, Priority.DEMAND)
            with suppress(NotFound):
                return await asyncio.to_thread(fetch.keep.read, chosen, offset, length)
            await fetch.recall(numbers)
        raise NotFound(f"the object {digest.hex()} goes as soon as it comes", "give the agent a larger budget")

    async def index(self, image: str, *, pinned: bytes | None = None) -> Index:
        """Return the index of an image: from the store, from mates, from outside, or derived, once in a site.

        `pinned` is the digest that it must have, by default the one that `pins` names; another one that is here goes,
        unless it is in use. Raises NotFound when nobody knows the image, Unavailable when nobody answers.
        """
        pinned = pinned or self.pins.named(image)
        swarm = await self._swarm(image)
        if swarm.index is not None:
            try:
                self.pins.check(swarm.index, self.membership.own.node, pinned)
            except Invalid:
                if swarm.wanted or image in await asyncio.to_thread(self._store.pins):
                    raise
                swarm.unknown()
                self._forget(swarm)
                await asyncio.to_thread(self._store.forget, image)
                swarm = await self._swarm(image)
        self.seek(swarm)
        return await self._quests.index(swarm, pinned)

    async def known(self, image: str) -> Index | None:
        """Return the index of an image if an agent has the right one, perhaps before it is saved.

        Nobody derives it for this.
        """
        swarm = await self._swarm(image)
        self.seek(swarm)
        return await self._quests.known(swarm, self.pins.named(image))

    async def profile(self, image: str) -> bytes | None:
        """Return an image's start-up profile, if there is one here or came with the index."""
        return await asyncio.to_thread(self._profiles.load, image) if self._profiles is not None else None

    async def refresh(self, image: str) -> None:
        """Look at the store again: objects of the image came or went by other ways."""
        if image in self._swarms:
            await self._swarms[image].refresh()

    def apart(self, image: str, *, apart: bool) -> None:
        """Ask no mates for an image from now on, only agents of other sites and the origin; or ask them again."""
        (self._apart.add if apart else self._apart.discard)(image)
        if image in self._swarms and self._swarms[image].seeking:
            for peer in self._contacts.peers.values():
                self._open(peer, self._swarms[image])

    # What people ask

    def views(self) -> tuple[PeerView, ...]:
        """Return all agents that are known."""
        views = []
        for seen, fault in self._contacts.seen():
            peer = self._contacts.peers.get(seen.node)
            views.append(
                PeerView(seen, peer is not None, peer.rtt if peer else 0.0, peer.received if peer else 0, fault)
            )
        return tuple(views)

    # What an image needs (swarm.Hub)

    @property
    def peers(self) -> Mapping[str, Peer]:
        """The agents that are connected."""
        return self._contacts.peers

    @property
    def packer(self) -> Packer:
        """What compresses pieces, and keeps them as they are sent."""
        return self._packer

    def seek(self, swarm: Swarm) -> None:
        """Ask all peers for the image, if that was not done."""
        if not swarm.seeking:
            swarm.seeking = True
            for node in self._contacts.connecting:
                swarm.expect(node)
            for peer in self._contacts.peers.values():
                self._open(peer, swarm)

    def drop(self, node: str, fault: Fault) -> None:
        """End the connection with a peer."""
        self._contacts.drop(node, fault)

    def derive(self, image: str) -> None:
        """Have the origin bring an image."""
        self._start(self._derive(self._swarms[image]))

    def count(self, peer: Peer, size: int) -> None:
        """Bytes came."""
        if peer.member.site == self.membership.own.site:
            self.traffic.site += size
        else:
            self.traffic.outside += size

    # What connections tell (contacts.Watch)

    def connected(self, peer: Peer) -> None:
        """A peer is there: ask it for all that is sought."""
        for swarm in self._swarms.values():
            if swarm.seeking:
                self._open(peer, swarm)

    def lost(self, node: str) -> None:
        """A peer is gone."""
        for swarm in self._swarms.values():
            swarm.left(node)

    # What those who ask this node need (serve.Shelf)

    async def opened(self, member: Member, asked: Open) -> Served | None:
        """Return the image that a peer asks for, None when it may not have it."""
        image = f"sha256:{asked.image.hex()}"
        if not self._access.allows(member, image, asked.grant):
            _LOG.warning("%s asked for %s, which it may not have", member.node, image)
            return None
        swarm = await self._swarm(image)
        swarm.interested(member)
        return swarm

    async def document(self, served: Served, document: Document, *, relay: bool, member: Member) -> bytes:
        """Return the encoded index or the profile of an image."""
        swarm = next((one for one in self._swarms.values() if one is served), None)
        if swarm is None:
            raise NotFound("the image is not known here any more")
        if relay and swarm.index is None:
            swarm.asked_by.add(member.node)
            await self.index(swarm.image)
        content = await (swarm.encoded() if document is Document.INDEX else self.profile(swarm.image))
        if content is None:
            raise NotFound(f"there is no {document.name.lower()} of {swarm.image} here")
        return content

    def sent(self, size: int) -> None:
        """Bytes went out."""
        self.traffic.sent += size

    # Inside

    async def _swarm(self, image: str) -> Swarm:
        if image not in self._swarms:
            self._trim()
            swarm = Swarm(image, self.membership.own, self, self._clock, self._rules, origin=self._origin is not None)
            self._swarms[image] = swarm
            if index := await asyncio.to_thread(self._store.index, image):
                await swarm.indexed(index, self._store)
            swarm.loaded.set()
        swarm = self._swarms[image]
        await swarm.loaded.wait()
        return swarm

    def _trim(self) -> None:
        """Forget images that nobody asks for, when there are many."""
        for swarm in list(self._swarms.values()):
            if len(self._swarms) < _MOST_SWARMS:
                return
            if swarm.idle:
                self._forget(swarm)

    def _forget(self, swarm: Swarm) -> None:
        for peer in self._contacts.peers.values():
            peer.close(swarm)
        if swarm.fetch:
            swarm.fetch.close()
        self._swarms.pop(swarm.image, None)

    async def _fetching(self, index: Index) -> Fetch:
        swarm = await self._swarm(index.image)
        self.seek(swarm)
        return swarm.fetch or await swarm.indexed(index, self._store)

    async def _derive(self, swarm: Swarm) -> None:
        if self._origin is None or swarm.fetch is None:
            return
        try:
            await self._origin.derive(swarm.image)
            self.traffic.derived += 1
        except NaruError as error:
            _LOG.warning("the origin cannot bring %s: %s", swarm.image, error)
        await swarm.refresh()
        swarm.fetch.schedule.derived()
        swarm.fetch.kick()
        await asyncio.sleep(_ORIGIN_SECONDS)
        swarm.fetch.schedule.origin()

    def _open(self, peer: Peer, swarm: Swarm) -> None:
        if swarm.image in self._apart and peer.member.site == self.membership.own.site:
            peer.close(swarm)
            swarm.left(peer.member.node)
            return
        if peer.member.node not in swarm.answers:
            swarm.expect(peer.member.node)
        peer.open(swarm, self._access.grant(swarm.image))

    async def _tick(self) -> None:
        """Let time pass for the schedules."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            for swarm in self._swarms.values():
                if swarm.fetch and swarm.fetch.schedule.wanted:
                    swarm.fetch.kick()

    async def _renew(self) -> None:
        """Renew the certificate in time."""
        while True:
            await self.membership.renew([seen for seen, _ in self._contacts.seen()])
            await asyncio.sleep(_RENEW_SECONDS)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
