"""One request, one answer, one error family: how every part of the client talks to the server."""

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import httpx

from naru.client import wire
from naru.client.problems import problem, told_midway
from naru.client.sse import Decoder, ServerEvent
from naru.domain.errors import NaruError, Unavailable

T = TypeVar("T")
Query = Mapping[str, str | int | bool | None]

LONGEST_WAIT = 2.0
"""Seconds that one call waits before it asks a busy server again; a longer Retry-After is left to the caller."""

SILENCE = 45.0
"""Seconds without a byte after which a stream is given up: the server sends a beat every 15."""

_PAGE = 100
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
"""What OpenSSL says, until 3.1 and since, of an answer that is no TLS."""


class BrokenOff(Unavailable):
    """A stream had begun and ended too early: it is worth connecting again."""


class Transport:
    """Sends requests below `/api/v1` and parses their answers.

    Writes carry an Idempotency-Key, so a request whose answer was lost is sent again, with the same key, after each
    of `waits` (seconds). A server that does not answer the first time at all is reported at once.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        waits: Sequence[float] = (0.2, 1.0),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        new_key: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._http = http
        self._waits = tuple(waits)
        self._sleep = sleep
        self._new_key = new_key

    async def get(self, path: str, shape: type[T], query: Query | None = None) -> T:
        """Return what GET answers."""
        return wire.parse(shape, await self._answer("GET", path, query))

    async def pages(
        self, path: str, shape: type[wire.Page[T]], *, cursor: str, query: Query | None = None, limit: int | None = None
    ) -> AsyncIterator[T]:
        """Yield the items of a list, page after page, at most `limit`; `cursor` names the query parameter."""
        asked: dict[str, str | int | bool | None] = {**(query or {}), "limit": min(limit or _PAGE, _PAGE)}
        left = limit
        while True:
            page = await self.get(path, shape, asked)
            for item in page.items[:left]:
                yield item
            left = None if left is None else left - len(page.items)
            if page.next is None or (left is not None and left <= 0):
                return
            asked[cursor] = page.next

    async def write(
        self,
        method: str,
        path: str,
        shape: type[T],
        body: object = None,
        *,
        query: Query | None = None,
        if_version: int | None = None,
        timeout: float | None = None,
    ) -> T:
        """Return what a write answers; `body` is sent as JSON, bytes as they are.

        With `if_version` the write happens only when the app still has that version, else Stale is raised.
        `timeout` is how many seconds the server may take over the answer, where the usual 30 are too few.
        """
        return wire.parse(shape, await self._write(method, path, body, query, if_version, timeout))

    async def create(self, path: str, shape: type[T], body: object) -> T:
        """Return what POST answers, for what the server does not repeat by key; this is never sent twice."""
        content, headers = wire.document(body), {"Content-Type": "application/json"}
        return wire.parse(shape, await self._answer("POST", path, None, headers=headers, content=content, waits=()))

    async def put(self, path: str, body: object) -> None:
        """Store `body` at `path`; nothing is expected in the answer."""
        await self._write("PUT", path, body, None, None, None)

    async def delete(self, path: str, query: Query | None = None) -> None:
        """Delete what `path` names; nothing is expected in the answer."""
        await self._write("DELETE", path, None, query, None, None)

    async def upload(self, path: str, shape: type[T], chunks: AsyncIterator[bytes], query: Query | None = None) -> T:
        """Send `chunks` as they come; they are gone afterwards, so this is never sent twice."""
        headers = {"Idempotency-Key": self._new_key(), "Content-Type": "application/octet-stream"}
        request = self._http.build_request(
            "POST",
            path,
            params=_told(query),
            content=chunks,
            headers=headers,
            timeout=httpx.Timeout(30, read=600, write=60),
        )
        try:
            answer = await self._http.send(request)
        except httpx.TransportError as error:
            raise self._silent(error) from error
        if not answer.is_success:
            raise _refusal(answer, answer.content)
        return wire.parse(shape, answer.content)

    async def stream(self, path: str, query: Query | None = None, last_id: str = "") -> AsyncIterator[ServerEvent]:
        """Yield the events of one connection until the server says that it is the end.

        Raises Unavailable when the connection breaks off before, and the error that the server tells on the way.
        """
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        decoder = Decoder()
        begun = False
        try:
            timeout = httpx.Timeout(10, read=SILENCE)
            async with self._http.stream("GET", path, params=_told(query), headers=headers, timeout=timeout) as answer:
                if not answer.is_success:
                    raise _refusal(answer, await answer.aread())
                begun = True
                async for chunk in answer.aiter_bytes():
                    for event in decoder.feed(chunk):
                        match event.name:
                            case "end":
                                return
                            case "error":
                                raise told_midway(event.data)
                            case _:
                                yield event
        except httpx.TransportError as error:
            silent = self._silent(error)
            raise (BrokenOff(silent.cause, silent.mend) if begun else silent) from error
        raise BrokenOff("the server closed the stream before its end", "follow it again in a moment")

    def persistent(self, connect: Callable[[], AsyncIterator[T]]) -> AsyncIterator[T]:
        """Yield what `connect()` yields, through lost connections: see `reconnecting`."""
        return reconnecting(connect, sleep=self._sleep)

    async def _write(
        self,
        method: str,
        path: str,
        body: object,
        query: Query | None,
        if_version: int | None,
        timeout: float | None,
    ) -> bytes:
        headers = {"Idempotency-Key": self._new_key()}
        if if_version is not None:
            headers["If-Match"] = f'"{if_version}"'
        match body:
            case None:
                content = None
            case bytes():
                content, headers["Content-Type"] = body, "application/octet-stream"
            case _:
                content, headers["Content-Type"] = wire.document(body), "application/json"
        return await self._answer(method, path, query, headers=headers, content=content, timeout=timeout)

    async def _answer(
        self,
        method: str,
        path: str,
        query: Query | None,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout: float | None = None,
        waits: Sequence[float] | None = None,
    ) -> bytes:
        waits = self._waits if waits is None else waits
        options: dict[str, Any] = {"timeout": httpx.Timeout(10, read=timeout)} if timeout else {}
        attempt = 0
        while True:
            try:
                answer = await self._http.request(
                    method, path, params=_told(query), headers=headers, content=content, **options
                )
                if answer.is_success:
                    return answer.content
                raise _refusal(answer, answer.content)
            except httpx.TransportError as error:
                never_reached = attempt == 0 and isinstance(error, httpx.ConnectError)
                if never_reached or attempt == len(waits):
                    raise self._silent(error) from error
                wait = waits[attempt]
            except Unavailable as error:
                if error.retry_after > LONGEST_WAIT or attempt == len(waits):
                    raise
                wait = max(waits[attempt], error.retry_after)
            await self._sleep(wait)
            attempt += 1

    def _silent(self, error: httpx.TransportError) -> Unavailable:
        address = str(self._http.base_url.copy_with(path="/")).rstrip("/")
        if _untrusted(error):
            return Unavailable(
                f"the certificate of {address} is not trusted",
                "set SSL_CERT_FILE to the certificate of the authority that signed it",
            )
        if _plain(error):
            return Unavailable(f"{address} speaks no TLS", "name it with http://, or check the port")
        what = "does not answer" if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else "broke off"
        return Unavailable(
            f"the server at {address} {what}",
            "start it there with: naru serve; or name another one with: naru login URL",
        )


async def reconnecting(
    connect: Callable[[], AsyncIterator[T]],
    *,
    waits: Sequence[float] = (0.2, 0.5, 1, 2, 4, 8, 8, 8),
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncIterator[T]:
    """Yield what `connect()` yields, and connect again after each break, until it returns by itself.

    Unavailable is raised when there was no stream at the start, and once the server has been silent through all
    `waits` (seconds).
    """
    silent, begun = 0, False
    while True:
        try:
            async for item in connect():
                silent, begun = 0, True
                yield item
            return
        except BrokenOff:
            # A server that answers and breaks off is asked without end, and not in a hurry.
            silent, begun = min(silent, len(waits) // 2), True
        except Unavailable:
            if not begun or silent == len(waits):
                raise
        await sleep(waits[silent])
        silent += 1


def _refusal(answer: httpx.Response, body: bytes) -> NaruError:
    return problem(answer.status_code, body, answer.headers.get("Retry-After", ""))


def _told(query: Query | None) -> dict[str, str]:
    """Return the parameters that are set, as text: true and false in lower case, as JSON writes them."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in (query or {}).items()
        if value is not None and value != ""
    }


def _untrusted(error: BaseException) -> bool:
    return any(isinstance(one, ssl.SSLCertVerificationError) for one in _chain(error))


def _plain(error: BaseException) -> bool:
    return any(isinstance(one, ssl.SSLError) and any(word in str(one) for word in _NO_TLS) for one in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
