"""From the reference that an operator wrote to the digest that runs."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from naru.domain.account import Credentials
from naru.domain.errors import Unavailable
from naru.domain.image import Image, Platform
from naru.engines.base import Engine
from naru.oci.layout import ImageStore
from naru.oci.reference import Reference
from naru.oci.registry import RegistryClient

FindLogin = Callable[[str], Awaitable[Credentials | None]]


class Resolver:
    """Looks a reference up where its bytes can come from, the surest place first.

    1. Naru's own image store, for what was loaded as an archive.
    2. The engine, for what was built on it and never came from a registry.
    3. The registry that the reference names. Its answer is never replaced by an older copy: a tag may have moved.
    """

    def __init__(self, images: ImageStore, registry: RegistryClient, login: FindLogin) -> None:
        self._images = images
        self._registry = registry
        self._login = login

    async def resolve(self, reference: str, engine: Engine, platform: Platform) -> Image:
        """Return the image for the platform.

        Raises Invalid for a malformed reference or a platform that the image does not exist for, NotFound,
        Forbidden, and Unavailable when the registry does not answer.
        """
        parsed = Reference.parse(reference)
        stored = await self._images.resolve(parsed, platform)
        if stored:
            return stored
        built = await engine.find(str(parsed))
        if built:
            return replace(built, reference=str(parsed))
        try:
            return await self._registry.resolve(parsed, platform, await self._login(parsed.domain))
        except Unavailable as error:
            raise Unavailable(
                error.cause,
                f"{error.mend}; or load the image with: naru image load FILE".removeprefix("; "),
                retry_after=error.retry_after,
            ) from error
