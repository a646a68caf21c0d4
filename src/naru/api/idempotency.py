"""Repeating a write with the same Idempotency-Key repeats its answer, not its effect.

After draft-ietf-httpapi-idempotency-key-header-07.
"""

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from naru.api.identity import SAFE, identify, platform_of
from naru.api.route import Route
from naru.domain.errors import Invalid
from naru.store import StoredAnswer

HEADER = "idempotency-key"
MAX_KEY = 128
_KEPT_HEADERS = ("content-type", "location", "etag")


class IdempotentRoute(Route):
    """A route whose writes can be repeated safely."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's handler."""
        handle = super().get_route_handler()

        async def once(request: Request) -> Response:
            key = request.headers.get(HEADER)
            if key is None or request.method in SAFE:
                return await handle(request)
            if not 1 <= len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
                raise Invalid("the idempotency key is no short printable text", "use a random UUID")
            return await _once(request, key, handle)

        return once


async def _once(request: Request, key: str, handle: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
    answers = platform_of(request).answers
    now = platform_of(request).clock()
    subject = str(await identify(request))
    stored = await answers.begin(key, subject, await _fingerprint(request), now)
    if stored:
        return Response(stored.body, stored.status, {**dict(stored.headers), "Idempotent-Replayed": "true"})
    try:
        answer = await handle(request)
    except BaseException:
        await answers.abandon(key, subject)
        raise
    headers = tuple((name, answer.headers[name]) for name in _KEPT_HEADERS if name in answer.headers)
    await answers.finish(key, subject, StoredAnswer(answer.status_code, headers, bytes(answer.body)))
    return answer


async def _fingerprint(request: Request) -> str:
    said = f"{request.method} {request.url.path}?{request.url.query}\n".encode() + await request.body()
    return hashlib.sha256(said).hexdigest()
