"""Which format is a file in?"""

from naru.domain.errors import Invalid
from naru.formats.kinds import Format
from naru.formats.text import parse_json, parse_yaml
from naru.formats.tree import At, Items, Node, Table


def guessed(text: str, file: str) -> Format:
    """Return the format of a file by what it holds; raise Invalid where it is none that is known."""
    nodes = (parse_json(text, file),) if text.lstrip()[:1] in ("{", "[") else parse_yaml(text, file)
    for node in nodes:
        first = _first(node)
        if "apiVersion" in first:
            return Format.KUBERNETES
        if "services" in first:
            return Format.COMPOSE
        if {"id", "apps", "groups", "app"} & first.keys():
            return Format.MARATHON
    raise Invalid(f"{file} is in no format that is known", f"name it with --format: {', '.join(Format)}")


def _first(node: Node) -> dict[str, At]:
    match node:
        case Items(items) if items:
            return _first(items[0])
        case Table():
            return dict(At("", node).entries())
        case _:
            return {}
