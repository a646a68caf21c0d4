"""Finds what a body says and its type does not know, so that a typo is an error and never silently nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from naru.domain.errors import Invalid

_ALTERNATIVES = (Union, UnionType)


def refuse_unknown(kind: Any, document: object) -> None:
    """Raise Invalid, naming it, when a field of the document is unknown to `kind` or a text holds a NUL."""
    for place, known in unknown_fields(kind, document):
        similar = get_close_matches(place.rpartition(".")[2], known, 1)
        mend = f"did you mean {similar[0]}?" if similar else f"it may be {', '.join(sorted(known))}"
        raise Invalid(f"there is no field {place[:200]}", mend)
    if _holds_nul(document):
        raise Invalid("a text in the body holds a NUL character", "remove it")


def unknown_fields(kind: Any, document: object, place: str = "") -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the dotted place of each unknown field with the names that are known there.

    Follows dataclasses through mappings, sequences and unions; an alternative is told by its `kind`.
    """
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in _ALTERNATIVES:
        found = [tuple(unknown_fields(one, document, place)) for one in get_args(kind) if _fits(one, document)]
        yield from min(found, key=len, default=())
    elif isinstance(kind, type) and is_dataclass(kind) and isinstance(document, dict):
        fields = _fields(kind)
        for name, value in document.items():
            if name in fields:
                yield from unknown_fields(fields[name], value, f"{place}{name}.")
            else:
                yield f"{place}{name}", frozenset(fields)
    elif isinstance(document, list) and (arguments := get_args(kind)):
        for number, value in enumerate(document):
            yield from unknown_fields(arguments[0], value, f"{place}{number}.")


@cache
def _fields(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _fits(kind: Any, document: object) -> bool:
    """Say whether the document may be of this alternative of a union."""
    if not (isinstance(kind, type) and is_dataclass(kind) and isinstance(document, dict)):
        return not is_dataclass(kind) and not isinstance(document, dict)
    wanted = _fields(kind).get("kind")
    return get_origin(wanted) is not Literal or "kind" not in document or document["kind"] in get_args(wanted)


def _holds_nul(document: object) -> bool:
    match document:
        case str():
            return "\0" in document
        case list():
            return any(map(_holds_nul, document))
        case dict():
            return any(_holds_nul(key) or _holds_nul(value) for key, value in document.items())
        case _:
            return False
