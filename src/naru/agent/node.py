"""One node's agent: its parts, opened in order, wired to each other, closed in reverse.

What the kernel or the node's membership does not allow is left out and said so in `status`: without lazy root file
systems the snapshotter unpacks, without a certificate everything comes from registries.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from naru.agent.adopt import adopt
from naru.agent.alone import Alone, Supply
from naru.agent.census import Census
from naru.agent.exchange.authority import Authority
from naru.agent.exchange.discover import Discovery, Multicast, Remembered, StaticPeers
from naru.agent.exchange.exchange import Exchange
from naru.agent.exchange.identity import Identity
from naru.agent.exchange.join import found
from naru.agent.http import serving
from naru.agent.images import Images, Named, NamedBlob, this_platform
from naru.agent.index.index import Index
from naru.agent.introduced import Introduced
from naru.agent.logins import Logins
from naru.agent.mirror.application import mirror
from naru.agent.mirror.blobs import Blobs
from naru.agent.mirror.manifests import Manifests
from naru.agent.mirror.upstream import Upstream
from naru.agent.mount import support
from naru.agent.mount.roots import Roots
from naru.agent.objects import ObjectStore
from naru.agent.ordered import Ordered
from naru.agent.profile import Profiles
from naru.agent.roots import ImageRoots
from naru.agent.scrub import scrub_daily
from naru.agent.settings import AgentSettings
from naru.agent.snapshotter import roots as snapshotter_roots
from naru.agent.snapshotter import service
from naru.agent.snapshotter.roots import NoRoots
from naru.agent.snapshotter.snapshotter import Snapshotter
from naru.agent.source import Priority
from naru.agent.status import (
    Collected,
    ImageStatus,
    PeerStatus,
    Prefetched,
    Status,
    StoreStatus,
    Taken,
    TrafficStatus,
    Verified,
)
from naru.domain.distribution import Order, Way
from naru.domain.errors import NaruError, NotFound, Unavailable
from naru.oci.exchange import Exchange as RegistryExchange
from naru.oci.reference import Digest, Reference

log = logging.getLogger(__name__)

CLUSTER: Final = "naru"
UNPACKED: Final = "unpacked"
"""The mode of a node without lazy root file systems."""
_SYNC_SECONDS: Final = 5.0
_MOST_WAITS: Final = 12
"""While more and more arrives, it is made durable after so many times that span."""


@dataclass(frozen=True, slots=True)
class Node:
    """A running agent."""

    settings: AgentSettings
    store: ObjectStore
    images: Images
    blobs: Blobs
    profiles: Profiles
    supply: Supply
    exchange: Exchange | None
    roots: Roots | None
    lacking: tuple[str, ...]
    snapshotter: Snapshotter | None
    mirror: str
    cluster: str
    told: StaticPeers
    """The peers that the control plane names."""
    census: Census
    ordered: Ordered

    async def prefetch(self, name: str) -> Prefetched:
        """Bring all files of an image, in the background of what containers wait for; raise what hinders it."""
        inspected = await self.images.resolve(Reference.parse(name), this_platform())
        index = await self.supply.index(inspected.image.digest)
        lacking = set(await asyncio.to_thread(self.store.missing, [one.digest for one in index.objects]))
        await self._bring(index)
        fetched = sum(one.size for one in index.objects if one.digest in lacking)
        return Prefetched(index.image, len(index.objects), index.size, fetched)

    def know(self, order: Order) -> None:
        """Remember an image's name, under its manifest's digest, and the only index of it that is right.

        Peers may ask this node to derive its index.
        """
        self.images.name(order.image, Named(Reference.parse(order.reference), Digest.parse(order.image)))
        if self.exchange and order.index:
            self.exchange.pins.name(order.image, bytes.fromhex(Digest.parse(order.index).hex))

    async def bring(self, order: Order) -> None:
        """Bring an image of which the manifest's digest is known: its files, or its layers where engines unpack.

        The direct way asks nobody of this site, unless nobody else can give it.
        """
        self.know(order)
        if order.way is not Way.DIRECT:
            await self._bring_by(order, apart=False)
            return
        try:
            await self._bring_by(order, apart=True)
        except (NotFound, Unavailable) as error:
            log.info("%s does not come from outside: %s", order.reference, error)
            await self._bring_by(order, apart=False)

    async def weigh(self, order: Order) -> bool:
        """Get an image's index, so that reports say what is lacking of it; False when nobody has it.

        Who holds the authority derives it.
        """
        self.know(order)
        if self.roots is None:
            return False
        if self.settings.authority:
            await self.supply.index(order.image)
            return True
        known = await self.supply.known(order.image)
        if known is not None:
            await asyncio.to_thread(self.store.save_index, known)
        return known is not None

    async def _bring_by(self, order: Order, *, apart: bool) -> None:
        if self.exchange:
            self.exchange.apart(order.image, apart=apart)
        if self.roots is not None:
            await self._bring(await self.supply.index(order.image))
            return
        reference = Reference.parse(order.reference)
        inspected = await self.images.inspect(reference, Digest.parse(order.image))
        for layer in inspected.manifest.layers:
            await self.blobs.fetch(reference, layer.digest, alone=apart)

    async def _bring(self, index: Index) -> None:
        """Bring all files of an image, those first that a start touches."""
        if profile := await asyncio.to_thread(self.profiles.find, index):
            await self.supply.fetch_pieces(index, profile.pieces(index), Priority.PROFILE)
        await self.supply.fetch(index, [one.digest for one in index.objects], Priority.BACKGROUND)

    async def collect(self) -> Collected:
        """Free the objects that no image lists, and the images that nothing runs."""
        images = await asyncio.to_thread(self.store.indexes)
        freed = await asyncio.to_thread(self.store.gc, ())
        await self._refresh(images)
        return Collected(freed.objects, freed.size)

    async def scrub(self) -> Verified:
        """Read every file again, and drop what has rotted."""
        read = await asyncio.to_thread(self.store.scrub)
        await self.rotted()
        return Verified(read.objects, read.size, len(read.rotten))

    def revoke(self, node: str) -> None:
        """Throw a node out of the cluster; raise NotFound when there is none, or the authority is elsewhere."""
        if self.exchange is None:
            raise NotFound("this node has joined no cluster", "ask the one that holds the authority")
        self.exchange.membership.revoke(node)

    async def adopt(self, name: str, root: Path) -> Taken:
        """Take an image's files from a directory where an engine has unpacked it, or something like it."""
        inspected = await self.images.resolve(Reference.parse(name), this_platform())
        index = await self.supply.index(inspected.image.digest)
        taken = await asyncio.to_thread(adopt, self.store, index, root)
        await self._refresh([index.image])
        return Taken(taken.objects, taken.size)

    async def rotted(self) -> None:
        """Let other agents know that files went which had rotted."""
        await self._refresh(await asyncio.to_thread(self.store.indexes))

    async def _refresh(self, images: Sequence[str]) -> None:
        """Let other agents know that objects came or went."""
        if self.exchange:
            for image in images:
                await self.exchange.refresh(image)

    async def status(self) -> Status:
        """Tell how the agent is."""
        usage = await asyncio.to_thread(self.store.usage)
        traffic = self.exchange.traffic if self.exchange else None
        return Status(
            version=version("naru"),
            node=self.settings.node,
            site=self.settings.site,
            cluster=self.cluster,
            mode=self.roots.mode.value if self.roots else UNPACKED,
            lacking=self.lacking,
            snapshots=len(await self.snapshotter.find()) if self.snapshotter else 0,
            mirror=self.mirror,
            store=StoreStatus(usage.objects, usage.size, usage.saved, usage.pinned, usage.budget),
            traffic=TrafficStatus(
                from_site=traffic.site if traffic else 0,
                from_outside=traffic.outside if traffic else 0,
                from_origin=self.blobs.from_origin,
                to_peers=traffic.sent if traffic else 0,
                to_engines=self.blobs.served,
            ),
            images=await asyncio.to_thread(lambda: tuple(self._images())),
            peers=tuple(self._peers()),
        )

    def _images(self) -> list[ImageStatus]:
        pins = self.store.pins()
        return [
            ImageStatus(
                image,
                self.images.reference(image),
                count.objects,
                count.present,
                count.size,
                count.present_size,
                count.hot,
                count.hot_present,
                pins.get(image, ()),
                count.index,
            )
            for image, count in self.census.take().items()
        ]

    def _peers(self) -> list[PeerStatus]:
        views = self.exchange.views() if self.exchange else ()
        return [
            PeerStatus(
                view.seen.node,
                view.seen.site,
                f"{view.seen.host}:{view.seen.port}",
                view.connected,
                view.rtt,
                view.received,
                view.fault,
            )
            for view in views
        ]


@asynccontextmanager
async def node(settings: AgentSettings, tasks: asyncio.TaskGroup) -> AsyncIterator[Node]:
    """Open an agent; it answers containerd and engines until the end of the context.

    Containers live on after it: their mounts stay, and readers of missing files wait for the next agent.
    """
    beside: set[asyncio.Task[None]] = set()

    def start(work: Coroutine[None, None, None]) -> None:
        task = tasks.create_task(work)
        beside.add(task)
        task.add_done_callback(beside.discard)

    async with AsyncExitStack() as stack:
        store = await asyncio.to_thread(ObjectStore, settings.state / "store", budget=settings.budget)
        stack.push_async_callback(asyncio.to_thread, store.close)
        registries = RegistryExchange(insecure=settings.insecure_registries)
        stack.push_async_callback(registries.close)
        door = f"{settings.mirror[0]}:{settings.mirror[1]}" if settings.mirror else ""
        upstream = Upstream(
            registries, settings.registries, Logins(settings.logins).of, mirror=door, default=settings.upstream
        )
        blobs = Blobs(store, upstream)
        stack.push_async_callback(blobs.close)
        manifests = await asyncio.to_thread(Manifests, settings.state / "manifests", upstream, store)
        images = Images(store, manifests, blobs, upstream, derives=settings.origin)
        profiles = await asyncio.to_thread(Profiles, settings.state / "profiles")
        told = StaticPeers()
        exchange, cluster = await _exchange(settings, store, images, profiles, told, stack)
        supply: Supply = exchange or Alone(store, images)
        if exchange:
            manifests.share(exchange)
            blobs.share(exchange, lambda of, digest: images.name(str(digest), NamedBlob(of, digest)))
        roots, lacking = await _roots(settings, store, supply, stack)
        stack.push_async_callback(_end, beside)
        snapshotter = None
        if settings.snapshotter:
            offered: snapshotter_roots.Roots = NoRoots()
            if roots is not None:
                offered = ImageRoots(
                    store,
                    images,
                    supply,
                    roots,
                    profiles,
                    start,
                    patience=settings.patience,
                    complete=settings.complete,
                    record=settings.record,
                )
            snapshotter = await asyncio.to_thread(Snapshotter, settings.state / "snapshotter", offered)
            stack.callback(snapshotter.close)
            await snapshotter.recover()
            await stack.enter_async_context(service.serving(snapshotter, settings.snapshots))
        address = ""
        if settings.mirror:
            served = mirror(blobs, manifests, upstream, settings.upstream)
            port = await stack.enter_async_context(serving(served, settings.mirror))
            address = f"http://{settings.mirror[0]}:{port}"
        start(_keep_durable(store))
        opened = Node(
            settings,
            store,
            images,
            blobs,
            profiles,
            supply,
            exchange,
            roots,
            lacking,
            snapshotter,
            address,
            cluster,
            told,
            Census(store, profiles),
            await asyncio.to_thread(Ordered, settings.state / "orders.json"),
        )
        for order in (*opened.ordered.last.elsewhere, *opened.ordered.last.images):
            opened.know(order)
        start(scrub_daily(store, opened.rotted))
        yield opened


async def _exchange(
    settings: AgentSettings,
    store: ObjectStore,
    images: Images,
    profiles: Profiles,
    told: StaticPeers,
    stack: AsyncExitStack,
) -> tuple[Exchange | None, str]:
    """Open the exchange of a node that has joined a cluster, or that holds the authority of one."""
    authority = await asyncio.to_thread(_authority, settings) if settings.authority else None
    try:
        identity = await asyncio.to_thread(Identity.load, settings.identity)
    except NotFound:
        if authority is None:
            log.warning("this node has joined no cluster: files come from registries alone; see naru agent join")
            return None, ""
        identity = await asyncio.to_thread(found, settings.identity, authority, settings.node, settings.site)
    sources: list[Discovery] = [told]
    if settings.peers:
        sources.append(Introduced(identity, settings.peers))
    if settings.multicast:
        announcing = Multicast(identity.member, settings.listen[1], time.monotonic)
        sources.append(await stack.enter_async_context(announcing))
    exchange = Exchange(
        store,
        identity,
        discovery=Remembered(settings.state / "peers.json", *sources),
        origin=images if settings.origin else None,
        profiles=profiles,
        host=settings.listen[0],
        port=settings.listen[1],
        upload=settings.upload,
        authority=authority,
    )
    return await stack.enter_async_context(exchange), identity.member.cluster


def _authority(settings: AgentSettings) -> Authority:
    home: Path = settings.authority_home
    try:
        return Authority.open(home)
    except NotFound:
        return Authority.create(home, CLUSTER, datetime.now(UTC))


async def _roots(
    settings: AgentSettings, store: ObjectStore, supply: Supply, stack: AsyncExitStack
) -> tuple[Roots | None, tuple[str, ...]]:
    """Open lazy root file systems in the best mode; say what is lacking for a better one."""
    abilities = await asyncio.to_thread(support.probe, store.root)
    told = (abilities.data_only, abilities.fuse, abilities.passthrough)
    lacking = tuple(reason for reason in told if reason)
    if not settings.snapshotter:
        return None, lacking
    try:
        roots = await Roots.open(store, supply, settings.roots, mode=settings.mode)
    except Unavailable as error:
        log.warning("%s", error)
        return None, lacking or (str(error),)
    stack.push_async_callback(roots.close)
    log.info("root file systems are mounted in the mode %s", roots.mode)
    return roots, lacking


async def _keep_durable(store: ObjectStore) -> None:
    """Make what arrived durable once nothing more arrives: the disk's work would hold up a start."""
    before = waited = 0
    while True:
        await asyncio.sleep(_SYNC_SECONDS)
        waiting = store.pending
        waited = waited + 1 if waiting else 0
        if not waiting or (waiting != before and waited < _MOST_WAITS):
            before = waiting
            continue
        before = waited = 0
        try:
            await asyncio.to_thread(store.sync)
        except NaruError as error:
            log.warning("objects are not on the disk yet: %s", error)


async def _end(beside: set[asyncio.Task[None]]) -> None:
    for task in list(beside):
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*beside, return_exceptions=True)
