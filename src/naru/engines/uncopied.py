"""Engines that cannot read and write what volumes hold."""

from collections.abc import AsyncIterator, Sequence

from naru.domain.errors import Conflict
from naru.domain.release import Release
from naru.engines.base import Stored


class Uncopied:
    """Implements Volumes by refusing."""

    name: str

    async def volumes(self, app: str) -> Sequence[Stored]:
        """See Volumes."""
        raise self._refusal(app)

    def pack(self, release: Release, volume: str) -> AsyncIterator[bytes]:
        """See Volumes."""
        raise self._refusal(release.app)

    async def unpack(self, release: Release, volume: str, archive: AsyncIterator[bytes]) -> None:
        """See Volumes."""
        raise self._refusal(release.app)

    def _refusal(self, app: str) -> Conflict:
        return Conflict(f"{self.name} cannot copy the volumes of {app}", "copy its data by the engine's own means")
