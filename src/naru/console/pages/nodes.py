"""How images reach nodes: who has what, how long it took, and who joins."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from http import HTTPStatus

from starlette.responses import Response

from naru.console.desk import Visit
from naru.domain.errors import Invalid, NaruError, http_status
from naru.domain.membership import Invitation

LIFETIMES = (1, 8, 24, 168)
"""Hours for which a join token may be good."""


async def index(visit: Visit) -> Response:
    """List the nodes with what they have and carried, the last distributions, and the join tokens."""
    return await _page(visit)


async def invite(visit: Visit) -> Response:
    """Make a join token and show its value this once."""
    form = await visit.form()
    node, hours, uses = (str(form.get(key, "")).strip() for key in ("node", "hours", "uses"))
    try:
        if not hours.isdecimal() or int(hours) not in LIFETIMES or not uses.isdecimal():
            raise Invalid("a join token needs hours and a number of nodes", "choose them from the form")
        made = await visit.platform.joining.invite(
            timedelta(hours=int(hours)), node=node, uses=1 if node else int(uses), subject=visit.subject
        )
    except NaruError as error:
        return await _page(visit, error)
    return await _page(visit, made=made)


async def uninvite(visit: Visit) -> Response:
    """Let nobody in by a join token any more."""
    token = str((await visit.form()).get("id", ""))
    return await _done(visit, visit.platform.joining.revoke(token, subject=visit.subject), "join-token-revoked")


async def remove(visit: Visit) -> Response:
    """Remove a node for good."""
    removing = visit.platform.joining.remove(visit.path("node"), subject=visit.subject)
    return await _done(visit, removing, "node-removed")


async def _done(visit: Visit, work: Awaitable[object], notice: str) -> Response:
    try:
        await work
    except NaruError as error:
        return await _page(visit, error)
    return visit.go(f"/nodes?notice={notice}")


async def _page(visit: Visit, error: NaruError | None = None, made: Invitation | None = None) -> Response:
    nodes, courses, tokens = await asyncio.gather(
        visit.platform.nodes.all(), visit.platform.nodes.distributions(limit=20), visit.platform.joining.tokens()
    )
    return visit.page(
        "nodes.html",
        http_status(error) if error else HTTPStatus.OK,
        nodes=nodes,
        distributions=courses,
        tokens=tokens,
        lifetimes=LIFETIMES,
        made=made,
        error=error,
    )
