"""Several Compose files as one (Compose specification, 13-merge)."""

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from naru.formats.compose.shapes import OVERRIDE, RESET
from naru.formats.tree import At, Items, Node, Scalar, Table

REPLACED = (
    "services.*.command",
    "services.*.entrypoint",
    "services.*.healthcheck.test",
)
"""Lists that the later file replaces; to all others it appends."""

KEYED: Mapping[str, tuple[str, ...]] = {
    "services.*.ports": ("host_ip", "target", "published", "protocol"),
    "services.*.volumes": ("target",),
    "services.*.secrets": ("target", "source"),
    "services.*.configs": ("target", "source"),
    "services.*.env_file": ("path",),
}
"""Lists of which the later file replaces what has the same key; a secret's key is its target, else its source."""

_DEFAULTS = {"protocol": "tcp"}


def merge(base: Node | None, over: Node, path: str = "") -> Node:
    """Return `base` with `over` on top of it: mappings are merged, lists appended, everything else replaced.

    `!override` replaces what was there and `!reset` takes it away. Both trees have their short forms written out.
    """
    if over.tag in (RESET, OVERRIDE) or base is None or type(base) is not type(over):
        base = None
    match over:
        case Scalar():
            return replace(over, tag="")
        case Items(items):
            earlier = base.items if isinstance(base, Items) and not _matches(path, REPLACED) else ()
            later = tuple(merge(None, item, f"{path}[]") for item in items)
            return Items(_joined(earlier, later, path), over.place)
        case Table(entries):
            merged = dict(base.entries) if isinstance(base, Table) else {}
            for name, value in entries.items():
                if value.tag == RESET:
                    merged.pop(name, None)
                else:
                    merged[name] = merge(merged.get(name), value, f"{path}.{name}" if path else name)
            return Table(merged, over.place)


def _joined(earlier: tuple[Node, ...], later: tuple[Node, ...], path: str) -> tuple[Node, ...]:
    fields = next((fields for pattern, fields in KEYED.items() if fnmatchcase(path, pattern)), None)
    if fields is None:
        return (*(node for node in earlier if node not in later), *later)
    found: dict[object, Node] = {}
    for node in (*earlier, *later):
        key = _key(node, fields)
        before = found.get(key)
        if isinstance(before, Table) and isinstance(node, Table):
            found[key] = Table({**before.entries, **node.entries}, node.place)
        else:
            found[key] = node
    return tuple(found.values())


def _key(node: Node, fields: tuple[str, ...]) -> object:
    at = At("", node)
    if fields == ("target", "source"):
        return at["target"].text() or at["source"].text()
    return tuple(at[field].text(_DEFAULTS.get(field, "")) for field in fields)


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)
