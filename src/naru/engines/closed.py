"""An engine that could not be opened: every question is answered with the reason."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from naru.domain.account import Credentials
from naru.domain.errors import NaruError, Unavailable
from naru.domain.image import Image
from naru.domain.instance import ExecResult, Instance, LogLine, Usage
from naru.domain.release import Release
from naru.domain.rollout import LayerProgress
from naru.domain.target import Target
from naru.engines.base import Change, Stored


class Closed:
    """Implements OpenEngine by raising Unavailable for `reason`, whatever is asked."""

    def __init__(self, name: str, reason: NaruError) -> None:
        self.name = name
        self._reason = Unavailable(reason.cause, reason.mend)

    async def describe(self) -> Target:
        """See Engine."""
        raise self._reason

    async def find(self, reference: str) -> Image | None:
        """See Engine."""
        raise self._reason

    def fetch(
        self, image: Image, *, credentials: Credentials | None = None, archive: Path | None = None
    ) -> AsyncIterator[Sequence[LayerProgress]]:
        """See Engine."""
        raise self._reason

    async def apply(
        self, release: Release, replicas: int, *, secrets: Mapping[str, bytes], retire: Collection[str] = ()
    ) -> None:
        """See Engine."""
        raise self._reason

    async def observe(self, app: str = "") -> Sequence[Instance]:
        """See Engine."""
        raise self._reason

    def watch(self) -> AsyncIterator[Change]:
        """See Engine."""
        raise self._reason

    async def remove(self, app: str, *, volumes: bool = False) -> None:
        """See Engine."""
        raise self._reason

    def logs(
        self, instance: str, *, follow: bool = False, since: datetime | None = None, tail: int | None = None
    ) -> AsyncIterator[LogLine]:
        """See Window."""
        raise self._reason

    async def volumes(self, app: str) -> Sequence[Stored]:
        """See Volumes."""
        raise self._reason

    def pack(self, release: Release, volume: str) -> AsyncIterator[bytes]:
        """See Volumes."""
        raise self._reason

    async def unpack(self, release: Release, volume: str, archive: AsyncIterator[bytes]) -> None:
        """See Volumes."""
        raise self._reason

    async def execute(self, instance: str, command: Sequence[str], *, stdin: bytes = b"") -> ExecResult:
        """See Window."""
        raise self._reason

    def usage(self, instance: str) -> AsyncIterator[Usage]:
        """See Window."""
        raise self._reason
