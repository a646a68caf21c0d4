"""What an instance wrote, as Swarm brings it from all of its tasks."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from datetime import datetime

from naru.domain.errors import NaruError
from naru.domain.instance import LogLine
from naru.engines.dockerapi.frames import LogReader
from naru.engines.swarm.translate import Owned
from naru.engines.swarm.wire import SwarmWire

GLANCE = 0.3
"""Seconds between two looks whether a service that is followed is still there."""


async def read(
    wire: SwarmWire, one: Owned, *, follow: bool, since: datetime | None, tail: int | None
) -> AsyncGenerator[LogLine, None]:
    """Yield the lines; with `follow`, until the service is gone."""
    if tail == 0 and not follow:
        return
    reader = LogReader(one.id)
    params = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": str(int(follow))}
    params["tail"] = "all" if tail is None else str(tail)
    if since is not None:
        params["since"] = f"{since.timestamp():.6f}"
    kept: list[LogLine] = []
    async with aclosing(wire.service_logs(one.service.id, params)) as chunks:
        source = _while_there(wire, one, chunks) if follow else chunks
        async for chunk in source:
            for line in reader.feed(chunk):
                if since is not None and line.at < since:
                    continue
                if follow or tail is None:
                    yield line
                else:
                    kept.append(line)
    kept += reader.end()
    # Swarm counts the tail for each task.
    for line in sorted(kept, key=lambda line: line.at)[-tail:] if tail else kept:
        yield line


async def _while_there(wire: SwarmWire, one: Owned, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass chunks on until the service is gone: Swarm would go on waiting for another task."""
    coming: asyncio.Future[bytes] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(chunks))
            done, _ = await asyncio.wait({coming}, timeout=GLANCE)
            if done:
                ready, coming = coming, None
                yield await ready
            elif await wire.service(one.service.id) is None:
                return
    except StopAsyncIteration:
        return
    finally:
        if coming:
            coming.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration, NaruError):
                await coming
