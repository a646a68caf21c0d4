"""The typed HTTP client of our API, for the command line, the agent and the monitor.

It mirrors what the control plane offers, group by group, speaks in domain words and raises the domain's errors. It
knows nothing of terminals, configuration files or engines.
"""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address

import httpx

from naru.client import wire
from naru.client.accounts import Accounts
from naru.client.apps import Apps
from naru.client.comparisons import Comparisons
from naru.client.fleet import Fleet
from naru.client.images import Images
from naru.client.nodes import Nodes
from naru.client.transport import Transport
from naru.client.vault import Vault
from naru.domain.choice import Choice
from naru.domain.errors import Invalid
from naru.domain.target import Target
from naru.domain.workload import Workload

__all__ = ["Accounts", "Apps", "Client", "Comparisons", "Fleet", "Images", "Nodes", "Transport", "Vault", "connect"]


class Client:
    """The server, as its operators see it."""

    def __init__(self, transport: Transport) -> None:
        self._http = transport
        self.apps = Apps(transport)
        self.fleet = Fleet(transport)
        self.comparisons = Comparisons(transport)
        self.images = Images(transport)
        self.accounts = Accounts(transport)
        self.vault = Vault(transport)
        self.nodes = Nodes(transport)

    async def targets(self) -> Sequence[Target]:
        """Return where instances can run."""
        return (await self._http.get("targets", wire.Page[Target])).items

    async def choose(self, workload: Workload) -> Choice:
        """Say where a workload would run, and why; nothing is deployed."""
        return await self._http.write("POST", "choices", Choice, workload)


@asynccontextmanager
async def connect(url: str, token: str = "") -> AsyncIterator[Client]:
    """Open a client of the server at `url`, signed in by an API token; nothing is sent yet.

    Raises Invalid for a URL that is no http or https address.
    """
    address = _address(url)
    async with httpx.AsyncClient(
        base_url=address.copy_with(path=f"{address.path.rstrip('/')}/api/v1/"),
        headers={"Authorization": f"Bearer {token}"} if token else {},
        timeout=httpx.Timeout(30, connect=10),
        verify=_trust(address),
        # A proxy of the environment is for other machines; few set NO_PROXY for their own.
        trust_env=not _is_loopback(address.host),
    ) as http:
        yield Client(Transport(http))


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Invalid(f"{url!r} is no address: {error}", "write it as https://naru.example.org") from error
    if address.scheme not in {"http", "https"} or not address.host:
        raise Invalid(f"{url!r} is no address of a server", "write it as https://naru.example.org")
    return address


def _trust(address: httpx.URL) -> ssl.SSLContext:
    """Return whom to trust: the machine's authorities; none, which is quicker to make, where TLS is not spoken."""
    return ssl.create_default_context() if address.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
