"""A node's agent made of its settings: its parts, opened in order, wired to each other, closed in reverse."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from naru.agent.alone import Alone, Supply
from naru.agent.calm import Calm
from naru.agent.census import Census
from naru.agent.durable import keep_durable
from naru.agent.exchange.authority import Authority
from naru.agent.exchange.discover import Discovery, Multicast, Remembered, StaticPeers
from naru.agent.exchange.exchange import Exchange
from naru.agent.exchange.identity import Identity
from naru.agent.exchange.join import found
from naru.agent.http import serving
from naru.agent.images import Images, NamedBlob
from naru.agent.introduced import Introduced
from naru.agent.logins import Logins
from naru.agent.mirror.application import mirror
from naru.agent.mirror.blobs import Blobs
from naru.agent.mirror.manifests import Manifests
from naru.agent.mirror.upstream import Upstream
from naru.agent.mount import support
from naru.agent.mount.roots import Roots
from naru.agent.node import Node
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
from naru.domain.errors import NotFound, Unavailable
from naru.oci.exchange import Exchange as RegistryExchange

log = logging.getLogger(__name__)

CLUSTER: Final = "naru"


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
        store = await asyncio.to_thread(ObjectStore, settings.state / "store", budget=settings.stored)
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
        told, calm = StaticPeers(), Calm()
        exchange, cluster = await _exchange(settings, store, images, profiles, told, calm, stack)
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
                    calm,
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
        start(keep_durable(store, calm))
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
            calm,
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
    calm: Calm,
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
        calm=calm,
        packed=settings.packed,
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


async def _end(beside: set[asyncio.Task[None]]) -> None:
    for task in list(beside):
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*beside, return_exceptions=True)
