"""How a node gets its certificate, and a new one in time."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

from naru.agent.exchange.authority import Authority
from naru.agent.exchange.channel import CONNECT_SECONDS, Channel, connect, within
from naru.agent.exchange.frames import Enrol, Enrolled, Refused
from naru.agent.exchange.identity import Identity, ask, fingerprint
from naru.domain.errors import Forbidden, Invalid, NaruError, NotFound
from naru.domain.membership import Token


async def join(directory: Path, node: str, site: str, host: str, port: int, token: Token) -> Identity:
    """Join the cluster through an agent that holds its authority; raise Forbidden when the token does not fit.

    The secret is sent only after the other side has proved that it is whom the token names.
    """
    authority = (await _enrol(host, port, _anyone(), Enrol("", site, b""))).authority
    if not token.pins(fingerprint(authority)):
        raise Forbidden(f"{host} belongs to another cluster than the token", "check the address and the token")
    proved = ssl.create_default_context(cadata=authority.decode())
    proved.check_hostname = False
    key, request = ask(node)
    answer = await _enrol(host, port, proved, Enrol(token.secret, site, request))
    return Identity.save(directory, key, answer.certificate, authority)


async def renew(identity: Identity, host: str, port: int) -> Identity:
    """Get a new certificate for the one that is still good."""
    key, request = ask(identity.member.node)
    answer = await _enrol(host, port, identity.client(), Enrol("", identity.member.site, request))
    return Identity.save(identity.directory, key, answer.certificate, answer.authority)


def found(directory: Path, authority: Authority, node: str, site: str) -> Identity:
    """Make the identity of the node that holds the authority itself."""
    now = datetime.now(UTC)
    key, request = ask(node)
    certificate = authority.enrol(authority.token(now, node=node).secret, site, request, now)
    return Identity.save(directory, key, certificate, authority.certificate)


def enrolled(authority: Authority | None, channel: Channel, asked: Enrol, now: datetime) -> Enrolled | Refused:
    """Answer a node that asks for a certificate."""
    try:
        if authority is None:
            raise NotFound("this agent does not hold the cluster's authority", "ask the one that does")
        if not asked.request:
            return Enrolled(b"", authority.certificate)
        if asked.secret:
            certificate = authority.enrol(asked.secret, asked.site, asked.request, now)
        elif channel.member:
            certificate = authority.renew(channel.member, asked.request, now)
        else:
            raise Forbidden("neither a token nor a certificate came with the request", "join with a token")
        return Enrolled(certificate, authority.certificate)
    except NaruError as error:
        return Refused(str(error))


async def _enrol(host: str, port: int, context: ssl.SSLContext, asked: Enrol) -> Enrolled:
    channel = await connect(host, port, context)
    try:
        channel.write(asked)
        match await within(channel.read(), CONNECT_SECONDS, f"{host} says nothing"):
            case Enrolled() as answer:
                return answer
            case Refused(cause):
                raise Forbidden(f"{host} refuses: {cause}")
            case _:
                raise Invalid(f"{host} answers something else", "run the same version on all nodes")
    finally:
        await channel.close()


def _anyone() -> ssl.SSLContext:
    """Trust nobody yet: good for asking the authority's certificate, which the token verifies, and for nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
