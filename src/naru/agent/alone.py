"""A node without peers: whatever it lacks comes from the registry, image by image."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from naru.agent.images import Images
from naru.agent.index.index import Index
from naru.agent.objects import ObjectStore
from naru.agent.source import Priority, Source


class Supply(Source, Protocol):
    """Gives objects, and the indexes that list them."""

    async def index(self, image: str) -> Index:
        """Return the index of an image, by its manifest's digest or its chain ID.

        Raises NotFound when nobody knows it, Unavailable when nobody answers.
        """


class Alone:
    """Supplies from registries alone."""

    def __init__(self, store: ObjectStore, images: Images) -> None:
        self._store = store
        self._images = images

    async def index(self, image: str) -> Index:
        """Return an image's index from the store, else derive it."""
        return await asyncio.to_thread(self._store.index, image) or await self._images.derive(image)

    async def fetch(self, index: Index, digests: Sequence[bytes], priority: Priority) -> None:
        """Bring objects; those that are lacking come with their whole image."""
        del priority
        if await asyncio.to_thread(self._store.missing, digests):
            await self._images.derive(index.image)

    async def read(self, index: Index, digest: bytes, offset: int, length: int) -> bytes:
        """Return bytes of an object, when it is whole."""
        await self.fetch(index, [digest], Priority.DEMAND)
        return (await asyncio.to_thread(self._store.read, digest))[offset : offset + length]
