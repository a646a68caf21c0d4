"""One node's agent, running: what it is asked and told.

What the kernel or the node's membership does not allow is left out and said so in `status`: without lazy root file
systems the snapshotter unpacks, without a certificate everything comes from registries.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from naru.agent.adopt import adopt
from naru.agent.alone import Supply
from naru.agent.calm import Calm
from naru.agent.census import Census
from naru.agent.exchange.discover import StaticPeers
from naru.agent.exchange.exchange import Exchange
from naru.agent.images import Images, Named, this_platform
from naru.agent.index.index import Index
from naru.agent.mirror.blobs import Blobs
from naru.agent.mount.roots import Roots
from naru.agent.objects import ObjectStore
from naru.agent.ordered import Ordered
from naru.agent.profile import Profiles
from naru.agent.settings import AgentSettings
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
from naru.domain.errors import NotFound, Unavailable
from naru.oci.reference import Digest, Reference

log = logging.getLogger(__name__)

UNPACKED: Final = "unpacked"
"""The mode of a node without lazy root file systems."""


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
    calm: Calm
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
            index = await self.supply.index(order.image)
            self.calm.expect(order.image)
            await self._bring(index)
            return
        reference = Reference.parse(order.reference)
        inspected = await self.images.inspect(reference, Digest.parse(order.image))
        for layer in inspected.manifest.layers:
            await self.blobs.fetch(reference, layer.digest, alone=apart)

    async def _bring(self, index: Index) -> None:
        """Bring all files of an image: those first that a start touches."""
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
