"""JSON from outside, read member by member with its type, and JSON of ours, always the same bytes."""

import json
from collections.abc import Mapping
from typing import Self, TypeVar

from naru.domain.errors import Invalid

T = TypeVar("T")
_MEND = "push or save the image again with a current tool"


class Document:
    """A JSON object whose members are read by their type; anything else is Invalid. null counts as absent."""

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, dict):
            raise Invalid(f"{what} is not a JSON object", _MEND)
        self._members: dict[str, object] = value
        self._what = what

    @classmethod
    def load(cls, content: bytes, what: str, limit: int) -> Self:
        """Parse one object of at most `limit` bytes; `what` names it in errors."""
        return cls(load_json(content, what, limit), what)

    def has(self, name: str) -> bool:
        """Whether there is such a member, and not null."""
        return self._members.get(name) is not None

    def text(self, name: str) -> str:
        """Return a string, empty when absent."""
        return self._typed(name, str, "")

    def integer(self, name: str) -> int:
        """Return a whole number, 0 when absent."""
        if isinstance(self._members.get(name), bool):
            raise self._wrong(name)
        return self._typed(name, int, 0)

    def member(self, name: str) -> "Document":
        """Return an object that must be there."""
        return Document(self._members.get(name), f"{name} of {self._what}")

    def objects(self, name: str) -> list["Document"]:
        """Return a list of objects, empty when absent."""
        return [Document(value, f"{name} of {self._what}") for value in self._typed(name, list, [])]

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings, empty when absent."""
        values: tuple[object, ...] = tuple(self._typed(name, list, []))
        return tuple(self._text(name, value) for value in values)

    def names(self, name: str) -> tuple[str, ...]:
        """Return the names of an object's members, empty when absent."""
        return tuple(self._typed(name, dict, {}))

    def strings_by_name(self, name: str) -> Mapping[str, str]:
        """Return an object whose members are strings, empty when absent."""
        members: dict[str, object] = self._typed(name, dict, {})
        return {key: self._text(name, value) for key, value in members.items()}

    def _typed(self, name: str, kind: type[T], absent: T) -> T:
        value = self._members.get(name)
        if value is None:
            return absent
        if not isinstance(value, kind):
            raise self._wrong(name)
        return value

    def _text(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            raise self._wrong(name)
        return value

    def _wrong(self, name: str) -> Invalid:
        return Invalid(f"{name} of {self._what} has the wrong type", _MEND)


def load_json(content: bytes, what: str, limit: int) -> object:
    """Parse bounded, strict JSON: UTF-8, no duplicate names, no NaN, no half characters. Raises Invalid."""
    if len(content) > limit:
        raise Invalid(f"{what} has {len(content)} bytes", f"at most {limit} are read")
    try:
        value: object = json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
        if b"\\u" in content:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{what} is no proper JSON", _MEND) from error
    return value


def canonical(document: Mapping[str, object]) -> bytes:
    """Write JSON with sorted names, no spaces, and without members whose value is None."""
    return json.dumps(_without_none(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate names")
    return members


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _without_none(value: object) -> object:
    match value:
        case Mapping():
            return {name: _without_none(member) for name, member in value.items() if member is not None}
        case list():
            return [_without_none(member) for member in value]
        case _:
            return value
