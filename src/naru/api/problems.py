"""Errors as RFC 9457 problem details."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from naru.domain.errors import Invalid, NaruError, SignInRequired, Unavailable, http_status


def problem(error: NaruError, path: str) -> JSONResponse:
    """Answer with the error's kind as the status, its cause as the detail, and the mend beside it."""
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, SignInRequired) else {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    return _answer(content(error, path), headers)


def content(error: NaruError, path: str) -> dict[str, str | int]:
    """Return the members of the error's problem document; `mend` and `override`, a field of the request, are ours."""
    told = _content(http_status(error), type(error).__name__, error.cause, error.mend, path)
    return told | {"override": error.override} if error.override else told


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
        told = _content(status, status.phrase, str(error.detail), "", request.url.path)
        return _answer(told, dict(error.headers or {}))

    async def failed(request: Request, error: Exception) -> Response:
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        cause, mend = f"Naru itself failed: {type(error).__name__}", "look into the server's log, and please report it"
        return _answer(_content(status, status.phrase, cause, mend, request.url.path), {})

    app.add_exception_handler(Exception, failed)
    app.add_exception_handler(NaruError, known)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, refused)


def _content(status: int, title: str, detail: str, mend: str, path: str) -> dict[str, str | int]:
    kind = f"urn:naru:problem:{title.lower().replace(' ', '-')}"
    return {"type": kind, "title": title, "status": status, "detail": detail, "mend": mend, "instance": path}


def _answer(content: dict[str, str | int], headers: dict[str, str]) -> JSONResponse:
    return JSONResponse(content, int(content["status"]), headers, "application/problem+json")
