"""What Marathon's publishers allow to be asked: methods, paths and queries by the RAML, apps by the JSON schema."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "marathon"
METHODS = ("get", "put", "post", "patch", "delete")


class Published:
    """Judges requests by the published description."""

    def __init__(self, home: Path = PUBLISHED) -> None:
        self._app = Draft7Validator(json.loads((home / "schema/AppDefinition.json").read_text()))
        traits = _read(home / "traits.raml")
        self._allowed: list[tuple[re.Pattern[str], str, frozenset[str]]] = []
        for root, resource in _read(home / "api.raml").items():
            if root.startswith("/"):
                self._allowed += _requests(root, resource, traits)
        # The longest first: an app's id may hold slashes.
        self._allowed.sort(key=lambda one: -len(one[0].pattern))

    def complaint(self, method: str, path: str, query: Mapping[str, str], body: Any) -> str:
        """Say what is wrong with a request, empty when it is as published."""
        known = [(verb, names) for pattern, verb, names in self._allowed if pattern.fullmatch(path)]
        if not any(verb == method for verb, _ in known):
            return f"{method} {path} is not published"
        allowed = frozenset().union(*(names for verb, names in known if verb == method))
        if unknown := query.keys() - allowed:
            return f"{method} {path} takes no {', '.join(sorted(unknown))}"
        if method == "PUT" and path.startswith("/v2/apps/"):
            # The id may be left out where the path has it.
            errors = self._app.iter_errors({"id": path.removeprefix("/v2/apps"), **body})
            return "; ".join(f"{error.json_path}: {error.message}" for error in errors)
        if path == "/v2/tasks/delete":
            right = body.keys() == {"ids"} and all(isinstance(one, str) for one in body["ids"])
            return "" if right else "ids must be a list of strings"
        return ""


def _requests(
    path: str, resource: Mapping[str, Any], traits: Mapping[str, Any]
) -> Iterator[tuple[re.Pattern[str], str, frozenset[str]]]:
    plain = re.sub(r"/+", "/", path).rstrip("/")
    pattern = re.compile(re.sub(r"\\{\w+\\}", "[^?]+", re.escape(plain)))
    for key, value in resource.items():
        if key.startswith("/"):
            yield from _requests(path + key, value, traits)
        elif key in METHODS:
            names = set(value.get("queryParameters") or {})
            for trait in value.get("is", []):
                names |= set(traits[trait].get("queryParameters") or {})
            yield pattern, key.upper(), frozenset(names)


class _Raml(yaml.SafeLoader):
    """YAML with RAML's includes; examples are left out."""

    home = Path()


def _include(loader: _Raml, node: yaml.ScalarNode) -> Any:
    name = loader.construct_scalar(node)
    return _read(loader.home / name) if str(name).endswith(".raml") else None


_Raml.add_constructor("!include", _include)


def _read(path: Path) -> dict[str, Any]:
    loader = _Raml(path.read_text())
    loader.home = path.parent
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
