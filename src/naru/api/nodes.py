"""Nodes with agents: what they report, what they are asked for, and how images went to them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import Response

from naru.api.answers import Page, document, page
from naru.api.apps import Limit
from naru.api.identity import By, Naru
from naru.api.route import Route
from naru.api.streams import Message, stream
from naru.domain.distribution import Distribution, Node, NodeOrders, NodeReport
from naru.domain.errors import Invalid
from naru.domain.membership import Invitation, JoinToken

router = APIRouter(route_class=Route, tags=["nodes"])
"""A report replaces the one before, so it needs no key to be sent again."""


@dataclass(frozen=True, slots=True)
class JoinTokenAsk:
    """How long a join token is to be good, for how many nodes (0 for any number), or for the one of that name."""

    hours: float = 1.0
    node: str = ""
    uses: int = 1


@router.get("/nodes", response_model=Page[Node])
async def list_nodes(request: Request, naru: Naru, by: By) -> Response:
    """List the nodes that have an agent."""
    nodes = await naru.nodes.all()
    return page(request, Node, nodes, len(nodes) + 1)


@router.put("/nodes/{node}", response_model=NodeOrders)
async def report_node(request: Request, naru: Naru, by: By, node: str, report: NodeReport) -> Response:
    """Take an agent's report, and answer with its orders."""
    if report.name != node:
        raise Invalid(f"the report is of {report.name}, not of {node}", "send it to its own address")
    return document(request, NodeOrders, await naru.nodes.report(report))


@router.get("/nodes/{node}/orders")
async def follow_orders(naru: Naru, by: By, node: str, site: str) -> Response:
    """Stream what a node of a site is asked for, at once and at each change, as events named `orders`."""
    await naru.nodes.welcome(node)

    async def messages() -> AsyncIterator[Message]:
        async for orders in naru.nodes.follow(site, node):
            yield Message("orders", NodeOrders, orders)

    return stream(messages())


@router.delete("/nodes/{node}", status_code=HTTPStatus.NO_CONTENT)
async def remove_node(naru: Naru, by: By, node: str) -> Response:
    """Remove a node for good: other agents refuse it from now on."""
    await naru.joining.remove(node, subject=by)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.get("/join-tokens", response_model=Page[JoinToken])
async def list_join_tokens(request: Request, naru: Naru, by: By) -> Response:
    """List the join tokens of the agents' cluster without their values."""
    tokens = await naru.joining.tokens()
    return page(request, JoinToken, tokens, len(tokens) + 1)


@router.post("/join-tokens", status_code=HTTPStatus.CREATED, response_model=Invitation)
async def create_join_token(request: Request, naru: Naru, by: By, ask: JoinTokenAsk) -> Response:
    """Make a token that lets nodes join the agents' cluster; its value is shown this once."""
    made = await naru.joining.invite(timedelta(hours=ask.hours), node=ask.node, uses=ask.uses, subject=by)
    return document(request, Invitation, made, status=HTTPStatus.CREATED)


@router.delete("/join-tokens/{token}", status_code=HTTPStatus.NO_CONTENT)
async def revoke_join_token(naru: Naru, by: By, token: str) -> Response:
    """Let nobody in by a join token any more, by its id."""
    await naru.joining.revoke(token, subject=by)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.get("/distributions", response_model=Page[Distribution])
async def list_distributions(request: Request, naru: Naru, by: By, limit: Limit = 50) -> Response:
    """List how images went to sites, those that began last first."""
    found = await naru.nodes.distributions(limit)
    return page(request, Distribution, found, len(found) + 1)
