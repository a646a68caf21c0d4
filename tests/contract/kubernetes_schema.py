"""What the published OpenAPI document of Kubernetes allows: paths, methods, queries, and the shape of every object."""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft4Validator

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "kubernetes" / "openapi-v2-1.36.json"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_VERBS = frozenset({"get", "post", "put", "patch", "delete"})


class Published:
    """Judges requests and objects by the published document; unknown fields are wrong, as with strict validation."""

    def __init__(self, home: Path = PUBLISHED) -> None:
        document = json.loads(home.read_text())
        definitions = document["definitions"]
        definitions[_INT_OR_STRING]["type"] = ["integer", "string"]
        definitions[_QUANTITY]["type"] = ["number", "string"]
        kinds: dict[tuple[str, str], str] = {}
        for name, definition in definitions.items():
            if "properties" in definition:
                definition["additionalProperties"] = False
            for gvk in definition.get("x-kubernetes-group-version-kind", ()):
                version = f"{gvk['group']}/{gvk['version']}".strip("/")
                kinds.setdefault((version, gvk["kind"]), name)
        self._kinds = kinds
        self._definitions = definitions
        self._validators: dict[str, Draft4Validator] = {}
        self._paths = [
            (re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), path, _methods(document, item))
            for path, item in document["paths"].items()
        ]

    def complaint(self, method: str, path: str, query: Mapping[str, str]) -> str:
        """Say what is wrong with a request's line, empty when it is as published."""
        for pattern, _, methods in self._paths:
            if pattern.fullmatch(path) and method.lower() in methods:
                unknown = query.keys() - methods[method.lower()]
                return f"{method} {path} takes no {', '.join(sorted(unknown))}" if unknown else ""
        return f"{method} {path} is not published"

    def faults(self, value: Mapping[str, Any]) -> str:
        """Say what is wrong with an object, empty when it is as published."""
        name = self._kinds.get((value.get("apiVersion", ""), value.get("kind", "")))
        if name is None:
            return f"there is no kind {value.get('kind')} in {value.get('apiVersion')}"
        if name not in self._validators:
            schema = {"$ref": f"#/definitions/{name}", "definitions": self._definitions}
            self._validators[name] = Draft4Validator(schema)
        return "; ".join(
            f"{error.json_path}: {error.message}"[:300] for error in self._validators[name].iter_errors(value)
        )


def absence() -> str:
    """Say why nothing can be judged; empty when it can."""
    return "" if PUBLISHED.exists() else f"Kubernetes' OpenAPI document is not at {PUBLISHED}"


@cache
def published() -> Published:
    """The document, read once: it is large."""
    return Published()


def _methods(document: Mapping[str, Any], item: Mapping[str, Any]) -> Mapping[str, frozenset[str]]:
    def queries(parameters: list[dict[str, Any]]) -> frozenset[str]:
        held = [document["parameters"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one for one in parameters]
        return frozenset(one["name"] for one in held if one["in"] == "query")

    common = queries(item.get("parameters", []))
    return {verb: common | queries(item[verb].get("parameters", [])) for verb in _VERBS & item.keys()}
