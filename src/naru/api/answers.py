"""Values as JSON documents: entity tags, conditional requests, pages."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import Response
from pydantic import TypeAdapter

from naru.domain.errors import Invalid

T = TypeVar("T")
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; `next` is the cursor of the following page, null on the last one."""

    items: list[T]
    next: str | None = None


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the JSON form of a type."""
    return TypeAdapter(kind)


def document(
    request: Request,
    kind: Any,
    value: object,
    *,
    status: HTTPStatus = HTTPStatus.OK,
    version: int | None = None,
    location: str = "",
) -> Response:
    """Answer with a value of type `kind`, or with 304 when the client has it already.

    The entity tag is the version, where the value has one that If-Match can name, and a digest of the body.
    """
    body = adapter(kind).dump_json(value)
    digest = hashlib.sha256(body).hexdigest()[:16]
    tag = f'"{digest}"' if version is None else f'"{version}-{digest}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if location:
        headers["Location"] = location
    if request.method == "GET" and tag in _tags(request.headers.get("if-none-match", "")):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(body, status, headers, JSON)


def page(
    request: Request, kind: Any, values: Sequence[T], limit: int, parameter: str = "", cursor: Callable[[T], str] = str
) -> Response:
    """Answer with a page; a full one names the next by a cursor and a Link header (RFC 8288)."""
    following = cursor(values[-1]) if parameter and values and len(values) == limit else None
    answer = document(request, Page[kind], Page(list(values), following))
    if following is not None:
        query = {**request.query_params, parameter: following}
        answer.headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
    return answer


def expected_version(request: Request) -> int | None:
    """Read the version out of If-Match; None when the client does not care. Raises Invalid for a foreign tag."""
    tags = _tags(request.headers.get("if-match", ""))
    if not tags or tags == ["*"]:
        return None
    version = tags[0].strip('"').split("-")[0]
    if len(tags) > 1 or not version.isdecimal():
        raise Invalid(f"If-Match {request.headers['if-match'][:80]!r} is no entity tag of an app", "use the GET's ETag")
    return int(version)


def _tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in header.split(",") if tag.strip()]
