"""The last resort: the registry itself."""

from typing import Protocol

from naru.agent.index.index import Index


class Origin(Protocol):
    """Gets whole images from where they come from."""

    async def derive(self, image: str) -> Index:
        """Bring all objects of an image into the store, and return its index.

        Raises NotFound when the registry lacks the image, Forbidden when this node may not have it, Unavailable when
        the registry does not answer.
        """
