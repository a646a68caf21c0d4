"""Text to trees and back: YAML 1.2 (core schema, merge keys of YAML 1.1) and JSON, with bounds on what a file may cost.

PyYAML scans and parses; what its events mean is decided here, because its own types are those of YAML 1.1, where
`22:22` is 1342 and `no` is false. No tag ever makes an object.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from naru.domain.errors import Invalid
from naru.formats.tree import Items, Kind, Node, Place, Scalar, Table

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 100_000
"""How many values a document may have once every alias is written out."""

LOCAL_TAGS = ("!reset", "!override")
MERGE = "<<"
_CORE = "tag:yaml.org,2002:"
_SHAPES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (Kind.NULL, re.compile(r"|~|null|Null|NULL")),
    (Kind.BOOLEAN, re.compile(r"true|True|TRUE|false|False|FALSE")),
    (Kind.INTEGER, re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")),
    (Kind.FLOAT, re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|nan)", re.I)),
)
_TAGGED = {"str": Kind.STRING, "int": Kind.INTEGER, "float": Kind.FLOAT, "bool": Kind.BOOLEAN, "null": Kind.NULL}

Plain = str | int | float | bool | None | Sequence["Plain"] | Mapping[str, "Plain"]
"""What is written: the values of JSON."""


def decoded(content: bytes, file: str) -> str:
    """Return the text of a file; raise Invalid when it is too large or not UTF-8."""
    if len(content) > MAX_BYTES:
        raise Invalid(f"{file} is larger than 1 MiB", "split it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"{file} is not UTF-8: {error.reason} at byte {error.start}", "save it as UTF-8") from error


def parse_yaml(text: str, file: str) -> tuple[Node, ...]:
    """Return the documents of a YAML file; raise Invalid with the line where it is wrong, large or deep."""
    try:
        return tuple(_Composer(file, yaml.parse(text, yaml.SafeLoader)).documents())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1 if mark else 0)
        raise Invalid(f"{place} is no YAML: {error.problem or error.context}", "correct that line") from error
    except yaml.YAMLError as error:
        raise Invalid(f"{file} is no YAML: {error}", "save it as plain text") from error


def parse_json(text: str, file: str) -> Node:
    """Return the tree of a JSON file; raise Invalid with the line where it is wrong."""
    budget = iter(range(MAX_NODES))

    def constant(name: str) -> None:
        raise Invalid(f"{file} holds {name}, which is no JSON", "use null or a number")

    try:
        return _from_json(
            json.loads(text, object_pairs_hook=_Pairs, parse_float=_Number, parse_int=_Number, parse_constant=constant),
            file,
            budget,
        )
    except json.JSONDecodeError as error:
        raise Invalid(f"{Place(file, error.lineno)} is no JSON: {error.msg}", "correct that line") from error
    except RecursionError as error:
        raise Invalid(f"{file} is nested deeper than {MAX_DEPTH} levels", "flatten it") from error


def write_yaml(*documents: Plain) -> str:
    """Return documents as YAML that this module, and readers of YAML 1.1, read as the same values."""
    return yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=10_000
    )


def write_json(document: Plain) -> str:
    """Return a document as JSON."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


class _Dumper(yaml.SafeDumper):
    """Writes shared values twice, and quotes every text that some reader takes for another type."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if "\n" in text and all(line.isprintable() for line in text.split("\n")):
        return dumper.represent_scalar(f"{_CORE}str", text, style="|")
    tag = dumper.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    plain = text.isprintable() and _kind(text) is Kind.STRING and tag == f"{_CORE}str"
    return dumper.represent_scalar(f"{_CORE}str", text, style=None if plain else '"')


_Dumper.add_representer(str, _quoted)


class _Composer:
    """Builds the documents of one stream of events."""

    def __init__(self, file: str, events: Iterator[Event]) -> None:
        self._file = file
        self._events = events
        self._sizes: dict[int, int] = {}
        self._anchors: dict[str, Node] = {}
        self._count = 0

    def documents(self) -> Iterator[Node]:
        for event in self._events:
            match event:
                case DocumentStartEvent():
                    self._anchors = {}
                    yield self._node(next(self._events), 0)
                case DocumentEndEvent() | StreamEndEvent() | _:
                    continue

    def _node(self, event: Event, depth: int) -> Node:
        place = Place(self._file, event.start_mark.line + 1 if event.start_mark else 0)
        if depth > MAX_DEPTH:
            raise Invalid(f"{place} is nested deeper than {MAX_DEPTH} levels", "flatten it")
        before = self._count
        self._spend(1, place)
        node: Node
        match event:
            case AliasEvent(anchor=anchor):
                return self._alias(anchor or "", place)
            case ScalarEvent(value=value, tag=tag, implicit=implicit):
                node = Scalar(value, self._scalar_kind(value, tag, implicit, place), place, self._tag(tag, place))
            case SequenceStartEvent(tag=tag):
                node = Items(tuple(self._items(depth)), place, self._tag(tag, place))
            case MappingStartEvent(tag=tag):
                node = Table(self._entries(depth, place), place, self._tag(tag, place))
            case _:
                raise Invalid(f"{place} is no value", "correct that line")
        if anchor := getattr(event, "anchor", None):
            self._anchors[anchor] = node
            self._sizes[id(node)] = self._count - before
        return node

    def _alias(self, anchor: str, place: Place) -> Node:
        node = self._anchors.get(anchor)
        if node is None:
            raise Invalid(f"{place} refers to *{anchor}, which does not stand before it", "define the anchor first")
        self._spend(self._sizes[id(node)], place)
        return node

    def _items(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), SequenceEndEvent):
            yield self._node(event, depth + 1)

    def _entries(self, depth: int, place: Place) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._node(event, depth + 1)
            if not isinstance(key, Scalar):
                raise Invalid(f"{key.place} is a list or a mapping as a name", "use a text")
            value = self._node(next(self._events), depth + 1)
            if key.text == MERGE and getattr(event, "style", "") is None:
                for name, entry in _merged(value, key.place).items():
                    merged.setdefault(name, entry)
            elif key.text in own:
                raise Invalid(f"{key.place} repeats the name {key.text!r}", "keep one of them")
            else:
                own[key.text] = value
        return {**merged, **own}

    def _scalar_kind(self, value: str, tag: str | None, implicit: tuple[bool, bool], place: Place) -> Kind:
        if tag and tag.startswith(_CORE):
            named = _TAGGED.get(tag.removeprefix(_CORE))
            if named is None:
                raise Invalid(f"{place} has the tag {tag}", "leave it out")
            return named
        return _kind(value) if (implicit[0] and tag is None) or tag in LOCAL_TAGS else Kind.STRING

    def _tag(self, tag: str | None, place: Place) -> str:
        if tag is None or tag == "!" or tag.startswith(_CORE):
            return ""
        if tag not in LOCAL_TAGS:
            raise Invalid(f"{place} has the unknown tag {tag}", f"leave it out; known are {' and '.join(LOCAL_TAGS)}")
        return tag

    def _spend(self, nodes: int, place: Place) -> None:
        self._count += nodes
        if self._count > MAX_NODES:
            raise Invalid(
                f"{place}: the file has more than {MAX_NODES} values once aliases are written out", "split it"
            )


def _merged(value: Node, place: Place) -> dict[str, Node]:
    """Return what a merge key brings: of several mappings the first that has a name wins."""
    sources = value.items if isinstance(value, Items) else (value,)
    found: dict[str, Node] = {}
    for source in sources:
        if not isinstance(source, Table):
            raise Invalid(f"{place} merges something that is no mapping", "name a mapping: <<: *anchor")
        for name, entry in source.entries.items():
            found.setdefault(name, entry)
    return found


def _kind(text: str) -> Kind:
    return next((kind for kind, shape in _SHAPES if shape.fullmatch(text)), Kind.STRING)


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


class _Pairs(list[tuple[str, object]]):
    """The members of an object, in their order and with repetitions."""


def _from_json(value: object, file: str, budget: Iterator[int], depth: int = 0) -> Node:
    place = Place(file)
    if depth > MAX_DEPTH:
        raise Invalid(f"{file} is nested deeper than {MAX_DEPTH} levels", "flatten it")
    if next(budget, None) is None:
        raise Invalid(f"{file} has more than {MAX_NODES} values", "split it")
    match value:
        case None:
            return Scalar("", Kind.NULL, place)
        case bool():
            return Scalar("true" if value else "false", Kind.BOOLEAN, place)
        case _Number():
            return Scalar(str(value), _kind(value), place)
        case str():
            return Scalar(value, Kind.STRING, place)
        case _Pairs():
            entries = {name: _from_json(entry, file, budget, depth + 1) for name, entry in value}
            if len(entries) < len(value):
                raise Invalid(f"{file} repeats a name of {', '.join(entries)}", "keep one of them")
            return Table(entries, place)
        case list():
            return Items(tuple(_from_json(item, file, budget, depth + 1) for item in value), place)
        case _:
            raise Invalid(f"{file} holds a value that is no JSON", "correct it")
