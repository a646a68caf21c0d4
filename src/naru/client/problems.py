"""What an answer that is no success means to the caller (RFC 9457, problem details)."""

from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from naru.domain.errors import HTTP_STATUS, Invalid, NaruError, NotFound, SignInRequired, Unavailable

RETRY_AFTER = 5.0
"""Seconds to wait when a server that is unavailable does not say how long."""

_KINDS: dict[int, type[NaruError]] = {410: NotFound} | {status: kind for kind, status in HTTP_STATUS.items()}
_BUSY = frozenset({408, 425, 429, 502, 503, 504})

_SIGN_IN = "sign in with: naru login URL"
_ADDRESS = "check that the address is that of a Naru server, and that nothing in between answers for it"


@dataclass(frozen=True, slots=True)
class _Problem:
    title: str = ""
    detail: str = ""
    mend: str = ""
    override: str = ""
    status: int = 503


_problem = TypeAdapter(_Problem)


def told_midway(body: bytes) -> NaruError:
    """Return the error that a stream ended with, whose status is in its document alone."""
    return problem(_told(body).status, body)


def problem(status: int, body: bytes, retry_after: str = "") -> NaruError:
    """Return the error that the answer stands for; `retry_after` is the header of that name, in seconds."""
    told = _told(body)
    cause = told.detail or told.title
    if status in _BUSY:
        wait = float(retry_after) if retry_after.isdecimal() else RETRY_AFTER
        busy = cause or f"the server is busy (status {status})"
        return Unavailable(busy, told.mend, override=told.override, retry_after=wait)
    if status >= 500:
        return Unavailable(
            cause or f"the server failed (status {status})", told.mend or "look into the server's log", retry_after=5.0
        )
    if status == 401:
        return SignInRequired(cause or "the server does not know you", told.mend or _SIGN_IN)
    kind = _KINDS.get(status, Invalid)
    mend = told.mend if cause else _ADDRESS
    return kind(cause or f"the server answered with status {status}", mend, override=told.override)


def _told(body: bytes) -> _Problem:
    try:
        return _problem.validate_json(body)
    except ValidationError:
        return _Problem()
