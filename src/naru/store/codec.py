"""Domain values as JSON and back.

The type annotations of the frozen dataclasses are the format: a dataclass is an object of its fields, an enum its
value, a time its ISO 8601 text, a tuple an array, a mapping an object, and a member of a union of dataclasses the one
whose `kind` matches. What is missing takes the field's default, so fields may be added later; what is not known is
refused, because a newer Naru meant something by it. Renaming a field or a kind needs a migration.
"""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from naru.domain.errors import NaruError, Unavailable

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
T = TypeVar("T")


def encode(value: object, kind: Any) -> Json:
    """Return `value`, which is of type `kind`, as JSON; raise TypeError when it is not of that type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        member = next((m for m in arguments if type(value) is m or (m is float and type(value) is int)), None)
        if member is None:
            raise TypeError(f"{value!r} is no {kind}")
        return encode(value, member)
    if origin is Literal and value in arguments and isinstance(value, str):
        return value
    if origin is Mapping and isinstance(value, Mapping):
        return {str(encode(name, arguments[0])): encode(item, arguments[1]) for name, item in value.items()}
    if origin is tuple and isinstance(value, tuple):
        kinds = _element_kinds(arguments, len(value))
        return [encode(item, element) for item, element in zip(value, kinds, strict=True)]
    if dataclasses.is_dataclass(kind) and type(value) is kind:
        return {name: encode(getattr(value, name), hint) for name, hint in _fields(kind).items()}
    if kind is datetime and isinstance(value, datetime):
        return value.isoformat()
    if kind is float and type(value) is int:
        return value
    if type(value) is kind and isinstance(value, StrEnum):
        return value.value
    if type(value) is kind and isinstance(value, None | bool | int | float | str):
        return value
    raise TypeError(f"{value!r} is no {kind}")


def decode(document: Json, kind: type[T]) -> T:
    """Return the value of type `kind` that `document` stands for; raise Unavailable when it stands for none."""
    try:
        value: T = _decode(document, kind)
    except (TypeError, ValueError, NaruError) as error:
        raise Unavailable(
            f"the store holds something that this version cannot read: {error}",
            "start the version that wrote it, or a newer one",
        ) from error
    return value


def _decode(document: Json, kind: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _decode_union(document, arguments)
    if origin is Literal and document in arguments:
        return document
    if origin is Mapping and isinstance(document, dict):
        return {_decode(name, arguments[0]): _decode(item, arguments[1]) for name, item in document.items()}
    if origin is tuple and isinstance(document, list):
        kinds = _element_kinds(arguments, len(document))
        return tuple(_decode(item, element) for item, element in zip(document, kinds, strict=True))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(document, dict):
        fields = _fields(kind)
        if unknown := document.keys() - fields.keys():
            raise ValueError(f"{', '.join(sorted(unknown))} of {kind.__name__}")
        return kind(**{name: _decode(item, fields[name]) for name, item in document.items()})
    if kind is datetime and isinstance(document, str):
        return datetime.fromisoformat(document)
    if isinstance(kind, type) and issubclass(kind, StrEnum) and isinstance(document, str):
        return kind(document)
    if kind is float and type(document) in (int, float):
        return document
    if type(document) is kind:
        return document
    raise ValueError(f"{str(document)[:60]!r} is no {getattr(kind, '__name__', kind)}")


def _decode_union(document: Json, members: tuple[Any, ...]) -> Any:
    if document is None and NoneType in members:
        return None
    members = tuple(member for member in members if member is not NoneType)
    if len(members) > 1 and isinstance(document, dict):
        members = tuple(m for m in members if document.get("kind") in get_args(_fields(m)["kind"]))
    if len(members) != 1:
        raise ValueError(f"{str(document)[:60]!r} is of no known kind")
    return _decode(document, members[0])


def _element_kinds(arguments: tuple[Any, ...], length: int) -> tuple[Any, ...]:
    return (arguments[0],) * length if arguments[-1] is Ellipsis else arguments


@cache
def _fields(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
