"""Blocking code reads an asynchronous stream.

Archives are unpacked and hashed in a thread, while their bytes arrive on the event loop.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The task that the thread worked for was cancelled."""


class Bridge:
    """A Readable over `stream`, to be read in one thread; `stop` wakes and ends that thread."""

    def __init__(self, stream: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop
        self._rest = b""
        self._stop = asyncio.Event()

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, empty at the end of the stream; raise what the stream raises, or Stopped."""
        if not self._rest:
            self._rest = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
        chunk, self._rest = self._rest[:size], self._rest[size:]
        return chunk

    def stop(self) -> None:
        """Make the thread's next or current read raise Stopped. Called on the event loop."""
        self._stop.set()

    async def _next(self) -> bytes:
        arriving = asyncio.ensure_future(_chunk(self._stream))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([arriving, stopping], return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set():
                raise Stopped
            return arriving.result()
        finally:
            arriving.cancel()
            stopping.cancel()


async def in_thread(work: Callable[[], T], stop: Callable[[], None] = lambda: None) -> T:
    """Run blocking `work` in a thread; when cancelled, call `stop` and wait for the thread to end before leaving."""
    thread = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        stop()
        await asyncio.wait([thread])
        if not thread.cancelled():
            thread.exception()
        raise


async def _chunk(stream: AsyncIterator[bytes]) -> bytes:
    async for chunk in stream:
        if chunk:
            return chunk
    return b""
