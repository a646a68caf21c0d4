"""Short forms written out, so that merging and reading see one form of everything (Compose specification, 05-services).

Lists of NAME=VALUE become mappings, short ports, volumes, secrets and dependencies their long forms.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from naru.formats.tree import NOTHING, At, Items, Kind, Node, Scalar, Table

_PORT = re.compile(
    r"(?:(?:(?P<ip>\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(?P<published>\d{1,5}(?:-\d{1,5})?)?:)?"
    r"(?P<target>\d{1,5}(?:-\d{1,5})?)(?:/(?P<protocol>[a-z]+))?"
)
_DRIVE = re.compile(r"[A-Za-z]:(?:\\|/[^:]*:/)")
"""How a path of Windows begins; `v:/data` is a volume that is called v."""
MAX_RANGE = 1000


def written_out(service: At) -> Table:
    """Return a service whose short forms are written out; its shape was checked before."""
    entries: dict[str, Node] = {}
    for name, value in service.entries():
        form = _FORMS.get(name)
        node = value.node
        keeps = form is None or not value.given
        entries[name] = node if keeps or form is None else replace(form(value), tag=node.tag)
    return Table(entries, service.node.place, service.node.tag)


def pairs(at: At) -> Table:
    """Write NAME=VALUE lists as a mapping; a NAME alone has no value."""
    if isinstance(at.node, Table):
        return at.node
    entries: dict[str, Node] = {}
    for item in at.items():
        name, equals, value = item.text().partition("=")
        entries[name] = (
            Scalar(value, Kind.STRING, item.node.place) if equals else replace(NOTHING, place=item.node.place)
        )
    return Table(entries, at.node.place)


def _hosts(at: At) -> Table:
    if isinstance(at.node, Table):
        return at.node
    entries: dict[str, Node] = {}
    for item in at.items():
        name, _, value = re.sub("[:=]", "\0", item.text(), count=1).partition("\0")
        entries[name] = Scalar(value, Kind.STRING, item.node.place)
    return Table(entries, at.node.place)


def _one_or_many(at: At) -> Items:
    return at.node if isinstance(at.node, Items) else Items((at.node,), at.node.place)


def _named(item: Callable[[At], dict[str, Node]]) -> Callable[[At], Table]:
    """Write a list of names as a mapping."""

    def form(at: At) -> Table:
        if isinstance(at.node, Table):
            return at.node
        return Table({one.text(): Table(item(one), one.node.place) for one in at.items()}, at.node.place)

    return form


def _each(item: Callable[[At], Iterator[Node]]) -> Callable[[At], Items]:
    return lambda at: Items(tuple(node for one in at.items() for node in item(one)), at.node.place)


def _build(at: At) -> Table:
    return at.node if isinstance(at.node, Table) else Table({"context": at.node}, at.node.place)


def _env_file(at: At) -> Items:
    files = at.items() if isinstance(at.node, Items) else iter((at,))
    return Items(
        tuple(one.node if isinstance(one.node, Table) else Table({"path": one.node}, one.node.place) for one in files),
        at.node.place,
    )


def _mounted_file(at: At) -> Iterator[Node]:
    yield at.node if isinstance(at.node, Table) else Table({"source": at.node}, at.node.place)


def _port(at: At) -> Iterator[Node]:
    """Write a short port as one long port for each port of its range."""
    if isinstance(at.node, Table):
        yield at.node
        return
    found = _PORT.fullmatch(at.text().strip())
    if not found:
        raise at.invalid(f"is {at.text()!r}, no port", 'write it as "8080:80" or "127.0.0.1:8080:80/tcp"')
    targets = _range(at, found["target"])
    published = _range(at, found["published"]) if found["published"] else ()
    if len(targets) > 1 and published and len(published) != len(targets):
        raise at.invalid("maps ranges of different lengths", "make them equally long")
    for number, target in enumerate(targets):
        entries = {"target": str(target), "protocol": found["protocol"] or "tcp"}
        if published:
            entries["published"] = str(published[number]) if len(targets) > 1 else found["published"]
        if found["ip"]:
            entries["host_ip"] = found["ip"].strip("[]")
        yield _table(entries, at)


def _range(at: At, text: str) -> tuple[int, ...]:
    first, dash, last = text.partition("-")
    ports = range(int(first), int(last if dash else first) + 1)
    if not ports or ports[0] < 1 or ports[-1] > 65535 or len(ports) > MAX_RANGE:
        raise at.invalid(f"has the ports {text}", f"use 1 to 65535, at most {MAX_RANGE} of them, rising")
    return tuple(ports)


def _volume(at: At) -> Iterator[Node]:
    if isinstance(at.node, Table):
        yield at.node
        return
    text = at.text()
    drive = text[:2] if _DRIVE.match(text) else ""
    parts = text[len(drive) :].split(":")
    source, target, mode = "", "", ""
    match parts:
        case [target] if target and not drive:
            pass
        case [source, target] if source and target:
            pass
        case [source, target, mode] if source and target:
            pass
        case _:
            raise at.invalid(f"is {text!r}, no volume", "write it as NAME:/PATH or NAME:/PATH:ro")
    bind = bool(drive) or source[:1] in (".", "/", "~", "\\")
    entries: dict[str, Node] = dict(_table({"type": "bind" if bind else "volume", "target": target}, at).entries)
    if source:
        entries["source"] = _text(drive + source, at)
    for word in filter(None, mode.split(",")):
        match word:
            case "ro" | "rw":
                entries["read_only"] = Scalar("true" if word == "ro" else "false", Kind.BOOLEAN, at.node.place)
            case "z" | "Z":
                entries["bind"] = _table({"selinux": word}, at)
            case "nocopy" | "volume-nocopy":
                entries["volume"] = Table({"nocopy": Scalar("true", Kind.BOOLEAN, at.node.place)}, at.node.place)
            case "cached" | "delegated" | "consistent":
                entries["consistency"] = _text(word, at)
            case "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate":
                entries["bind"] = _table({"propagation": word}, at)
            case _:
                raise at.invalid(f"has the mode {word!r}", "use ro or rw")
    yield Table(entries, at.node.place)


def _table(entries: dict[str, str], at: At) -> Table:
    return Table({name: _text(value, at) for name, value in entries.items()}, at.node.place)


def _text(text: str, at: At) -> Scalar:
    return Scalar(text, Kind.STRING, at.node.place)


_FORMS: dict[str, Callable[[At], Items | Table]] = {
    "annotations": pairs,
    "build": _build,
    "configs": _each(_mounted_file),
    "depends_on": _named(lambda at: {"condition": _text("service_started", at)}),
    "dns": _one_or_many,
    "dns_search": _one_or_many,
    "env_file": _env_file,
    "environment": pairs,
    "extra_hosts": _hosts,
    "label_file": _one_or_many,
    "labels": pairs,
    "models": _named(lambda at: {}),
    "networks": _named(lambda at: {}),
    "ports": _each(_port),
    "secrets": _each(_mounted_file),
    "sysctls": pairs,
    "tmpfs": _one_or_many,
    "volumes": _each(_volume),
}
