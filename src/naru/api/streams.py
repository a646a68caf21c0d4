"""Server-sent events (WHATWG HTML, section 9.2)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi.responses import StreamingResponse

from naru.api.answers import adapter
from naru.api.problems import content
from naru.domain.errors import NaruError

BEAT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Message:
    """One event: its name, a value of type `kind`, and an id to resume after."""

    event: str
    kind: Any
    value: object
    id: str = ""


def stream(messages: AsyncIterator[Message]) -> StreamingResponse:
    """Answer with the messages as they come and a beat while none comes; the last event is `end`, or
    `error` with a problem document.
    """
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_lines(messages), media_type="text/event-stream", headers=headers)


async def _lines(messages: AsyncIterator[Message]) -> AsyncIterator[bytes]:
    yield b": open\n\n"
    async with aclosing(messages) as source:  # type: ignore[type-var]
        pending: asyncio.Task[Message] | None = None
        try:
            while True:
                pending = pending or asyncio.ensure_future(anext(source))
                done, _ = await asyncio.wait([pending], timeout=BEAT_SECONDS)
                if not done:
                    yield b": beat\n\n"
                    continue
                message, pending = pending.result(), None
                yield _text(message)
        except StopAsyncIteration:
            yield b"event: end\ndata: {}\n\n"
        except NaruError as error:
            yield _text(Message("error", dict[str, str | int], content(error, "")))
        finally:
            if pending and not pending.done():
                pending.cancel()
                await asyncio.wait([pending])


def _text(message: Message) -> bytes:
    data = adapter(message.kind).dump_json(message.value)
    number = f"id: {message.id}\n".encode() if message.id else b""
    return number + f"event: {message.event}\n".encode() + b"data: " + data + b"\n\n"
