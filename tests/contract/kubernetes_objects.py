"""Objects as an API server keeps them: versions, a history for watches, and who manages which field.

Server-side apply after the Kubernetes documentation ("Server-Side Apply"), as far as objects need it that have no other
lists of maps than those keyed by name, port or path.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

Json = dict[str, Any]
Place = tuple[Any, ...]
Key = tuple[str, str, str]
"""Plural, namespace, name."""
_LIST_KEYS = ("name", "containerPort", "port", "mountPath", "type")
_SERVER_SIDE = frozenset({("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")})


class Taken(Exception):
    """Fields that others manage: each with its manager and whether that one applies it."""

    def __init__(self, claims: list[tuple[Place, str, bool]]) -> None:
        super().__init__(claims)
        self.claims = claims


@dataclass
class Held:
    """An object and who manages its leaves: manager and whether it applied them."""

    value: Json
    managers: dict[tuple[str, bool], set[Place]] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """One entry of the history."""

    version: int
    type: str
    key: Key
    value: Json


class Objects:
    """Everything that there is, and what happened to it."""

    def __init__(self) -> None:
        self.held: dict[Key, Held] = {}
        self.history: list[Change] = []
        self.version = 100
        self.oldest = 0
        """Watches from before this version are answered by 410."""

    def get(self, key: Key) -> Json | None:
        """Return an object."""
        return self.held[key].value if key in self.held else None

    def all(self, plural: str, namespace: str = "") -> Iterator[tuple[Key, Json]]:
        """Yield the objects of a kind, by their keys."""
        for key in sorted(self.held):
            if key[0] == plural and namespace in ("", key[1]):
                yield key, self.held[key].value

    def create(self, key: Key, value: Json, manager: str, *, applied: bool = False) -> Json:
        """Keep a new object."""
        made = copy.deepcopy(value)
        meta = made.setdefault("metadata", {})
        meta |= {"name": key[2], "uid": str(uuid4()), "creationTimestamp": now()}
        if key[1]:
            meta["namespace"] = key[1]
        self.held[key] = Held(made, {(manager, applied): set(dict(leaves(value))) - _SERVER_SIDE})
        return self._tell("ADDED", key)

    def apply(self, key: Key, wanted: Json, manager: str, *, force: bool) -> Json:
        """Let an object have these fields and none that the manager had applied before; raise Taken for others'."""
        held = self.held.get(key)
        if held is None:
            return self.create(key, wanted, manager, applied=True)
        now_owned = {place: leaf for place, leaf in leaves(wanted) if place not in _SERVER_SIDE}
        live = dict(leaves(held.value))
        taken = [
            (place, other, by_apply)
            for (other, by_apply), places in held.managers.items()
            if (other, by_apply) != (manager, True)
            for place in places & now_owned.keys()
            if live.get(place) != now_owned[place]
        ]
        if taken and not force:
            raise Taken(taken)
        for place, other, by_apply in taken:
            held.managers[other, by_apply].discard(place)
        before = copy.deepcopy(held.value)
        dropped = held.managers.get((manager, True), set()) - now_owned.keys()
        held.managers[manager, True] = set(now_owned)
        for place in dropped:
            if not any(place in places for places in held.managers.values()):
                remove(held.value, place)
        for place, leaf in now_owned.items():
            assign(held.value, place, leaf)
        return held.value if held.value == before else self._tell("MODIFIED", key)

    def edit(self, key: Key, patch: Json, manager: str) -> Json:
        """Change an object by a merge patch; whoever changes a field manages it from then on."""
        held = self.held[key]
        before = dict(leaves(held.value))
        merge(held.value, copy.deepcopy(patch))
        self.own(key, before, manager)
        return self._tell("MODIFIED", key)

    def own(self, key: Key, before: Mapping[Place, Any], manager: str) -> None:
        """Let the manager have the fields that differ from before."""
        held = self.held[key]
        changed = {place for place, leaf in leaves(held.value) if before.get(place, held) != leaf}
        for places in held.managers.values():
            places -= changed
        held.managers.setdefault((manager, False), set()).update(changed)

    def touched(self, key: Key) -> None:
        """Tell that an object was changed by the cluster itself."""
        self._tell("MODIFIED", key)

    def delete(self, key: Key) -> None:
        """Remove an object."""
        if key in self.held:
            self._tell("DELETED", key)
            del self.held[key]

    def forget_history(self) -> None:
        """Let watches from here and before be too old."""
        self.history.clear()
        self.version += 1
        self.oldest = self.version

    def _tell(self, kind: str, key: Key) -> Json:
        self.version += 1
        value = self.held[key].value
        value["metadata"]["resourceVersion"] = str(self.version)
        self.history.append(Change(self.version, kind, key, copy.deepcopy(value)))
        return value


def now() -> str:
    """The time as the API tells it: whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield every leaf with its place; lists of maps are kept by their keys, other lists are leaves."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*place, key))
    elif isinstance(value, list) and value and (name := _list_key(value)):
        for inner in value:
            yield from leaves(inner, (*place, (name, inner[name])))
    else:
        yield place, value


def assign(value: Json, place: Place, leaf: Any) -> None:
    """Set the leaf at a place, and what leads to it."""
    inner: Any = value
    for step, following in zip(place, [*place[1:], None], strict=True):
        if isinstance(step, tuple):
            found = next((one for one in inner if one.get(step[0]) == step[1]), None)
            if found is None:
                found = {step[0]: step[1]}
                inner.append(found)
            inner = found
        elif following is None:
            inner[step] = copy.deepcopy(leaf)
        else:
            inner = inner.setdefault(step, [] if isinstance(following, tuple) else {})


def remove(value: Json, place: Place) -> None:
    """Remove the leaf at a place."""
    inner: Any = value
    for step in place[:-1]:
        if isinstance(step, tuple):
            inner = next((one for one in inner if one.get(step[0]) == step[1]), None)
        else:
            inner = inner.get(step) if inner else None
    if isinstance(inner, dict):
        inner.pop(place[-1], None)


def merge(value: Json, patch: Json) -> None:
    """Apply a JSON merge patch (RFC 7396)."""
    for key, inner in patch.items():
        if inner is None:
            value.pop(key, None)
        elif isinstance(inner, dict):
            if not isinstance(value.get(key), dict):
                value[key] = {}
            merge(value[key], inner)
        else:
            value[key] = inner


def written(place: Place) -> str:
    """Write a place as the API server does."""
    return "".join(f'[{step[0]}="{step[1]}"]' if isinstance(step, tuple) else f".{step}" for step in place)


def _list_key(value: list[Any]) -> str:
    if not all(isinstance(one, dict) for one in value):
        return ""
    return next((key for key in _LIST_KEYS if all(key in one for one in value)), "")
