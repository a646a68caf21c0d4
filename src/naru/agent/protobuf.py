"""Protocol Buffers messages as frozen dataclasses: each field with its number, and nothing generated.

A field is `str`, `int`, `bool`, an `IntEnum`, another message (or None where it may be absent), `tuple[…, ...]` of
one of these, or `Mapping[str, str]`. Integers are 64-bit varints: enumerations, int32 and uint64 look the same.
"""

import types
from collections.abc import Mapping
from dataclasses import field, fields
from functools import cache
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from naru.domain.errors import Invalid

T = TypeVar("T")

_PACKAGE: Final = "naru"
_NUMBER: Final = "number"
_SCALARS: Final = (
    (bool, FieldDescriptorProto.TYPE_BOOL),
    (int, FieldDescriptorProto.TYPE_INT64),
    (str, FieldDescriptorProto.TYPE_STRING),
)


def at(number: int, default: T) -> T:
    """Say under which number a field of a message goes; `default` is its value when it is absent."""
    metadata = {_NUMBER: number}
    if isinstance(default, dict):
        return cast(T, field(default_factory=dict, metadata=metadata))
    return field(default=default, metadata=metadata)


def encode(value: object) -> bytes:
    """Write a message."""
    kind: Any = type(value)
    message = _class_of(kind)()
    _fill(message, value)
    return message.SerializeToString()


def decode(kind: type[T], content: bytes) -> T:
    """Read a message; unknown fields are skipped. Raises Invalid for bytes that are none, or hold an unknown choice."""
    try:
        return _value(kind, _class_of(cast(Any, kind)).FromString(content))
    except (DecodeError, ValueError) as error:
        raise Invalid(f"these bytes are no {kind.__name__}") from error


@cache
def _class_of(kind: Any) -> type[Message]:
    pool = DescriptorPool()
    for described in _reached(kind):
        name = described.__name__
        file = FileDescriptorProto(name=name, package=_PACKAGE, syntax="proto3")
        file.message_type.append(_descriptor(described))
        file.dependency.extend(sorted({other.__name__ for other in _parts(described)} - {name}))
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{kind.__name__}"))


def _reached(kind: type) -> list[type]:
    """List the messages that `kind` is made of, each after those it needs."""
    found: list[type] = []
    for part in _parts(kind):
        found += [other for other in _reached(part) if other not in found]
    return [*found, kind]


def _parts(kind: type) -> list[type]:
    shapes = (_shape(hint) for hint in get_type_hints(kind).values())
    return [inner for inner, _ in shapes if _is_message(inner)]


def _descriptor(kind: type) -> DescriptorProto:
    described = DescriptorProto(name=kind.__name__)
    hints = get_type_hints(kind)
    for one in fields(kind):
        inner, many = _shape(hints[one.name])
        entry = described.field.add(
            name=one.name,
            number=one.metadata[_NUMBER],
            label=FieldDescriptorProto.LABEL_REPEATED if many else FieldDescriptorProto.LABEL_OPTIONAL,
        )
        if inner is Mapping:
            pair = DescriptorProto(name=f"{one.name.title().replace('_', '')}Entry")
            for number, name in enumerate(("key", "value"), 1):
                pair.field.add(
                    name=name,
                    number=number,
                    type=FieldDescriptorProto.TYPE_STRING,
                    label=FieldDescriptorProto.LABEL_OPTIONAL,
                )
            pair.options.map_entry = True
            described.nested_type.append(pair)
            entry.type = FieldDescriptorProto.TYPE_MESSAGE
            entry.type_name = f".{_PACKAGE}.{kind.__name__}.{pair.name}"
        elif _is_message(inner):
            entry.type = FieldDescriptorProto.TYPE_MESSAGE
            entry.type_name = f".{_PACKAGE}.{inner.__name__}"
        else:
            entry.type = next(code for scalar, code in _SCALARS if issubclass(inner, scalar))
    return described


def _shape(hint: Any) -> tuple[type, bool]:
    """Return what a field holds, and whether it holds many."""
    match get_origin(hint), get_args(hint):
        case (origin, (inner, *_)) if origin is tuple:
            return inner, True
        case (origin, _) if origin is Mapping:
            return Mapping, True
        case (origin, args) if origin in (types.UnionType, Union):
            return next(arg for arg in args if arg is not type(None)), False
        case _:
            return hint, False


def _is_message(kind: type) -> bool:
    return hasattr(kind, "__dataclass_fields__")


def _fill(message: Message, value: Any) -> None:
    for one in fields(value):
        held = getattr(value, one.name)
        target = getattr(message, one.name)
        if isinstance(held, Mapping):
            target.update(held)
        elif isinstance(held, tuple):
            for item in held:
                if _is_message(type(item)):
                    _fill(target.add(), item)
                else:
                    target.append(item)
        elif _is_message(type(held)):
            target.SetInParent()
            _fill(target, held)
        elif held is not None:
            setattr(message, one.name, held)


def _value(kind: type[T], message: Message) -> T:
    hints = get_type_hints(kind)
    found: dict[str, object] = {}
    for one in fields(kind):  # type: ignore[arg-type]
        inner, many = _shape(hints[one.name])
        held: Any = getattr(message, one.name)
        if inner is Mapping:
            found[one.name] = dict(held)
        elif many:
            found[one.name] = tuple(_value(inner, item) if _is_message(inner) else inner(item) for item in held)
        elif _is_message(inner):
            found[one.name] = _value(inner, held) if message.HasField(one.name) else None
        else:
            found[one.name] = inner(held)
    return kind(**found)
