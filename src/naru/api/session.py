"""Signing in and out, and API tokens."""

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import Response

from naru.api.answers import Page, document, page
from naru.api.identity import By, Naru, refuse_other_sites
from naru.api.route import OpenRoute, Route
from naru.control.accounts import SESSION_COOKIE, SESSION_SECONDS
from naru.domain.account import ApiToken, Subject
from naru.domain.errors import Invalid

router = APIRouter(route_class=Route, tags=["session"])
entrance = APIRouter(route_class=OpenRoute, tags=["session"])


@dataclass(frozen=True, slots=True)
class SignIn:
    """A password, or the code of a one-time link."""

    password: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class TokenAsk:
    """A token's name and, if it is to end by itself, when."""

    name: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token and its value, which is shown this once."""

    token: ApiToken
    value: str


@dataclass(frozen=True, slots=True)
class LinkCode:
    """A code that signs the admin in once."""

    code: str


@router.get("/session", response_model=Subject)
async def show_session(request: Request, by: By) -> Response:
    """Say who is signed in."""
    return document(request, Subject, by)


@entrance.post("/session", response_model=Subject)
async def sign_in(request: Request, naru: Naru, ask: SignIn) -> Response:
    """Sign in; the answer sets the session cookie."""
    if "origin" in request.headers or "sec-fetch-site" in request.headers:
        refuse_other_sites(request)
    if bool(ask.password) == bool(ask.code):
        raise Invalid("a sign-in takes a password or a code", "give one of them")
    accounts = naru.accounts
    session = await (accounts.sign_in(ask.password) if ask.password else accounts.sign_in_by_link(ask.code))
    answer = document(request, Subject, await accounts.who(session))
    answer.set_cookie(
        SESSION_COOKIE,
        session,
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


@router.delete("/session", status_code=HTTPStatus.NO_CONTENT)
async def sign_out(request: Request, naru: Naru, by: By) -> Response:
    """Sign out."""
    await naru.accounts.sign_out(request.cookies.get(SESSION_COOKIE, ""))
    answer = Response(status_code=HTTPStatus.NO_CONTENT)
    answer.delete_cookie(SESSION_COOKIE)
    return answer


@router.post("/session/link", response_model=LinkCode)
async def login_link(request: Request, naru: Naru, by: By) -> Response:
    """Make a one-time login code."""
    return document(request, LinkCode, LinkCode(await naru.accounts.login_link()))


@router.get("/tokens", response_model=Page[ApiToken])
async def list_tokens(request: Request, naru: Naru, by: By) -> Response:
    """List the API tokens without their values."""
    tokens = await naru.accounts.tokens()
    return page(request, ApiToken, tokens, len(tokens) + 1)


@router.post("/tokens", status_code=HTTPStatus.CREATED, response_model=NewToken)
async def create_token(request: Request, naru: Naru, by: By, ask: TokenAsk) -> Response:
    """Make an API token; its value is shown this once."""
    if ask.expires_at is not None and ask.expires_at.tzinfo is None:
        raise Invalid(f"{ask.expires_at} names no time zone", "write it as 2026-01-31T12:00:00Z")
    token, value = await naru.accounts.create_token(ask.name, expires_at=ask.expires_at, subject=by)
    return document(request, NewToken, NewToken(token, value), status=HTTPStatus.CREATED)


@router.delete("/tokens/{token}", status_code=HTTPStatus.NO_CONTENT)
async def revoke_token(naru: Naru, by: By, token: str) -> Response:
    """Revoke an API token by its id."""
    await naru.accounts.revoke_token(token, subject=by)
    return Response(status_code=HTTPStatus.NO_CONTENT)
