"""A node without peers: whatever it lacks comes from the registry, image by image."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from naru.agent.exchange.pieces import Pieces
from naru.agent.images import Images
from naru.agent.index.index import Index
from naru.agent.objects import ObjectStore
from naru.agent.source import Priority, Source


class Supply(Source, Protocol):
    """Gives objects, and the indexes that list them."""

    async def known(self, image: str) -> Index | None:
        """Return the index of an image if it is here or somebody has it; it may not be in the store yet."""

    async def index(self, image: str) -> Index:
        """Return the index of an image, by its manifest's digest or its chain ID; it is in the store then.

        Raises NotFound when nobody knows it, Unavailable when nobody answers.
        """


class Alone:
    """Supplies from registries alone."""

    def __init__(self, store: ObjectStore, images: Images) -> None:
        self._store = store
        self._images = images

    async def known(self, image: str) -> Index | None:
        """Return an image's index from the store."""
        return await asyncio.to_thread(self._store.index, image)

    async def index(self, image: str) -> Index:
        """Return an image's index from the store, else derive it."""
        return await asyncio.to_thread(self._store.index, image) or await self._images.derive(image)

    async def fetch(self, index: Index, digests: Sequence[bytes], priority: Priority) -> None:
        """Bring objects; those that are lacking come with their whole image."""
        del priority
        if await asyncio.to_thread(self._store.missing, digests):
            await self._images.derive(index.image)

    async def fetch_pieces(self, index: Index, numbers: Sequence[int], priority: Priority) -> None:
        """Bring the objects that these are pieces of, with their whole image."""
        pieces = Pieces(index)
        await self.fetch(index, [pieces.piece(number).object.digest for number in numbers], priority)

    async def read(self, index: Index, digest: bytes, offset: int, length: int) -> bytes:
        """Return bytes of an object, when it is whole."""
        await self.fetch(index, [digest], Priority.DEMAND)
        return (await asyncio.to_thread(self._store.read, digest))[offset : offset + length]
