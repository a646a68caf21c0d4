"""This node's place in the cluster: its certificate, renewed in time, and whom it takes for a member.

Whoever holds a certificate that the authority revoked is refused, and cut off where it is connected. The list of those
goes to everybody on every connection, at its start and when it changes, so it does not need the authority to spread.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from ssl import SSLContext

from naru.agent.exchange.authority import Authority
from naru.agent.exchange.channel import Channel
from naru.agent.exchange.discover import Seen
from naru.agent.exchange.frames import Enrol, Enrolled, Hello, Refused, Revoked
from naru.agent.exchange.identity import Identity, Member
from naru.agent.exchange.join import enrolled, renew
from naru.agent.exchange.revocations import Revocations
from naru.domain.errors import Forbidden, NaruError, NotFound
from naru.domain.membership import Admission, Expulsion

_LOG = logging.getLogger(__name__)


class Membership:
    """See the module. With `authority` this node lets others in and out."""

    def __init__(self, identity: Identity, authority: Authority | None) -> None:
        self.identity = identity
        self.authority = authority
        self.server: SSLContext = identity.server()
        """How this node accepts connections."""
        self._revoked = Revocations(
            identity.directory / "revoked.crl", (identity.directory / "authority.pem").read_bytes()
        )
        self._channels: set[Channel] = set()
        if authority and authority.revoked:
            self._revoked.take(authority.revoked)

    @property
    def own(self) -> Member:
        """This node, as its certificate names it."""
        return self.identity.member

    async def greet(self, channel: Channel, port: int) -> Hello:
        """Introduce this node to one that was connected to; raise Forbidden when that is not, or no more, a member."""
        self._check(channel)
        return await channel.greet(Hello(self.own.node, self.own.site, port), self.own)

    def trusted(self, channel: Channel, hello: Hello) -> Member:
        """Return who has connected; raise Forbidden when that is not, or no more, a member."""
        self._check(channel)
        return channel.trusted(hello, self.own)

    @contextmanager
    def among(self, channel: Channel) -> Iterator[None]:
        """Tell a member of the revoked, and hear of them, while this lasts; cut it off when it is one."""
        channel.revoked = self.hear
        self._channels.add(channel)
        if self._revoked.encoded:
            channel.write(Revoked(self._revoked.encoded))
        try:
            yield
        finally:
            self._channels.discard(channel)

    def hear(self, encoded: bytes) -> None:
        """Take a list of the revoked: pass a new one on, and cut off whom it names. Raise Invalid for a forgery."""
        if not self._revoked.take(encoded):
            return
        for channel in list(self._channels):
            if channel.serial in self._revoked:
                _LOG.warning("%s is no member any more, and is cut off", channel.name)
                channel.abort()
            else:
                channel.write(Revoked(encoded))

    def answer(self, channel: Channel, asked: Enrol) -> Enrolled | Refused:
        """Answer a node that asks for a certificate, where this node holds the authority."""
        if not asked.secret and channel.serial in self._revoked:
            return Refused(_gone(channel))
        return enrolled(self.authority, channel, asked, datetime.now(UTC))

    def admit(self, admissions: Iterable[Admission], expulsions: Iterable[Expulsion]) -> None:
        """Let nodes in and out as the control plane says, where this node holds the authority."""
        if self.authority:
            # First out: who was removed may have been asked in again since.
            if self.authority.expel(expulsions, datetime.now(UTC)) and self.authority.revoked:
                self.hear(self.authority.revoked)
            self.authority.admit(admissions)

    def revoke(self, node: str) -> None:
        """Throw a node out; raise NotFound when there is none, or the authority is elsewhere."""
        if self.authority is None:
            raise NotFound("this agent does not hold the cluster's authority", "ask the one that does")
        self.authority.revoke(node, datetime.now(UTC))
        self.hear(self.authority.revoked)

    async def renew(self, known: Iterable[Seen]) -> None:
        """Renew this node's certificate, where that is due, at whichever agent can."""
        if not self.identity.due(datetime.now(UTC)):
            return
        for seen in known:
            try:
                self.identity = await renew(self.identity, seen.host, seen.port)
            except NaruError as error:
                _LOG.debug("%s renews no certificate: %s", seen.node, error)
                continue
            self.identity.present(self.server)
            return
        _LOG.warning("nobody renews this node's certificate, which is good until %s", self.identity.until)

    def _check(self, channel: Channel) -> None:
        if channel.serial in self._revoked:
            raise Forbidden(_gone(channel), "join again with a token for its name")


def _gone(channel: Channel) -> str:
    return f"{channel.name} was removed from the cluster"
