"""Domain values as JSON and back.

The type annotations of the frozen dataclasses are the format: a dataclass is an object of its fields, an enum its
value, a time its ISO 8601 text, a tuple an array, a mapping an object, and a member of a union of dataclasses the one
whose `kind` matches. What is missing takes the field's default, so fields may be added later; what is not known is
refused, because a newer Naru meant something by it. Renaming a field or a kind needs a migration.
"""

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from naru.domain.errors import NaruError, Unavailable

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Decoder = Callable[[Any], Any]
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
        value: T = _decoder(cast(Hashable, kind))(document)
    except (TypeError, ValueError, NaruError) as error:
        raise Unavailable(
            f"the store holds something that this version cannot read: {error}",
            "start the version that wrote it, or a newer one",
        ) from error
    return value


@cache
def _decoder(kind: Any) -> Decoder:
    """Build the decoder of a type once: a page of releases is thousands of values."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _union_decoder(arguments)
    if origin is Literal:
        return _checked(kind, lambda document: document in arguments, lambda document: document)
    if origin is Mapping:
        name, item = map(_decoder, arguments)
        return _checked(kind, _is(dict), lambda document: {name(n): item(i) for n, i in document.items()})
    if origin is tuple and arguments[-1] is Ellipsis:
        item = _decoder(arguments[0])
        return _checked(kind, _is(list), lambda document: tuple(map(item, document)))
    if origin is tuple:
        items = list(map(_decoder, arguments))
        return _checked(kind, _is(list), lambda document: tuple(i(d) for i, d in zip(items, document, strict=True)))
    if dataclasses.is_dataclass(kind):
        return _checked(kind, _is(dict), _dataclass_decoder(kind))
    if kind is datetime:
        return _checked(kind, _is(str), datetime.fromisoformat)
    if issubclass(kind, StrEnum):
        return _checked(kind, _is(str), kind)
    return _checked(kind, _is(int, float) if kind is float else _is(kind), lambda document: document)


def _dataclass_decoder(kind: Any) -> Decoder:
    decoders = {name: _decoder(hint) for name, hint in _fields(kind).items()}

    def read(document: Any) -> Any:
        if unknown := document.keys() - decoders.keys():
            raise ValueError(f"{', '.join(sorted(unknown))} of {kind.__name__}")
        return kind(**{name: decoders[name](item) for name, item in document.items()})

    return read


def _union_decoder(members: tuple[Any, ...]) -> Decoder:
    """Decode None as None and the rest as the only other member, or the one that has the document's `kind`."""
    optional = NoneType in members
    members = tuple(member for member in members if member is not NoneType)
    if len(members) == 1:
        single = _decoder(members[0])
        return lambda document: None if optional and document is None else single(document)
    by_kind = {tag: _decoder(member) for member in members for tag in get_args(_fields(member)["kind"])}

    def read(document: Any) -> Any:
        if optional and document is None:
            return None
        tag = document.get("kind") if isinstance(document, dict) else None
        if not isinstance(tag, str) or tag not in by_kind:
            raise ValueError(f"{str(document)[:60]!r} is none of {', '.join(by_kind)}")
        return by_kind[tag](document)

    return read


def _checked(kind: Any, fits: Callable[[Any], bool], read: Decoder) -> Decoder:
    def checked(document: Any) -> Any:
        if not fits(document):
            raise ValueError(f"{str(document)[:60]!r} is no {getattr(kind, '__name__', kind)}")
        return read(document)

    return checked


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda document: type(document) in kinds


def _element_kinds(arguments: tuple[Any, ...], length: int) -> tuple[Any, ...]:
    return (arguments[0],) * length if arguments[-1] is Ellipsis else arguments


@cache
def _fields(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
