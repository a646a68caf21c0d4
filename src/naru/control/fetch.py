"""The image of a release comes to the target: from its registry, or from what was uploaded."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from naru.control.distribute import described
from naru.control.nodes import Nodes
from naru.control.record import Record
from naru.control.world import World
from naru.domain.account import Credentials
from naru.domain.errors import NotFound
from naru.domain.image import Image, Origin
from naru.domain.rollout import LayerProgress
from naru.oci.layout import ImageStore


@dataclass(frozen=True, slots=True)
class Fetching:
    """Has the engine of `world` hold an image, and says to the record how far it is."""

    images: ImageStore
    nodes: Nodes
    credentials: Callable[[Image], Awaitable[Credentials | None]]
    world: World
    record: Record

    async def run(self, image: Image) -> str:
        """Fetch the image, and say in one line what was fetched."""
        name = self.world.engine.name
        begun = await self.nodes.begin(self.record.rollout.id, self.record.app, image, name)
        if image.origin is Origin.STORED:
            layers = await self._send(image)
        else:
            credentials = await self.credentials(image) if image.origin is Origin.REGISTRY else None
            layers = await self._fetched(self.world.engine.fetch(image, credentials=credentials))
        nothing = f"nothing to fetch: {name} holds the image, or pulls it at the start"
        outcome = f"layers fetched: {layers}" if layers else nothing
        if not begun:
            return outcome
        await self.nodes.fetched(begun)
        return f"{outcome}; {described(begun)}"

    async def _send(self, image: Image) -> int:
        """Send a stored image to an engine that does not hold it; packing it takes a while, so ask first."""
        engine = self.world.engine
        try:
            return await self._fetched(engine.fetch(image))
        except NotFound:
            async with self.images.export(image) as archive:
                return await self._fetched(engine.fetch(image, archive=archive))

    async def _fetched(self, reports: AsyncIterator[Sequence[LayerProgress]]) -> int:
        layers = 0
        async for progress in reports:
            layers = len(progress)
            await self.record.progress(progress)
        return layers
