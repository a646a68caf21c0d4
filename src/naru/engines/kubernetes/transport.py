"""How requests reach an API server: with the kubeconfig's certificates, and with patience when it is busy."""

import asyncio

import httpx2
from lightkube.config import client_adapter
from lightkube.core.exceptions import ConfigError

from naru.domain.errors import Invalid
from naru.engines.kubernetes.access import Access

TRIES = 4
"""How often a request is made that the API server puts off."""
LONGEST_WAIT = 5.0
"""Seconds between two of them, whatever the API server says."""


def transport(access: Access) -> "Patient":
    """Open the way to a cluster; raises Invalid when its certificates cannot be used."""
    config = access.config
    assert config.user is not None  # noqa: S101 - see access
    try:
        verify = client_adapter.verify_cluster(config.cluster, config.user, config.abs_file)
    except (OSError, ValueError, ConfigError) as error:
        mend = "see whether the files that it names are there, and what they hold"
        raise Invalid(f"the certificates of the kubeconfig cannot be used ({error})", mend) from error
    return Patient(httpx2.AsyncHTTPTransport(verify=verify, limits=httpx2.Limits(max_connections=32)))


class Patient(httpx2.AsyncBaseTransport):
    """Asks again when the API server says that there are too many requests, as long as it says."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; 429 was not carried out, so sending it again is safe."""
        for _ in range(TRIES - 1):
            response = await self._inner.handle_async_request(request)
            if response.status_code != 429:
                return response
            await response.aclose()
            said = response.headers.get("Retry-After", "1")
            await asyncio.sleep(min(float(said) if said.isdecimal() else 1.0, LONGEST_WAIT))
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close what is below."""
        await self._inner.aclose()
