"""Who may see a page, which requests a browser was tricked into, and what a page may load."""

import hmac
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from naru.domain.errors import Forbidden, Invalid

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_FORM = 4 * 1024 * 1024
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class SecurityHeaders:
    """Adds HEADERS to every answer, and keeps pages out of shared and back-button caches."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and dress its answer."""

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                _dress(message)
            await send(message)

        await self._app(scope, receive, dressed)


def same_origin(request: Request) -> bool:
    """Whether the browser says that one of our own pages sent this.

    Fetch metadata (W3C Fetch Metadata Request Headers, section 2.3) where it exists, else the Origin header, which
    every browser sends with an unsafe method. A client that sends neither is no browser and has no ambient cookie.
    """
    if site := request.headers.get("sec-fetch-site"):
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def check_origin(request: Request) -> None:
    """Raise Forbidden for an unsafe request that another site sent."""
    if request.method not in SAFE and not same_origin(request):
        raise Forbidden("another site sent this request", "open the console itself and try again there")


def check_token(given: str, expected: str) -> None:
    """Raise Forbidden unless the form carries the session's own token."""
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise Forbidden("the form does not belong to this session", "load the page again and send the form once more")


def check_size(request: Request) -> None:
    """Raise Invalid for a form that is larger than MAX_FORM bytes or does not say how large it is."""
    size = request.headers.get("content-length", "")
    if not size.isdecimal() or int(size) > MAX_FORM:
        raise Invalid("the form is larger than 4 MiB", "send less, or upload it as an image or a volume")


def local_path(wanted: str, otherwise: str = "/apps") -> str:
    """Return `wanted` when it is a path on this console, else `otherwise`: no redirect leaves the site."""
    parts = urlsplit(wanted)
    safe = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if safe and not parts.netloc and not parts.scheme else otherwise


def _dress(message: MutableMapping[str, Any]) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers[name] = value
    headers.setdefault("Cache-Control", "no-store")
