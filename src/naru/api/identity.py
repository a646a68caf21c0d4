"""Who is asking. Nothing answers without a sign-in."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from naru.control.accounts import SESSION_COOKIE
from naru.control.platform import Platform
from naru.domain.account import Subject
from naru.domain.errors import Forbidden

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def platform_of(request: Request) -> Platform:
    """Return the platform that the application serves."""
    platform: Platform = request.app.state.platform
    return platform


async def identify(request: Request) -> Subject:
    """Return who is asking, by bearer token or by session cookie.

    A cookie travels with requests that other sites' pages make, so what it changes must come from our own pages.
    """
    if not hasattr(request.state, "subject"):
        request.state.subject = await _identify(request)
    subject: Subject = request.state.subject
    return subject


async def _identify(request: Request) -> Subject:
    accounts = platform_of(request).accounts
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return await accounts.who_bears(token.strip())
    subject = await accounts.who(request.cookies.get(SESSION_COOKIE, ""))
    if request.method not in SAFE:
        refuse_other_sites(request)
    return subject


def refuse_other_sites(request: Request) -> None:
    """Raise Forbidden unless the browser says that a page of ours sent the request."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    ours = site == "same-origin" if site else origin is not None and urlsplit(origin).netloc == request.url.netloc
    if not ours:
        raise Forbidden("the request comes from another site", "use a bearer token for programs")


Naru = Annotated[Platform, Depends(platform_of)]
By = Annotated[Subject, Depends(identify)]
