"""Who joins the agents' cluster, and who is removed from it.

The authority, which signs, is an agent: here tokens are made, and it is told their hashes with its orders. So nothing
that is stored here lets anybody in, and the cluster goes on without us.
"""

import secrets
from collections.abc import Sequence
from datetime import timedelta

from naru.control.bulletin import Bulletin
from naru.control.nodes import ORDERS, Nodes
from naru.control.record import Clock
from naru.domain import names
from naru.domain.account import Subject
from naru.domain.distribution import NodeReport
from naru.domain.errors import Conflict, Invalid, Unavailable
from naru.domain.membership import Invitation, JoinToken, Token
from naru.store import Store

LONGEST = timedelta(days=30)
MOST_USES = 10_000


class Joining:
    """Join tokens, and the removal of nodes."""

    def __init__(self, store: Store, nodes: Nodes, bulletin: Bulletin, clock: Clock) -> None:
        self._store = store
        self._nodes = nodes
        self._bulletin = bulletin
        self._clock = clock

    async def invite(self, lifetime: timedelta, *, node: str = "", uses: int = 1, subject: Subject) -> Invitation:
        """Make a join token for so many nodes, 0 for any number, or for the one of that name.

        Its value is returned here and nowhere else. Raises Unavailable while no agent that holds the cluster's
        authority reports, Conflict when two claim to.
        """
        if not timedelta(0) < lifetime <= LONGEST:
            raise Invalid("a join token is good for a second at least and 30 days at most", "choose another time")
        if not 0 <= uses <= MOST_USES:
            raise Invalid(f"a join token is good for {MOST_USES} nodes at most", "make several, or 0 for any number")
        if node:
            names.label(node, "a node")
        authority = await self._authority()
        token = Token(bytes.fromhex(authority.authority), secrets.token_urlsafe(32))
        now = self._clock()
        kept = JoinToken(secrets.token_hex(4), node, uses, str(subject), now, now + lifetime)
        await self._store.joins.issue(kept, token.hashed)
        await self._tell("join-token", subject, f"made the join token {kept.id}{f' for {node}' if node else ''}")
        return Invitation(kept, str(token), f"{authority.host}:{authority.port}")

    async def tokens(self) -> Sequence[JoinToken]:
        """List the join tokens without their values."""
        return await self._store.joins.tokens()

    async def revoke(self, token: str, *, subject: Subject) -> None:
        """Let nobody in by a token any more; raise NotFound."""
        await self._store.joins.revoke(token)
        await self._tell("join-token", subject, f"revoked the join token {token}")

    async def remove(self, node: str, *, subject: Subject) -> None:
        """Throw a node out: other agents refuse it as soon as the authority hears of this. Raise NotFound."""
        await self._nodes.forget(node)
        await self._store.joins.expel(node, self._clock())
        await self._tell("node", subject, f"removed the node {node}")

    async def _authority(self) -> NodeReport:
        claims = [node.report for node in await self._nodes.all() if node.alive and node.report.authority]
        if not claims:
            raise Unavailable(
                "no agent reports that holds the authority of the agents' cluster",
                "start the one with NARU_AGENT_AUTHORITY=yes, and let it report here: NARU_URL, NARU_AGENT_TOKEN_FILE",
            )
        if len({claim.authority for claim in claims}) > 1:
            who = ", ".join(claim.name for claim in claims)
            raise Conflict(f"several agents say that they hold the cluster's authority: {who}", "leave it to one")
        return claims[0]

    async def _tell(self, kind: str, subject: Subject, text: str) -> None:
        await self._store.journal.append(self._clock(), "", kind, str(subject), text)
        self._bulletin.call(ORDERS)
