"""A small HTTP server that answers whatever a test tells it to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """`body` may be an endless stream; `length` lies about its length when it is given."""

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None


class Hostile:
    """Serves `answers` by path on a loopback port, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[Request], Answer]] = {}
        self.asked: list[Request] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.host = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            url = urlsplit(target)
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            request = Request(method, url.path, dict(parse_qsl(url.query)), headers)
            self.asked.append(request)
            answer = self.answers.get(url.path, Answer(404))
            await self._write(writer, answer(request) if callable(answer) else answer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _write(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        headers = {"Connection": "close"} | answer.headers
        if isinstance(answer.body, bytes):
            headers["Content-Length"] = str(len(answer.body) if answer.length is None else answer.length)
        lines = [f"HTTP/1.1 {answer.status} Told", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        if isinstance(answer.body, bytes):
            writer.write(answer.body)
        else:
            async for chunk in answer.body:
                writer.write(chunk)
                await writer.drain()
        await writer.drain()
