"""How a node comes by an image's index, so that a site asks outside, or derives it, once."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from naru.agent.exchange.frames import Document
from naru.agent.exchange.identity import Member
from naru.agent.exchange.leads import lead
from naru.agent.exchange.orders import Rules
from naru.agent.exchange.origin import Origin
from naru.agent.exchange.peer import Peer
from naru.agent.exchange.pins import Pins
from naru.agent.exchange.swarm import Swarm
from naru.agent.index.index import Index
from naru.agent.objects import ObjectStore
from naru.domain.errors import Invalid, NaruError, NotFound, Unavailable

_LOG = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.25
_ALONE_SECONDS: Final = 2.0
LONGEST_PROFILE: Final = 1 << 20


class Profiles(Protocol):
    """Keeps start-up profiles, encoded, by image."""

    def load(self, image: str) -> bytes | None:
        """Return an image's profile, if there is one."""

    def save(self, image: str, profile: bytes) -> None:
        """Keep an image's profile that came from a peer."""


@dataclass(frozen=True, slots=True)
class Found:
    """An index, the profile that came with it, and whether this node derived it."""

    index: Index
    profile: bytes | None = None
    derived: bool = False


async def find_known(
    swarm: Swarm, own: Member, peers: Mapping[str, Peer], rules: Rules, pins: Pins, pinned: bytes | None
) -> Found | None:
    """Return an image's index from an agent that has it; nobody gets or derives it for this.

    Only the lead asks outside, so that a site does once.
    """
    quest = _Quest(swarm, own, peers, pins, pinned)
    await quest.heard(rules.grace)
    for node in quest.holders(mates=True):
        if found := await quest.get(node, relay=False):
            return found
    for node in quest.holders(mates=False) if quest.leader() == own.node else ():
        if found := await quest.get(node, relay=False):
            return found
    return None


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
    await quest.heard(rules.grace)
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


class Quests:
    """The indexes that this node looks for, each once however many ask; `derived` hears of what the origin gave."""

    def __init__(
        self,
        store: ObjectStore,
        profiles: Profiles | None,
        own: Member,
        peers: Mapping[str, Peer],
        origin: Origin | None,
        rules: Rules,
        pins: Pins,
        derived: Callable[[], None],
    ) -> None:
        self._store = store
        self._profiles = profiles
        self._own = own
        self._peers = peers
        self._origin = origin
        self._rules = rules
        self._pins = pins
        self._derived = derived
        self._unsaved: dict[str, Found] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._saving: dict[str, asyncio.Task[None]] = {}

    async def known(self, swarm: Swarm, pinned: bytes | None) -> Index | None:
        """Return the index if the right one is here or an agent has it; it may not be saved yet."""
        await self._sought(swarm, pinned, derive=False)
        index = swarm.index
        return index if index is None or pinned in (None, index.digest) else None

    async def index(self, swarm: Swarm, pinned: bytes | None) -> Index:
        """Return the index, saved; raise NotFound, Unavailable, and Invalid when it is not the one that is pinned."""
        await self._sought(swarm, pinned, derive=True)
        while found := self._unsaved.get(swarm.image):
            await asyncio.shield(self._saved(found))
        if swarm.index is None:
            raise NotFound(f"the index of {swarm.image} came and is gone again", "ask for it once more")
        self._pins.check(swarm.index, self._own.node, pinned)
        return swarm.index

    async def close(self) -> None:
        """End them."""
        ending = [*self._under_way.values(), *self._saving.values()]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _sought(self, swarm: Swarm, pinned: bytes | None, *, derive: bool) -> None:
        while swarm.index is None:
            joined = self._under_way.get(swarm.image)
            task = joined or _kept(self._under_way, swarm.image, self._seek(swarm, pinned, derive=derive))
            await asyncio.shield(task)
            if joined is None:
                return

    async def _seek(self, swarm: Swarm, pinned: bytes | None, *, derive: bool) -> None:
        try:
            if derive:
                found = await find_index(swarm, self._own, self._peers, self._origin, self._rules, self._pins, pinned)
            elif (
                known := await find_known(swarm, self._own, self._peers, self._rules, self._pins, pinned)
            ) is not None:
                found = known
            else:
                return
        except NaruError:
            swarm.unknown()
            raise
        if found.derived:
            self._derived()
        if found.profile is not None and self._profiles is not None:
            await asyncio.to_thread(self._profiles.save, swarm.image, found.profile)
        # A disk takes its time to be sure of something; what a start touches may begin to come meanwhile.
        self._unsaved[swarm.image] = found
        self._saved(found)
        await swarm.indexed(found.index, self._store)

    def _saved(self, found: Found) -> asyncio.Task[None]:
        """Return the one task that saves what was found."""
        image = found.index.image
        return self._saving.get(image) or _kept(self._saving, image, self._save(found))

    async def _save(self, found: Found) -> None:
        await asyncio.to_thread(self._store.save_index, found.index)
        self._unsaved.pop(found.index.image, None)


def _kept(
    tasks: dict[str, asyncio.Task[None]], image: str, work: Coroutine[object, object, None]
) -> asyncio.Task[None]:
    """Run work and keep it among `tasks` until it ends."""
    task = tasks[image] = asyncio.ensure_future(work)

    def ended(task: asyncio.Task[None]) -> None:
        tasks.pop(image, None)
        if not task.cancelled():
            task.exception()  # whoever waits gets it, and perhaps nobody does any more

    task.add_done_callback(ended)
    return task


class _Quest:
    def __init__(self, swarm: Swarm, own: Member, peers: Mapping[str, Peer], pins: Pins, pinned: bytes | None) -> None:
        self.failed: set[str] = set()
        self.unsure = False
        self._swarm = swarm
        self._own = own
        self._peers = peers
        self._pins = pins
        self._pinned = pinned

    async def heard(self, grace: float) -> None:
        """Wait until all who are connected have answered, at most so many seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + grace
        while not self._swarm.settled and loop.time() < until:
            await self.change(until - loop.time())

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
