"""What holds for every engine, whatever it is made of.

A guarded engine answers in time or raises Unavailable, raises nothing but errors of naru.domain.errors, loses no
cancellation, and writes to the log once when it goes away and once when it is back, not at every call in between.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar, cast

from naru.cancellation import heeded
from naru.domain.account import Credentials
from naru.domain.errors import NaruError, Unavailable
from naru.domain.image import Image
from naru.domain.instance import ExecResult, Instance, LogLine, Usage
from naru.domain.release import Release
from naru.domain.rollout import LayerProgress
from naru.domain.target import Target
from naru.engines.base import Change, OpenEngine, Stored

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds an engine may take: to answer, to stop and start instances, and between two reports of a fetch.

    Stopping may take the workload's grace on top. A command run inside an instance has `command` seconds.
    """

    answer: float = 30.0
    change: float = 300.0
    progress: float = 300.0
    command: float = 600.0


class Guarded:
    """An engine within the rules above; it is an OpenEngine itself."""

    def __init__(self, engine: OpenEngine, patience: Patience = Patience()) -> None:
        self.name = engine.name
        self._engine = engine
        self._patience = patience
        self._away = False

    async def describe(self) -> Target:
        """See Engine."""
        return await self._answer("describe itself", self._patience.answer, self._engine.describe())

    async def find(self, reference: str) -> Image | None:
        """See Engine."""
        return await self._answer(f"look for {reference}", self._patience.answer, self._engine.find(reference))

    def fetch(
        self, image: Image, *, credentials: Credentials | None = None, archive: Path | None = None
    ) -> AsyncIterator[Sequence[LayerProgress]]:
        """See Engine."""
        source = self._engine.fetch(image, credentials=credentials, archive=archive)
        return self._stream(f"fetch {image.reference}", self._patience.progress, source)

    async def apply(
        self, release: Release, replicas: int, *, secrets: Mapping[str, bytes], retire: Collection[str] = ()
    ) -> None:
        """See Engine."""
        patience = self._patience.change + replicas + release.workload.stop_grace
        change = self._engine.apply(release, replicas, secrets=secrets, retire=retire)
        await self._answer(f"run {release.app}", patience, change)

    async def observe(self, app: str = "") -> Sequence[Instance]:
        """See Engine."""
        return await self._answer("list its instances", self._patience.answer, self._engine.observe(app))

    def watch(self) -> AsyncIterator[Change]:
        """See Engine."""
        return self._stream("tell of changes", None, self._engine.watch())

    async def remove(self, app: str, *, volumes: bool = False) -> None:
        """See Engine. Takes as long as the instances' grace, which only the engine knows."""
        await self._answer(f"remove {app}", None, self._engine.remove(app, volumes=volumes))

    def logs(
        self, instance: str, *, follow: bool = False, since: datetime | None = None, tail: int | None = None
    ) -> AsyncIterator[LogLine]:
        """See Window."""
        source = self._engine.logs(instance, follow=follow, since=since, tail=tail)
        return self._stream(f"read the log of {instance}", None if follow else self._patience.answer, source)

    async def execute(self, instance: str, command: Sequence[str], *, stdin: bytes = b"") -> ExecResult:
        """See Window."""
        running = self._engine.execute(instance, command, stdin=stdin)
        return await self._answer(f"run a command in {instance}", self._patience.command, running)

    def usage(self, instance: str) -> AsyncIterator[Usage]:
        """See Window."""
        return self._stream(f"measure {instance}", self._patience.answer, self._engine.usage(instance))

    async def volumes(self, app: str) -> Sequence[Stored]:
        """See Volumes."""
        return await self._answer(f"list the volumes of {app}", self._patience.answer, self._engine.volumes(app))

    def pack(self, release: Release, volume: str) -> AsyncIterator[bytes]:
        """See Volumes."""
        source = self._engine.pack(release, volume)
        return self._stream(f"read the volume {volume} of {release.app}", self._patience.progress, source)

    async def unpack(self, release: Release, volume: str, archive: AsyncIterator[bytes]) -> None:
        """See Volumes. Takes as long as the archive; a piece of it takes no longer than the next report of a fetch."""
        writing = self._unpack(release, volume, archive)
        await self._answer(f"write the volume {volume} of {release.app}", None, writing)

    async def _unpack(self, release: Release, volume: str, archive: AsyncIterator[bytes]) -> None:
        now, patience = asyncio.get_running_loop().time, self._patience.progress
        try:
            async with asyncio.timeout(patience) as limit:

                async def passing() -> AsyncIterator[bytes]:
                    async for chunk in archive:
                        limit.reschedule(now() + patience)
                        yield chunk

                await self._engine.unpack(release, volume, passing())
        except TimeoutError:
            raise Unavailable(
                f"{self.name} took nothing more of the volume {volume} of {release.app} for {patience:g} s",
                "see whether it is overloaded, or away",
            ) from None

    async def _answer(self, doing: str, seconds: float | None, call: Awaitable[T]) -> T:
        try:
            with heeded():
                async with asyncio.timeout(seconds):
                    result = await call
        except NaruError as error:
            self._refused(error)
            raise
        except Exception as error:
            raise self._named(doing, seconds, error) from error
        self._answered()
        return result

    async def _stream(self, doing: str, seconds: float | None, source: AsyncIterator[T]) -> AsyncIterator[T]:
        # Every engine writes its streams as generators; the Protocol promises only what callers need.
        async with aclosing(cast("AsyncGenerator[T]", source)) as stream:
            while True:
                try:
                    with heeded():
                        async with asyncio.timeout(seconds):
                            item = await anext(stream)
                except StopAsyncIteration:
                    return
                except NaruError as error:
                    self._refused(error)
                    raise
                except Exception as error:
                    raise self._named(doing, seconds, error) from error
                self._answered()
                yield item

    def _named(self, doing: str, seconds: float | None, error: Exception) -> Unavailable:
        if isinstance(error, TimeoutError):
            patience = f"{seconds or 0:g} s"
            named = Unavailable(f"{self.name} did not {doing} within {patience}", "see whether it is overloaded")
            self._refused(named)
            return named
        log.error("%s could not %s", self.name, doing, exc_info=error)
        return Unavailable(
            f"{self.name} could not {doing}: {type(error).__name__}: {error}",
            "this is a fault in Naru; its log tells more",
        )

    def _refused(self, error: NaruError) -> None:
        if isinstance(error, Unavailable) and not self._away:
            self._away = True
            log.warning("%s", error)

    def _answered(self) -> None:
        if self._away:
            self._away = False
            log.warning("%s answers again", self.name)
