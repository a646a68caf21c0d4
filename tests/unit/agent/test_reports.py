"""The agent and a control plane that is a list of orders."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from threading import Event
from types import SimpleNamespace

import pytest
from tests.unit.agent.test_agent_settings import STATUS

from naru.agent.exchange.discover import StaticPeers
from naru.agent.reports import Reporter
from naru.agent.settings import agent_settings
from naru.agent.status import Status
from naru.domain.distribution import NodeOrders, NodeReport, Order, Peer
from naru.domain.errors import NotFound, Unavailable

SHOP = Order(f"sha256:{'a' * 64}", "example.org/shop:1")


@dataclass
class FakeOrdered:
    """A disk with the orders of before."""

    last: NodeOrders = field(default_factory=NodeOrders)
    saved: Event = field(default_factory=Event)

    def save(self, orders: NodeOrders) -> None:
        self.last = orders
        self.saved.set()


@dataclass
class FakeNode:
    """A node that notes what it is to bring."""

    told: StaticPeers = field(default_factory=StaticPeers)
    exchange: None = None
    blobs: object = field(default_factory=lambda: SimpleNamespace(from_origin=0))
    brought: list[Order] = field(default_factory=list)
    settings: object = field(default_factory=lambda: agent_settings({"NARU_AGENT_NODE": "one"}))
    known: list[Order] = field(default_factory=list)
    lacks: bool = False
    weighed: list[Order] = field(default_factory=list)
    ordered: "FakeOrdered" = field(default_factory=lambda: FakeOrdered())

    async def status(self) -> Status:
        return replace(STATUS, node="one")

    def know(self, order: Order) -> None:
        self.known.append(order)

    async def weigh(self, order: Order) -> bool:
        self.weighed.append(order)
        return not self.lacks

    async def bring(self, order: Order) -> None:
        self.brought.append(order)
        if self.lacks:
            raise NotFound("nobody has it")


@dataclass
class FakeNodes:
    """A control plane: answers reports and follows with more orders."""

    orders_now: NodeOrders = field(default_factory=NodeOrders)
    later: list[NodeOrders] = field(default_factory=list)
    reports: list[NodeReport] = field(default_factory=list)
    away: bool = False
    after: NodeOrders | None = None

    @property
    def nodes(self) -> "FakeNodes":
        return self

    async def report(self, report: NodeReport) -> NodeOrders:
        self.reports.append(report)
        if self.away:
            raise Unavailable("it is away")
        answer, self.orders_now = self.orders_now, self.after or self.orders_now
        return answer

    async def orders(self, name: str, site: str) -> AsyncIterator[NodeOrders]:
        if self.away:
            raise Unavailable("it is away")
        for one in self.later:
            await asyncio.sleep(0)
            yield one
        await asyncio.Event().wait()


async def ran(node: FakeNode, nodes: FakeNodes) -> None:
    """Run a reporter until nothing more happens."""
    running = asyncio.create_task(Reporter(node, nodes, "10.0.0.1").run())
    for _ in range(50):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_an_image_that_is_ordered_is_brought_once():
    node, nodes = FakeNode(), FakeNodes(NodeOrders(images=(SHOP,)), [NodeOrders(images=(SHOP,))])

    await ran(node, nodes)

    assert node.brought == [SHOP]
    assert len(nodes.reports) == 2  # the second says at once that it is here
    assert nodes.reports[0].host == "10.0.0.1"


async def test_an_image_of_another_site_is_known_by_its_name_and_not_brought():
    node, nodes = FakeNode(), FakeNodes(NodeOrders(elsewhere=(SHOP,)))

    await ran(node, nodes)

    assert (set(node.known), node.brought) == ({SHOP}, [])


async def test_peers_are_those_that_were_named_last():
    first, second = Peer("two", "home", "10.0.0.2", 7071), Peer("three", "far", "10.0.0.3", 7071)
    mute = Peer("four", "far", "10.0.0.4", 0)
    node, nodes = FakeNode(), FakeNodes(NodeOrders(peers=(first,)), [NodeOrders(peers=(second, mute))])

    await ran(node, nodes)

    assert [(seen.node, seen.host) for seen in node.told.seen] == [("three", "10.0.0.3")]


async def test_a_control_plane_that_is_away_changes_nothing():
    node, nodes = FakeNode(), FakeNodes(away=True)
    node.told.seen = ["as before"]

    await ran(node, nodes)

    assert node.told.seen == ["as before"]


async def test_an_image_that_nobody_has_ends_nothing():
    node, nodes = FakeNode(lacks=True), FakeNodes(NodeOrders(images=(SHOP,)))

    await ran(node, nodes)

    assert node.brought == [SHOP]


async def test_an_order_that_changes_is_followed_again():
    named = replace(SHOP, index=f"sha256:{'b' * 64}")
    node, nodes = FakeNode(), FakeNodes(NodeOrders(images=(SHOP,)), [NodeOrders(images=(named,))])
    nodes.after = NodeOrders(images=(named,))

    await ran(node, nodes)

    assert node.brought == [SHOP, named]
    assert named in node.known


async def test_what_was_ordered_before_a_restart_is_brought_while_the_control_plane_is_away():
    node, nodes = FakeNode(ordered=FakeOrdered(NodeOrders(images=(SHOP,)))), FakeNodes(away=True)

    await ran(node, nodes)

    assert node.brought == [SHOP]


async def test_the_last_orders_are_kept():
    node, nodes = FakeNode(), FakeNodes(NodeOrders(images=(SHOP,)))

    running = asyncio.create_task(Reporter(node, nodes, "10.0.0.1").run())
    assert await asyncio.to_thread(node.ordered.saved.wait, 20)
    running.cancel()

    assert node.ordered.last.images == (SHOP,)


async def test_an_image_that_may_come_is_weighed_again_only_when_more_is_known_of_it():
    named = replace(SHOP, index=f"sha256:{'1' * 64}")
    node = FakeNode()
    nodes = FakeNodes(NodeOrders(soon=(SHOP,)), [NodeOrders(soon=(SHOP,)), NodeOrders(soon=(named,))])
    nodes.after = NodeOrders(soon=(named,))

    await ran(node, nodes)

    assert (node.weighed.count(named), node.brought) == (1, [])
    assert node.weighed.count(SHOP) <= 1


async def test_an_image_of_which_nobody_has_an_index_is_told():
    node, nodes = FakeNode(lacks=True), FakeNodes(NodeOrders(soon=(SHOP,)))

    await ran(node, nodes)

    assert [told.unweighed for told in nodes.reports] == [(), (SHOP.image,)]
