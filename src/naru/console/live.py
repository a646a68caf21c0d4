"""Server-sent events: what changed, pushed to the page that shows it.

One stream a page, however many parts it has: browsers open six HTTP/1.1 connections to a server and no more.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import TypeVar

from starlette.types import Receive, Scope, Send

from naru.domain.errors import NaruError

T = TypeVar("T")
_log = logging.getLogger(__name__)
_LINES = re.compile(r"\r\n|\r|\n")

HEARTBEAT = 15.0
"""Seconds of silence after which a comment shows proxies, and us, that both ends are still there."""


class Channel:
    """One open stream to a browser."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._turn = asyncio.Lock()
        self._shown: dict[str, str] = {}

    async def show(self, parts: Mapping[str, str]) -> None:
        """Replace the elements with these ids by these HTML fragments, leaving out what the page already shows."""
        changed = {id_: html for id_, html in parts.items() if self._shown.get(id_) != html}
        self._shown |= changed
        if changed:
            await self._write("", "".join(_partial(id_, html) for id_, html in changed.items()))

    async def tell(self, event: str, data: object, *, id_: str = "") -> None:
        """Send a named event with JSON data."""
        await self._write(event, json.dumps(data, separators=(",", ":")), id_)

    async def beat(self) -> None:
        """Send a comment."""
        async with self._turn:
            await self._send({"type": "http.response.body", "body": b": still here\n\n", "more_body": True})

    async def _write(self, event: str, data: str, id_: str = "") -> None:
        head = (f"id: {id_}\n" if id_ else "") + (f"event: {event}\n" if event else "")
        body = "".join(f"data: {line}\n" for line in _LINES.split(data))
        async with self._turn:
            await self._send({"type": "http.response.body", "body": f"{head}{body}\n".encode(), "more_body": True})


async def renewed(keys: AsyncIterator[object], work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Do the work, and start it afresh whenever the key differs from the one before."""
    known, task = None, None
    try:
        async for key in keys:
            if task is None or task.done() or key != known:
                if task is not None:
                    task.cancel()
                known, task = key, asyncio.create_task(work())
    finally:
        if task is not None:
            task.cancel()


async def gathered(items: AsyncIterator[T], pause: float, most: int = 500) -> AsyncIterator[list[T]]:
    """Yield items as they come, those within `pause` seconds together, so that many of them cost few events."""
    waiting: asyncio.Queue[T] = asyncio.Queue(maxsize=most)
    news = asyncio.Event()

    async def pump() -> None:
        async for item in items:
            await waiting.put(item)
            news.set()

    pumping = asyncio.create_task(pump())
    pumping.add_done_callback(lambda _: news.set())
    try:
        while not (pumping.done() and waiting.empty()):
            await news.wait()
            await asyncio.sleep(pause)
            news.clear()
            if batch := [waiting.get_nowait() for _ in range(waiting.qsize())]:
                yield batch
        await pumping
    finally:
        pumping.cancel()


class EventStream:
    """An answer that stays open: `produce` writes to it until it returns, the browser leaves, or `allowed` says no.

    `allowed` is asked at every heartbeat and raises when the viewer is signed out.
    """

    def __init__(
        self,
        produce: Callable[[Channel], Awaitable[None]],
        allowed: Callable[[], Awaitable[object]],
        *,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self._produce = produce
        self._allowed = allowed
        self._heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        channel = Channel(send)
        under_way = {
            asyncio.ensure_future(self._produce(channel)),
            asyncio.ensure_future(_left(receive)),
            asyncio.ensure_future(self._watch_over(channel)),
        }
        try:
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in under_way:
                task.cancel()
            outcomes = await asyncio.gather(*under_way, return_exceptions=True)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        for outcome in outcomes:
            match outcome:
                case NaruError() | OSError():
                    _log.info("a live page was cut off: %s", outcome)
                case Exception():
                    raise outcome

    async def _watch_over(self, channel: Channel) -> None:
        while True:
            await asyncio.sleep(self._heartbeat)
            await self._allowed()
            await channel.beat()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _partial(id_: str, html: str) -> str:
    return f'<hx-partial hx-target="#{id_}" hx-swap="innerMorph">{html}</hx-partial>'
