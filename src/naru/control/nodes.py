"""What nodes with agents are asked for, and how long their images took.

An agent reports, and is answered with its orders: which peers it has and which images it should hold. Orders are
derived, never stored: what is live or coming on the targets of a site is wanted on the nodes of that site.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from naru.control.bulletin import Bulletin
from naru.control.distribute import from_outside, over, plan, seen, tells, way_of
from naru.control.record import Clock
from naru.control.worlds import Worlds
from naru.domain.distribution import Course, Distribution, Node, NodeOrders, NodeReport, Order, Peer, Refusal, Way
from naru.domain.errors import Forbidden
from naru.domain.image import Image, Origin
from naru.store import Store
from naru.store.nodes import Wanted

log = logging.getLogger(__name__)

ALIVE = timedelta(seconds=30)
"""How long a node counts as there after its last report."""
RECHECK_SECONDS = 15.0
TELL_SECONDS = 3.0
"""How long a distribution waits at most until nodes say what they have of its image already."""
_LOOK_SECONDS = 0.1
ORDERS = "nodes/"
"""The topic of those who wait for orders; no app is called so."""
_MOST_TOLD = 1000


class Nodes:
    """The nodes that have agents, as agents, rollouts and operators see them."""

    def __init__(self, store: Store, worlds: Worlds, bulletin: Bulletin, clock: Clock) -> None:
        self._store = store.nodes
        self._joins = store.joins
        self._journal = store.journal
        self._worlds = worlds
        self._bulletin = bulletin
        self._clock = clock
        self._heard: dict[str, datetime] = {}
        self._told: dict[tuple[str, Refusal], None] = {}

    async def report(self, report: NodeReport) -> NodeOrders:
        """Take a node's report and return its orders; raise Forbidden when it was removed."""
        now = self._clock()
        await self.welcome(report.name)
        if report.spent:
            await self._joins.spend(report.spent)
        await self._store.put(report, now)
        if now - self._heard.get(report.name, datetime.min.replace(tzinfo=now.tzinfo)) > ALIVE:
            self._bulletin.call(ORDERS)  # its peers hear of it at once
        self._heard[report.name] = now
        wanted = await self._store.wanted(list(self._worlds))
        if await self._check(report, wanted):
            wanted = await self._store.wanted(list(self._worlds))
        await self._note(report.site)
        return await self._orders(report.site, report.name, wanted)

    async def welcome(self, name: str) -> None:
        """Raise Forbidden for a node that was removed and not asked in again."""
        if await self._joins.expelled(name):
            raise Forbidden(f"the node {name} was removed", "let it join again with a token for its name")

    async def orders(self, site: str, name: str) -> NodeOrders:
        """Return what a node of a site is asked for; peers of other sites may have what none of its own has."""
        return await self._orders(site, name, await self._store.wanted(list(self._worlds)))

    async def _orders(self, site: str, name: str, wanted: Sequence[Wanted]) -> NodeOrders:
        nodes = {node.report.name: node for node in await self.all()}
        peers = tuple(
            Peer(node.report.name, node.report.site, node.report.host, node.report.port)
            for node in nodes.values()
            if node.alive and node.report.name != name
        )
        near = [one for one in wanted if self._worlds.enrolment(one.target).site == site]
        courses = {course.distribution.image: course for course in await self._store.courses(site)}
        waiting = {image for image, course in courses.items() if course.waits(name)}

        own = nodes[name].report if name in nodes else None

        def way(image: str) -> Way:
            return way_of(courses[image], own) if image in courses else Way.PEERS

        here = _orders((one for one in near if one.begun and one.image.digest not in waiting), way)
        named = {order.image for order in here}
        orders = NodeOrders(
            peers,
            here,
            elsewhere=_orders((one for one in wanted if one.image.digest not in named), way),
            soon=_orders((one for one in near if not one.begun and one.image.digest not in named), way),
        )
        if own is None or not own.authority:
            return orders
        far = _orders((one for one in wanted if not one.begun and one.image.digest not in named), way)
        orders = replace(orders, soon=far)
        return replace(
            orders,
            admissions=tuple(await self._joins.admissions(self._clock())),
            expulsions=tuple(await self._joins.expulsions()),
        )

    async def follow(self, site: str, name: str) -> AsyncIterator[NodeOrders]:
        """Yield a node's orders now, and whenever they are others, until it is removed."""
        before: NodeOrders | None = None
        async for _ in self._bulletin.listen(ORDERS, patience=RECHECK_SECONDS):
            if await self._joins.expelled(name):
                return
            orders = await self.orders(site, name)
            if orders != before:
                yield orders
                before = orders

    async def all(self, site: str | None = None) -> Sequence[Node]:
        """List the nodes by name; of one site when `site` is given."""
        oldest = self._clock() - ALIVE
        return [Node(report, seen, seen >= oldest) for report, seen in await self._store.all(site)]

    async def forget(self, name: str) -> None:
        """Forget what a node reported; raise NotFound."""
        await self._store.delete(name)
        self._bulletin.call(ORDERS)

    async def distributions(self, limit: int = 50, *, rollout: str = "") -> Sequence[Distribution]:
        """List how images went to sites, those that began last first; of one rollout when it is given."""
        return await self._store.distributions(limit=limit, rollout=rollout)

    async def prune(self, before: datetime) -> None:
        """Forget what is older."""
        await self._store.prune(before)
        await self._joins.prune(self._clock(), before)

    async def begin(self, rollout: str, app: str, image: Image, target: str) -> Distribution | None:
        """Ask the nodes of the target's site for a registry's image, by the way that suits them.

        None for an image that no registry has. Returns without waiting for it: instances may start before the image
        has come. How long it took is noted as nodes report, and by `fetched` where no node has an agent: there the
        engine alone fetches.
        """
        if image.origin is not Origin.REGISTRY:
            return None
        site = self._worlds.enrolment(target).site
        nodes = await self._telling(site, image)
        begun = Distribution(rollout, app, image.digest, site, Way.DIRECT, len(nodes), self._clock())
        if nodes:
            chosen = plan(nodes, image)
            begun = replace(
                begun,
                way=chosen.way,
                estimate=next(iter(chosen.estimates), None),
                alternatives=chosen.estimates[1:],
                waves=tuple(map(len, chosen.waves)),
            )
            carried = {node.name: from_outside(node) for node in nodes}
            await self._store.begin(Course(begun, chosen.waves, carried))
            self._bulletin.call(ORDERS)
        return begun

    async def fetched(self, distribution: Distribution) -> None:
        """Note that the engine has an image which nobody but it fetched."""
        seconds = (self._clock() - distribution.begun_at).total_seconds()
        if not distribution.nodes:
            await self._store.save(replace(distribution, ready=seconds, complete=seconds))

    async def _telling(self, site: str, image: Image) -> Sequence[NodeReport]:
        """Return the living nodes of a site, as soon as they say what they have of an image that they are asked about.

        That takes a moment where it can be had, and is given no more.
        """
        self._bulletin.call(ORDERS)
        with suppress(TimeoutError):
            async with asyncio.timeout(TELL_SECONDS):
                while True:
                    everywhere = [node.report for node in await self.all() if node.alive]
                    nodes = [node for node in everywhere if node.site == site]
                    if not tells(nodes, everywhere, image.digest):
                        return nodes
                    await asyncio.sleep(_LOOK_SECONDS)
        return [node.report for node in await self.all(site) if node.alive]

    async def _note(self, site: str) -> None:
        """Note for each distribution to the site how far it has come, and begin the waves that are due."""
        now = self._clock()
        courses = await self._store.courses(site)
        if not courses:
            return
        nodes = [node.report for node in await self.all(site) if node.alive]

        def after(course: Course) -> Course:
            return seen(course, nodes, now)

        for course in courses:
            ahead = after(course)
            if over(ahead, now):
                await self._store.end(ahead)
            elif ahead != course:
                await self._store.advance(course.distribution.rollout, site, after)
            if ahead.begun != course.begun:
                self._bulletin.call(ORDERS)

    async def _check(self, report: NodeReport, wanted: Sequence[Wanted]) -> bool:
        """Let releases name the index that a node is the first to have, and tell of every other that agents met.

        True when a release names one that named none before.
        """
        held = {one.image: one.index for one in report.images if one.index}
        refused = [*report.refused]
        pinned = False
        named = {one.image.digest: one.index for one in wanted if one.index}
        for image, index in held.items():
            releases = [one for one in wanted if one.image.digest == image and one.release and not one.index]
            if releases:
                await self._store.pin(releases, named.get(image, index))
                self._bulletin.call(ORDERS)
                pinned = True
            if image in named and named[image] != index:
                refused.append(Refusal(image, report.name, index))
        for refusal in refused:
            apps = {one.app for one in wanted if one.image.digest == refusal.image}
            await self._tell(report.name, refusal, sorted(apps))
        return pinned

    async def _tell(self, by: str, refusal: Refusal, apps: Sequence[str]) -> None:
        """Write of an index that is not the named one into the journals of its apps, once."""
        if (by, refusal) in self._told:
            return
        self._told[by, refusal] = None
        if len(self._told) > _MOST_TOLD:
            self._told.pop(next(iter(self._told)))
        who = f"{by} refused it" if by != refusal.node else "it is asked no more for this image"
        text = f"{refusal.node} has the index {refusal.index[:19]}… of {refusal.image[:19]}…, not the release's: {who}"
        log.warning("%s", text)
        for app in apps:
            await self._journal.append(self._clock(), app, "index-refused", refusal.node, text)
            self._bulletin.tell(app)


def _orders(wanted: Iterable[Wanted], way: Callable[[str], Way]) -> tuple[Order, ...]:
    """Ask for what registries have, each image once; stored images go to engines as archives."""
    orders: dict[str, Order] = {}
    for one in wanted:
        image = one.image
        if image.origin is Origin.REGISTRY and not (image.digest in orders and orders[image.digest].index):
            orders[image.digest] = Order(image.digest, image.reference, way(image.digest), one.index)
    return tuple(sorted(orders.values(), key=lambda order: order.image))
