"""The agent and the control plane: reports go there, orders come back (naru.client alone knows how).

Whatever the control plane last said stays good while it is away: peers are remembered, images stay.
"""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from naru.agent.exchange.discover import Seen
from naru.agent.exchange.identity import fingerprint
from naru.agent.meter import Meter
from naru.agent.node import Node
from naru.agent.status import Status
from naru.client import Client, connect
from naru.domain.distribution import Carried, Holding, Link, NodeOrders, NodeReport, Order, Refusal
from naru.domain.errors import NaruError

log = logging.getLogger(__name__)

REPORT_SECONDS: Final = 5.0
_MEASURE_SECONDS: Final = 1.0


class Reporter:
    """Reports `node` to its control plane and does what it orders."""

    def __init__(self, node: Node, client: Client, host: str) -> None:
        self._node = node
        self._client = client
        self._host = host
        self._wanted: dict[str, Order] = {}
        self._bringing: dict[str, asyncio.Task[None]] = {}
        self._soon: dict[str, Order] = {}
        self._unweighed: set[str] = set()
        self._weighing: dict[str, asyncio.Task[None]] = {}
        self._outside, self._site = Meter(), Meter()
        self._changed = asyncio.Event()
        self._orders_now = NodeOrders()
        self._ordered = asyncio.Event()
        self._heard = True

    async def run(self) -> None:
        """Report every few seconds, and follow orders, until cancelled; those that were given before a restart too."""
        try:
            self._bring_all(self._node.ordered.last.images)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._report())
                tasks.create_task(self._follow())
                tasks.create_task(self._measure())
                tasks.create_task(self._keep())
        finally:
            under_way = [*self._bringing.values(), *self._weighing.values()]
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _report(self) -> None:
        while True:
            self._changed.clear()
            try:
                self._obey(await self._client.nodes.report(await self._told()))
                self._hear(None)
            except NaruError as error:
                self._hear(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_SECONDS):
                    await self._changed.wait()

    async def _told(self) -> NodeReport:
        told = report(await self._node.status(), self._host, self._port, self._link)
        told = replace(told, unweighed=tuple(sorted(self._unweighed)))
        exchange = self._node.exchange
        if exchange is None:
            return told
        offered = exchange.pins.refused
        refused = tuple(Refusal(one.image, one.node, f"sha256:{one.index.hex()}") for one in offered)
        authority = exchange.membership.authority
        if authority is None:
            return replace(told, refused=refused)
        return replace(
            told,
            refused=refused,
            authority=fingerprint(authority.certificate).hex(),
            spent=authority.spent,
        )

    async def _follow(self) -> None:
        while True:
            try:
                async for orders in self._orders():
                    self._obey(orders)
            except NaruError as error:
                self._hear(error)
            await asyncio.sleep(REPORT_SECONDS)

    def _orders(self) -> AsyncIterator[NodeOrders]:
        return self._client.nodes.orders(self._node.settings.node, self._node.settings.site)

    async def _measure(self) -> None:
        """Watch what comes over the links."""
        exchange, blobs = self._node.exchange, self._node.blobs
        while True:
            now = time.monotonic()
            self._outside.sample(now, blobs.from_origin + (exchange.traffic.outside if exchange else 0))
            self._site.sample(now, exchange.traffic.site if exchange else 0)
            await asyncio.sleep(_MEASURE_SECONDS)

    @property
    def _link(self) -> Link:
        views = self._node.exchange.views() if self._node.exchange else ()
        far = [one.rtt for one in views if one.connected and one.seen.site != self._node.settings.site]
        upload = self._node.settings.upload or 0.0
        return Link(self._outside.rate, self._site.rate, min(far, default=0.0), upload)

    @property
    def _port(self) -> int:
        return self._node.exchange.port if self._node.exchange else 0

    def _obey(self, orders: NodeOrders) -> None:
        """Know the peers, and begin to bring what is wanted and not complete."""
        self._node.told.seen = [Seen(peer.name, peer.site, peer.host, peer.port) for peer in orders.peers if peer.port]
        for order in (*orders.elsewhere, *orders.images):
            self._node.know(order)
        if self._node.exchange:
            self._node.exchange.membership.admit(orders.admissions, orders.expulsions)
        self._bring_all(orders.images)
        self._weigh_all(orders.soon)
        self._orders_now = orders
        self._ordered.set()

    async def _keep(self) -> None:
        """Keep the last orders over a restart."""
        while True:
            await self._ordered.wait()
            self._ordered.clear()
            try:
                await asyncio.to_thread(self._node.ordered.save, self._orders_now)
            except OSError as error:
                log.warning("the orders are not kept over a restart: %s", error)

    def _bring_all(self, orders: Sequence[Order]) -> None:
        """Begin to bring these images, and bring no others any more."""
        before, self._wanted = self._wanted, {order.image: order for order in orders}
        for image in set(self._bringing) - set(self._wanted):
            self._bringing.pop(image).cancel()
        for image, order in self._wanted.items():
            task = self._bringing.get(image)
            if task is None or (task.done() and order != before.get(image)):
                self._bringing[image] = asyncio.create_task(self._bring(image))

    def _weigh_all(self, orders: Sequence[Order]) -> None:
        """Look what is lacking of images that may be wanted next, again when their orders change."""
        before, self._soon = self._soon, {order.image: order for order in orders}
        for image, order in before.items():
            if self._soon.get(image) != order:
                self._weighing.pop(image).cancel()
        self._unweighed &= self._soon.keys()
        for image, order in self._soon.items():
            if image not in self._weighing:
                self._weighing[image] = asyncio.create_task(self._weigh(order))

    async def _weigh(self, order: Order) -> None:
        weighed = False
        try:
            weighed = await self._node.weigh(order)
        except NaruError as error:
            log.info("what is lacking of %s is not known: %s", order.reference, error)
        (self._unweighed.discard if weighed else self._unweighed.add)(order.image)
        self._changed.set()

    async def _bring(self, image: str) -> None:
        """Bring an image, and again when it was ordered otherwise meanwhile."""
        brought: Order | None = None
        while (order := self._wanted.get(image)) and order != brought:
            try:
                await self._node.bring(order)
                log.info("%s is here, as the control plane asked", order.reference)
                brought = order
            except NaruError as error:
                log.warning("%s is wanted and does not come: %s", order.reference, error)
                self._changed.set()
                await asyncio.sleep(REPORT_SECONDS)
        self._changed.set()

    def _hear(self, error: NaruError | None) -> None:
        heard = error is None
        if heard != self._heard:
            if heard:
                log.info("the control plane answers again")
            else:
                log.warning("the control plane does not answer: %s", error)
        self._heard = heard


def report(status: Status, host: str, port: int, link: Link) -> NodeReport:
    """Return what the control plane is told."""
    traffic = status.traffic
    return NodeReport(
        name=status.node,
        site=status.site,
        host=host,
        port=port,
        mode=status.mode,
        version=status.version,
        objects=status.store.objects,
        used=status.store.size,
        budget=status.store.budget or 0,
        shared=status.store.saved,
        images=tuple(
            Holding(one.digest, one.present_size, one.size, one.hot_present, one.hot, one.index)
            for one in status.images
        ),
        carried=Carried(traffic.from_site, traffic.from_outside, traffic.from_origin, traffic.to_peers),
        link=link,
    )


async def reporting(node: Node) -> None:
    """Report to the control plane that the settings name, until cancelled."""
    settings = node.settings
    token = await asyncio.to_thread(_token, settings.token)
    host = settings.host or await asyncio.to_thread(_own_address, settings.server)
    async with connect(settings.server, token) as client:
        await Reporter(node, client, host).run()


def _token(path: Path | None) -> str:
    return path.read_text().strip() if path else ""


def _own_address(server: str) -> str:
    """Return the address from which this machine would reach the control plane."""
    parts = urlsplit(server)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((parts.hostname or "", parts.port or 443))  # sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()
