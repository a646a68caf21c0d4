"""containerd's filters (its package `filters`): `kind==committed,labels."a.b"==c` and alike, parsed and applied.

A filter is selectors that must all hold, joined by commas; a list of filters lets through what any of them does.
Selectors are `FIELD` (it is there), `FIELD==VALUE`, `FIELD!=VALUE` and `FIELD~=REGEX`.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from naru.agent.snapshotter.values import Kind, Snapshot
from naru.domain.errors import Invalid

Match = Callable[[Snapshot], bool]

_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_NAME: Final = rf"(?:{_QUOTED}|[A-Za-z_][A-Za-z0-9_]*)"
_SELECTOR: Final = re.compile(
    rf"(?P<path>{_NAME}(?:\.{_NAME})*)(?:(?P<operator>==|!=|~=)(?P<value>{_QUOTED}|[^,\"]*))?(?P<end>,|$)"
)
_PART: Final = re.compile(_NAME)
_KINDS: Final = {Kind.VIEW: "view", Kind.ACTIVE: "active", Kind.COMMITTED: "committed"}


def parse(filters: Sequence[str]) -> Match:
    """Return what decides whether a snapshot is let through; without filters everything is. Raises Invalid."""
    alternatives = [_filter(text) for text in filters]
    if not alternatives:
        return lambda _: True
    return lambda snapshot: any(all(one(snapshot) for one in every) for every in alternatives)


def _filter(text: str) -> list[Match]:
    selectors: list[Match] = []
    position, more = 0, bool(text)
    while more:
        found = _SELECTOR.match(text, position)
        if found is None:
            raise Invalid(f"the filter {text[:200]!r} is not understood at character {position + 1}", 'use name=="x"')
        selectors.append(_selector(found["path"], found["operator"], found["value"] or ""))
        position, more = found.end(), found["end"] == ","
    return selectors


def _selector(path: str, operator: str | None, value: str) -> Match:
    field = _field([_plain(part) for part in _PART.findall(path)])
    wanted = _plain(value)
    match operator:
        case None:
            return lambda snapshot: field(snapshot) is not None
        case "==":
            return lambda snapshot: field(snapshot) == wanted
        case "!=":
            return lambda snapshot: (field(snapshot) or "") != wanted
        case _:
            try:
                pattern = re.compile(wanted)
            except re.error as error:
                raise Invalid(f"{wanted[:200]!r} is no regular expression") from error
            return lambda snapshot: pattern.search(field(snapshot) or "") is not None


def _field(path: Sequence[str]) -> Callable[[Snapshot], str | None]:
    match path:
        case ["name"]:
            return lambda snapshot: snapshot.key
        case ["parent"]:
            return lambda snapshot: snapshot.parent
        case ["kind"]:
            return lambda snapshot: _KINDS.get(snapshot.kind, "unknown")
        case ["labels", *rest] if rest:
            label = ".".join(rest)
            return lambda snapshot: snapshot.labels.get(label)
        case _:
            return lambda _: None


def _plain(text: str) -> str:
    if not text.startswith('"'):
        return text
    return re.sub(r"\\(.)", r"\1", text[1:-1])
