"""What nodes with agents are asked for, and how long their images took.

An agent reports, and is answered with its orders: which peers it has and which images it should hold. Orders are
derived, never stored: what is live or coming on the targets of a site is wanted on the nodes of that site.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import median

from naru.control.bulletin import Bulletin
from naru.control.record import Clock
from naru.control.worlds import Worlds
from naru.domain.distribution import Distribution, Holding, Node, NodeOrders, NodeReport, Order, Peer, Way
from naru.domain.image import Image, Origin
from naru.lab.models.distribution import Burden, Site, estimate
from naru.store import Store

ALIVE = timedelta(seconds=30)
"""How long a node counts as there after its last report."""
FOLLOWED = timedelta(hours=1)
"""How long a distribution may take before nobody looks for its end any more."""
RECHECK_SECONDS = 15.0
ORDERS = "nodes/"
"""The topic of those who wait for orders; no app is called so."""
START_ROUND_TRIPS = 6.0
"""Round trips that a start makes one after the other: manifest, configuration, index, profile, their connections."""


@dataclass(slots=True)
class _Course:
    """A distribution under way, and what its nodes had carried from outside when it began."""

    distribution: Distribution
    carried: dict[str, int]


class Nodes:
    """The nodes that have agents, as agents, rollouts and operators see them."""

    def __init__(self, store: Store, worlds: Worlds, bulletin: Bulletin, clock: Clock) -> None:
        self._store = store.nodes
        self._worlds = worlds
        self._bulletin = bulletin
        self._clock = clock
        self._courses: dict[tuple[str, str], _Course] = {}
        self._heard: dict[str, datetime] = {}

    async def report(self, report: NodeReport) -> NodeOrders:
        """Take a node's report and return its orders."""
        now = self._clock()
        await self._store.put(report, now)
        if now - self._heard.get(report.name, datetime.min.replace(tzinfo=now.tzinfo)) > ALIVE:
            self._bulletin.call(ORDERS)  # its peers hear of it at once
        self._heard[report.name] = now
        await self._note(report.site)
        return await self.orders(report.site, report.name)

    async def orders(self, site: str, name: str) -> NodeOrders:
        """Return what a node of a site is asked for; peers of other sites may have what none of its own has."""
        peers = tuple(
            Peer(node.report.name, node.report.site, node.report.host, node.report.port)
            for node in await self.all()
            if node.alive and node.report.name != name
        )
        ways = {course.distribution.image: course.distribution.way for course in self._courses.values()}
        targets = list(self._worlds)
        near = [target for target in targets if self._worlds.enrolment(target).site == site]
        here = _orders(await self._store.wanted(near), ways)
        anywhere = _orders(await self._store.wanted(targets), ways)
        return NodeOrders(peers, here, tuple(order for order in anywhere if order not in here))

    async def follow(self, site: str, name: str) -> AsyncIterator[NodeOrders]:
        """Yield a node's orders now, and whenever they are others."""
        before: NodeOrders | None = None
        async for _ in self._bulletin.listen(ORDERS, patience=RECHECK_SECONDS):
            orders = await self.orders(site, name)
            if orders != before:
                yield orders
                before = orders

    async def all(self, site: str | None = None) -> Sequence[Node]:
        """List the nodes by name; of one site when `site` is given."""
        oldest = self._clock() - ALIVE
        return [Node(report, seen, seen >= oldest) for report, seen in await self._store.all(site)]

    async def forget(self, name: str) -> None:
        """Forget a node that is gone for good; raise NotFound. One that lives reports again."""
        await self._store.delete(name)
        self._bulletin.call(ORDERS)

    async def distributions(self, limit: int = 50) -> Sequence[Distribution]:
        """List how images went to sites, those that began last first."""
        return await self._store.distributions(limit=limit)

    async def prune(self, before: datetime) -> None:
        """Forget what is older."""
        await self._store.prune(before)

    async def begin(self, rollout: str, app: str, image: Image, target: str) -> Distribution | None:
        """Ask the nodes of the target's site for a registry's image; None without nodes.

        They fetch it from each other, which is the one way that agents go.

        Returns at once: instances may start before the image has come. How long it took is noted as nodes report.
        """
        site = self._worlds.enrolment(target).site
        nodes = [node.report for node in await self.all(site) if node.alive]
        if not nodes or image.origin is not Origin.REGISTRY:
            return None
        expected = estimate(Way.PEERS, *_situation(nodes, image)) if _measured(nodes) else None
        begun = Distribution(rollout, app, image.digest, site, Way.PEERS, len(nodes), self._clock(), expected)
        self._courses[rollout, site] = _Course(begun, {node.name: _outside(node) for node in nodes})
        await self._store.save(begun)
        self._bulletin.call(ORDERS)
        return begun

    async def _note(self, site: str) -> None:
        """Note for each distribution to the site how far it has come."""
        now = self._clock()
        for key, course in list(self._courses.items()):
            before = course.distribution
            if before.site != site:
                continue
            nodes = [node.report for node in await self.all(site) if node.alive and node.report.name in course.carried]
            after = _seen(before, nodes, course.carried, (now - before.begun_at).total_seconds())
            if after != before:
                course.distribution = after
                await self._store.save(after)
            if after.complete is not None or now - before.begun_at > FOLLOWED:
                self._courses.pop(key, None)


def _orders(images: Sequence[Image], ways: Mapping[str, Way]) -> tuple[Order, ...]:
    """Ask for what registries have; stored images go to engines as archives."""
    orders = [
        Order(image.digest, image.reference, ways.get(image.digest, Way.PEERS))
        for image in images
        if image.origin is Origin.REGISTRY
    ]
    return tuple(sorted(orders, key=lambda order: order.image))


def _seen(before: Distribution, nodes: Sequence[NodeReport], carried: dict[str, int], seconds: float) -> Distribution:
    """Say what is known of a distribution once these nodes have reported, `seconds` after it began."""
    holdings = [_holding(node, before.image) for node in nodes]
    ready, complete = before.ready, before.complete
    if ready is None and holdings and all(one is not None and one.ready for one in holdings):
        ready = seconds
    if complete is None and holdings and all(one is not None and one.complete for one in holdings):
        complete = seconds
    egress = sum(max(0, _outside(node) - carried[node.name]) for node in nodes)
    return replace(before, ready=ready, complete=complete, egress=egress)


def _situation(nodes: Sequence[NodeReport], image: Image) -> tuple[Site, Burden]:
    """Return the site and what is to be carried there, as the model sees them.

    The bytes on the wire are taken to be those of the layers: both are compressed contents of the same files.
    """
    missing = [_missing(node, image) for node in nodes]
    lacking = [share for share in missing if share > 0]
    known = [one for node in nodes if (one := _holding(node, image.digest)) and one.hot]
    hot = median(one.hot / one.size for one in known) if known else 1.0
    most, least = max(lacking, default=0.0), min(missing)
    site = Site(
        nodes=len(lacking),
        uplink=max(node.link.outside_rate for node in nodes),
        upload=median(node.link.site_rate or node.link.outside_rate for node in nodes),
        download=median(node.link.site_rate or node.link.outside_rate for node in nodes),
        round_trip=median(node.link.outside_round_trip for node in nodes),
        holders=len(nodes) - len(lacking),
    )
    size = float(image.size)
    burden = Burden(
        missing=most * size,
        hot=most * hot * size,
        absent=least * size,
        absent_hot=least * hot * size,
        round_trips=START_ROUND_TRIPS,
    )
    return site, burden


def _measured(nodes: Sequence[NodeReport]) -> bool:
    return any(node.link.outside_rate > 0 for node in nodes)


def _missing(node: NodeReport, image: Image) -> float:
    holding = _holding(node, image.digest)
    return 1 - holding.present / holding.size if holding and holding.size else 1.0


def _holding(node: NodeReport, image: str) -> Holding | None:
    return next((one for one in node.images if one.image == image), None)


def _outside(node: NodeReport) -> int:
    return node.carried.from_outside + node.carried.from_origin
