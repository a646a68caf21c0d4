"""The images that were loaded as archives."""

from collections.abc import AsyncIterator, Sequence

from naru.control.record import Clock
from naru.domain.account import Subject
from naru.domain.errors import Conflict
from naru.domain.image import Image
from naru.oci.layout import ImageStore
from naru.oci.reference import Reference
from naru.store import Store


class Images:
    """Loads, lists and removes them."""

    def __init__(self, images: ImageStore, store: Store, clock: Clock) -> None:
        self._images = images
        self._store = store
        self._clock = clock

    async def load(self, chunks: AsyncIterator[bytes], *, name: str = "", subject: Subject) -> Sequence[Image]:
        """Store every image of a `docker save` or OCI archive, all or none; `name` names an archive's only image."""
        loaded = await self._images.load(chunks, name=Reference.parse(name) if name else None)
        for image in loaded:
            await self._tell("image", subject, f"loaded {image.reference}, {image.digest}")
        return loaded

    async def images(self) -> Sequence[Image]:
        """List the loaded images by name."""
        return await self._images.images()

    async def remove(self, reference: str, *, subject: Subject) -> None:
        """Remove an image; raise Conflict while a live release needs it."""
        parsed = Reference.parse(reference)
        for live in await self._store.releases.live():
            if live.image.reference == str(parsed):
                raise Conflict(f"{live.app} runs {parsed.familiar}", f"remove {live.app}, or update it, first")
        await self._images.remove(parsed)
        await self._tell("image", subject, f"removed {parsed.familiar}")

    async def _tell(self, kind: str, subject: Subject, text: str) -> None:
        await self._store.journal.append(self._clock(), "", kind, str(subject), text)
