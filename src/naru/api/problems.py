"""Errors as RFC 9457 problem details."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from naru.domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NaruError,
    NotFound,
    SignInRequired,
    Stale,
    Unavailable,
)

STATUS: dict[type[NaruError], HTTPStatus] = {
    Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFound: HTTPStatus.NOT_FOUND,
    Stale: HTTPStatus.PRECONDITION_FAILED,
    Conflict: HTTPStatus.CONFLICT,
    SignInRequired: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


def problem(error: NaruError, path: str) -> JSONResponse:
    """Answer with the error's kind as the status, its cause as the detail, and the mend beside it."""
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    headers = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    return _answer(status, type(error).__name__, error.cause, error.mend, path, headers)


def install(app: FastAPI) -> None:
    """Make every error of the application a problem document."""

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, NaruError)  # noqa: S101 - registered for this type alone
        return problem(error, request.url.path)

    async def malformed(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type alone
        first: dict[str, Any] = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        cause = f"{place}: {first['msg']}" if place else str(first["msg"])
        return problem(Invalid(cause, "see /api/v1/openapi.json for the shape of the request"), request.url.path)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type alone
        status = HTTPStatus(error.status_code)
        return _answer(status, status.phrase, str(error.detail), "", request.url.path, dict(error.headers or {}))

    app.add_exception_handler(NaruError, known)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, refused)


def _answer(status: HTTPStatus, title: str, detail: str, mend: str, path: str, headers: dict[str, str]) -> JSONResponse:
    content = {
        "type": f"urn:naru:problem:{title.lower().replace(' ', '-')}",
        "title": title,
        "status": int(status),
        "detail": detail,
        "mend": mend,
        "instance": path,
    }
    return JSONResponse(content, status, headers, "application/problem+json")
