"""Images over HTTP: load archives, list and remove."""

from collections.abc import AsyncIterator, Sequence

from naru.client import wire
from naru.client.transport import Transport
from naru.domain.image import Image


class Images:
    """The client's side of Naru's own image store."""

    def __init__(self, transport: Transport) -> None:
        self._http = transport

    async def load(self, chunks: AsyncIterator[bytes]) -> Sequence[Image]:
        """Send an archive (`docker save` or OCI layout) as its bytes come and return the images that it held."""
        return (await self._http.upload("images", wire.Page[Image], chunks)).items

    async def images(self) -> Sequence[Image]:
        """Return the images that are stored."""
        return (await self._http.get("images", wire.Page[Image])).items

    async def remove(self, reference: str) -> None:
        """Forget an image."""
        await self._http.delete("images", {"reference": reference})
