"""A document as a tree whose every value knows the file and line that it came from.

Readers walk it through `At`, which knows the path too, so that every complaint names both.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar, assert_never

from naru.domain.errors import Invalid


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file; line 0 means the whole file."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Kind(StrEnum):
    """What a scalar is in the core schema of YAML 1.2 (section 10.3), which JSON shares."""

    STRING = "text"
    INTEGER = "a whole number"
    FLOAT = "a number"
    BOOLEAN = "true or false"
    NULL = "nothing"


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value without parts, as it was written; `tag` is a local tag such as `!reset`."""

    text: str
    kind: Kind = Kind.STRING
    place: Place = field(default=Place(), compare=False)
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple["Node", ...] = ()
    place: Place = field(default=Place(), compare=False)
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Names with values, in their order."""

    entries: Mapping[str, "Node"] = field(default_factory=dict)
    place: Place = field(default=Place(), compare=False)
    tag: str = ""


Node = Scalar | Items | Table
T = TypeVar("T")

MAX_NUMBER = 10**15
NOTHING = Scalar("", Kind.NULL)
_TRUE = frozenset({"true", "yes", "on", "y", "1"})
_FALSE = frozenset({"false", "no", "off", "n", "0", ""})


@dataclass(frozen=True, slots=True)
class At:
    """A node at its path, `services.web.ports[0]`; a node that is not there counts as nothing."""

    path: str
    node: Node = NOTHING

    @property
    def given(self) -> bool:
        """Whether anything is said here."""
        return not (isinstance(self.node, Scalar) and self.node.kind is Kind.NULL)

    @property
    def meant(self) -> bool:
        """Whether what is said here asks for anything: it is not false, empty or nothing."""
        match self.node:
            case Scalar(text, kind):
                return kind is not Kind.NULL and text.lower() not in ("", "false")
            case Items(items):
                return bool(items)
            case Table(entries):
                return bool(entries)
            case _:
                assert_never(self.node)

    def __getitem__(self, name: str) -> "At":
        entries = self.node.entries if isinstance(self.node, Table) else {}
        return At(f"{self.path}.{name}" if self.path else name, entries.get(name, NOTHING))

    def within(self, *names: str) -> "At":
        """Return what is below several names."""
        found = self
        for name in names:
            found = found[name]
        return found

    def entries(self) -> Iterator[tuple[str, "At"]]:
        """Yield the names and what they hold; raise Invalid for anything but a table, nothing for nothing."""
        match self.node:
            case Table(entries):
                for name in entries:
                    yield name, self[name]
            case Scalar(kind=Kind.NULL):
                return
            case _:
                raise self.wrong("a mapping of names to values")

    def items(self) -> Iterator["At"]:
        """Yield what the list holds; raise Invalid for anything but a list, nothing for nothing."""
        match self.node:
            case Items(items):
                for number, item in enumerate(items):
                    yield At(f"{self.path}[{number}]", item)
            case Scalar(kind=Kind.NULL):
                return
            case _:
                raise self.wrong("a list")

    def text(self, default: str = "") -> str:
        """Return a scalar as it was written."""
        match self.node:
            case Scalar(kind=Kind.NULL):
                return default
            case Scalar(text):
                return text
            case _:
                raise self.wrong("a text")

    def integer(self, default: int = 0) -> int:
        """Return a whole number, also one that stands in quotes."""
        if not self.given:
            return default
        text = self.text()
        try:
            number = int(text, 0) if text[:2].lower() in ("0x", "0o") else int(text)
        except ValueError:
            raise self.wrong("a whole number") from None
        if abs(number) > MAX_NUMBER:
            raise self.wrong("a whole number of a size that anything has")
        return number

    def number(self, default: float = 0.0) -> float:
        """Return a number, also one that stands in quotes; infinity, NaN and what is as good as infinite are none."""
        if not self.given:
            return default
        try:
            number = float(self.text())
        except ValueError:
            raise self.wrong("a number") from None
        if not abs(number) <= MAX_NUMBER:
            raise self.wrong("a number of a size that anything has")
        return number

    def boolean(self, default: bool = False) -> bool:
        """Return true or false, also where it stands in quotes."""
        if not self.given:
            return default
        text = self.text().lower()
        if text not in _TRUE | _FALSE:
            raise self.wrong("true or false")
        return text in _TRUE

    def texts(self) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(item.text() for item in self.items())

    def only(self, known: Collection[str]) -> None:
        """Raise Invalid for a name that is none of `known` and no `x-` extension, with the nearest one that is."""
        for name, value in self.entries():
            if name not in known and not name.startswith("x-"):
                raise value.unknown(known)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Say of every Invalid that does not name this place itself that it is about this place."""
        try:
            yield
        except Invalid as error:
            if self.path in error.cause:
                raise
            raise self.invalid(f"is refused: {error.cause}", error.mend) from error

    def unknown(self, known: Collection[str]) -> Invalid:
        """Return the complaint that nobody knows this name."""
        near = nearest(self.path.rpartition(".")[2], known)
        mend = f"did you mean {near}?" if near else f"known here: {', '.join(sorted(known)) or 'nothing'}"
        return self.invalid("is unknown", mend)

    def wrong(self, wanted: str) -> Invalid:
        """Return the complaint that something else is wanted here."""
        return self.invalid(f"is {shown(self.node)}, not {wanted}", "correct it")

    def invalid(self, what: str, mend: str = "") -> Invalid:
        """Return a complaint about this place."""
        place = f" ({self.node.place})" if self.node.place.file else ""
        return Invalid(f"{self.path or 'the file'}{place} {what}", mend)


def nearest(name: str, known: Collection[str]) -> str:
    """Return the known name that is most like `name`, empty when none is."""
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)), "")


def shown(node: Node) -> str:
    """Return a node in a few words."""
    match node:
        case Scalar(kind=Kind.NULL):
            return "empty"
        case Scalar(text):
            return repr(text if len(text) <= 60 else f"{text[:57]}…")
        case Items():
            return "a list"
        case Table():
            return "a mapping"
        case _:
            assert_never(node)


def told(name: str, value: At) -> str:
    """Return a name with its value, where that is short."""
    match value.node:
        case Scalar("true"):
            words = ""
        case Scalar(text):
            words = text
        case Items(items):
            words = ", ".join(item.text for item in items if isinstance(item, Scalar))
        case Table(entries):
            words = ", ".join(entries)
        case _:
            assert_never(value.node)
    return f"{name}: {words}" if words and len(words) <= 60 else name
