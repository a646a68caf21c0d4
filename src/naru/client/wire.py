"""Domain values as the JSON of our API, both ways: the door where answers are parsed."""

import base64
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from naru.domain.account import ApiToken
from naru.domain.errors import Invalid, NaruError
from naru.domain.instance import ExecResult

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list and the cursor of the next one, None after the last."""

    items: tuple[T, ...]
    next: str | int | None = None


@dataclass(frozen=True, slots=True)
class CreatedToken:
    """A new API token with its value, which the server shows once."""

    token: ApiToken
    value: str


@dataclass(frozen=True, slots=True)
class SavedSecret:
    """Which version a secret's value got."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class LoginCode:
    """A one-time code that signs a browser in."""

    code: str


@dataclass(frozen=True, slots=True)
class ExecAnswer:
    """An ExecResult whose bytes travel as base64, in either alphabet (RFC 4648, sections 4 and 5)."""

    exit_code: int
    stdout: str
    stderr: str

    def result(self) -> ExecResult:
        """Return the bytes that the command wrote."""
        return ExecResult(self.exit_code, _bytes(self.stdout), _bytes(self.stderr))


def parse(shape: type[T], body: bytes) -> T:
    """Return the value of `shape` that `body` holds, else raise Invalid; fields that we do not know are left out."""
    try:
        value: T = _adapter(cast(Hashable, shape)).validate_json(body)
    except (ValidationError, NaruError) as error:
        raise Invalid(
            f"the server's answer is not understood: {_first_line(error)}",
            "use the same version of naru on both sides, and check that the address is that of a Naru server",
        ) from error
    return value


def document(value: object) -> bytes:
    """Return `value` as our API writes it."""
    return to_json(value, bytes_mode="base64")


@cache
def _adapter(shape: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, shape))


def _first_line(error: ValidationError | NaruError) -> str:
    match error:
        case ValidationError():
            first = error.errors(include_url=False, include_input=False)[0]
            return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
        case _:
            return error.cause


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.replace("-", "+").replace("_", "/"))
