"""Images over HTTP: load archives, list and remove."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import BinaryIO

from naru.client import wire
from naru.client.transport import Transport
from naru.domain.image import Image

CHUNK = 1024 * 1024


class Images:
    """The client's side of Naru's own image store."""

    def __init__(self, transport: Transport) -> None:
        self._http = transport

    async def load(
        self, archive: BinaryIO, *, name: str = "", told: Callable[[int], object] = lambda _: None
    ) -> Sequence[Image]:
        """Send an archive (`docker save` or OCI layout) piece by piece and return the images that it held.

        `name` is the reference of an image whose archive holds none. `told` is called with the number of bytes taken
        so far, the last time when all of them are.
        """
        return (await self._http.upload("images", wire.Page[Image], _chunks(archive, told), {"name": name})).items

    async def images(self) -> Sequence[Image]:
        """Return the images that are stored."""
        return (await self._http.get("images", wire.Page[Image])).items

    async def remove(self, reference: str) -> None:
        """Forget an image."""
        await self._http.delete("images", {"reference": reference})


async def _chunks(archive: BinaryIO, told: Callable[[int], object]) -> AsyncIterator[bytes]:
    sent = 0
    while chunk := await asyncio.to_thread(archive.read, CHUNK):
        yield chunk
        sent += len(chunk)
        told(sent)
