"""Nodes with agents over HTTP: reports go there, orders come back."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from naru.client import wire
from naru.client.transport import Transport
from naru.domain.distribution import Distribution, Node, NodeOrders, NodeReport
from naru.domain.membership import Invitation, JoinToken


@dataclass(frozen=True, slots=True)
class _JoinTokenAsk:
    hours: float
    node: str
    uses: int


class Nodes:
    """The client's side of the nodes."""

    def __init__(self, transport: Transport) -> None:
        self._http = transport

    async def report(self, report: NodeReport) -> NodeOrders:
        """Report a node and return its orders."""
        return await self._http.write("PUT", f"nodes/{quote(report.name, safe='')}", NodeOrders, report)

    def orders(self, name: str, site: str) -> AsyncIterator[NodeOrders]:
        """Yield the node's orders at once and at each change, through lost connections."""

        async def connect() -> AsyncIterator[NodeOrders]:
            async for event in self._http.stream(f"nodes/{quote(name, safe='')}/orders", {"site": site}):
                yield wire.parse(NodeOrders, event.data)

        return self._http.persistent(connect)

    async def all(self) -> Sequence[Node]:
        """Return the nodes that have an agent."""
        return (await self._http.get("nodes", wire.Page[Node])).items

    async def remove(self, name: str) -> None:
        """Remove a node for good."""
        await self._http.delete(f"nodes/{quote(name, safe='')}")

    async def invite(self, hours: float = 1.0, *, node: str = "", uses: int = 1) -> Invitation:
        """Make a join token and return it with its value, which is told only now."""
        return await self._http.create("join-tokens", Invitation, _JoinTokenAsk(hours, node, uses))

    async def join_tokens(self) -> Sequence[JoinToken]:
        """Return the join tokens without their values."""
        return (await self._http.get("join-tokens", wire.Page[JoinToken])).items

    async def revoke_join_token(self, token: str) -> None:
        """End a join token by its id."""
        await self._http.delete(f"join-tokens/{quote(token, safe='')}")

    async def distributions(self, limit: int = 50) -> Sequence[Distribution]:
        """Return how images went to sites, those that began last first."""
        return (await self._http.get("distributions", wire.Page[Distribution], {"limit": limit})).items
