"""Commands in pods with input and output of any length: exec over a WebSocket, in the words of v5.channel.k8s.io.

Each message is a channel's number and bytes; the last one of the server is a Status on the channel of errors. Closing
the input, without which no program reads to its end, is what version 5 has over version 4.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx2
from httpx2.websockets import AsyncWebSocketSession, HTTPXWSException

from naru.domain.errors import Conflict
from naru.engines.kubernetes.answers import Status
from naru.engines.kubernetes.naming import CONTAINER

PROTOCOL = "v5.channel.k8s.io"
INPUT, OUTPUT, COMPLAINTS, END = range(4)
CLOSED = bytes((255, INPUT))
PIECE = 1 << 15
"""Bytes of input in one message."""
ROOM = 16
"""Messages of output that may wait to be read."""
KEPT = 2000
"""Bytes of what a command complains of that are told."""


async def read(http: httpx2.AsyncClient, path: str, command: Sequence[str]) -> AsyncGenerator[bytes, None]:
    """Yield what a command writes; raises Conflict with its complaints when it fails."""
    chunks: asyncio.Queue[bytes] = asyncio.Queue(ROOM)

    async def reading() -> None:
        async with _session(http, path, command) as socket:
            await _follow(socket, command, chunks)

    # The session's tasks belong to the task that opened it, and whoever reads may be another each time.
    task = asyncio.create_task(reading())
    try:
        while chunk := await _next(chunks, task):
            yield chunk
    finally:
        await _end(task)


async def write(http: httpx2.AsyncClient, path: str, command: Sequence[str], source: AsyncIterator[bytes]) -> None:
    """Give a command its input, and return when it has ended; raises Conflict with its complaints when it fails."""
    async with _session(http, path, command, stdin=True) as socket:
        ending = asyncio.create_task(_follow(socket, command, None))
        try:
            async for chunk in source:
                for at in range(0, len(chunk), PIECE):
                    if ending.done():
                        await ending
                        raise Conflict(f"{command[0]} ended before it had read everything")
                    await socket.send_bytes(bytes((INPUT,)) + chunk[at : at + PIECE])
            await socket.send_bytes(CLOSED)
            await ending
        except HTTPXWSException:
            await ending  # why it ended says more than that it reads no more
            raise
        finally:
            await _end(ending)


@asynccontextmanager
async def _session(
    http: httpx2.AsyncClient, path: str, command: Sequence[str], *, stdin: bool = False
) -> AsyncIterator[AsyncWebSocketSession]:
    asked: dict[str, str | bool | list[str]] = {
        "container": CONTAINER,
        "command": list(command),
        "stdin": stdin,
        "stdout": True,
        "stderr": True,
    }
    try:
        # Whoever waits for a slow disk answers no pings.
        async with http.websocket(
            path, subprotocols=[PROTOCOL], params=asked, keepalive_ping_interval_seconds=None
        ) as socket:
            yield socket
    except ExceptionGroup as group:
        raise _first(group) from None


async def _follow(socket: AsyncWebSocketSession, command: Sequence[str], chunks: asyncio.Queue[bytes] | None) -> None:
    """Read messages until the command has ended."""
    complaints = b""
    while True:
        message = await socket.receive_bytes()
        channel, content = message[0], message[1:]
        if channel == OUTPUT and content and chunks:
            await chunks.put(content)
        elif channel == COMPLAINTS:
            complaints = (complaints + content)[:KEPT]
        elif channel == END:
            status = Status.model_validate_json(content)
            if status.status != "Success":
                said = complaints.decode(errors="replace").strip() or status.message or status.reason
                raise Conflict(f"{' '.join(command)} failed: {said}", "see what it says")
            return


async def _next(chunks: asyncio.Queue[bytes], task: asyncio.Task[None]) -> bytes:
    """Return the next chunk, or nothing once the task has ended well and all is read."""
    while chunks.empty():
        if task.done():
            await task
            return b""
        getting = asyncio.create_task(chunks.get())
        await asyncio.wait((getting, task), return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            return getting.result()
        getting.cancel()
    return chunks.get_nowait()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()  # whoever waits for it has it, or an error of its own


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """The error in a group that the session made of it."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first
