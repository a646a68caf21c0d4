"""Published schemas, read where they are and never copied."""

import json
from functools import cache
from pathlib import Path

import pytest
from jsonschema import Draft4Validator, Draft7Validator
from jsonschema.protocols import Validator

SHARED = Path(__file__).parents[3].parent / "shared" / "data"


@cache
def _document(name: str) -> dict[str, object]:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the published schema {name} is not in {SHARED}")
    return json.loads(path.read_text())


@pytest.fixture(scope="session")
def compose_schema() -> dict[str, object]:
    return _document("compose/compose-spec.json")


@pytest.fixture(scope="session")
def compose_validator(compose_schema: dict[str, object]) -> Validator:
    return Draft7Validator(compose_schema)


@pytest.fixture(scope="session")
def marathon_validator() -> Validator:
    return Draft4Validator(_document("marathon/schema/AppDefinition.json"))


@pytest.fixture(scope="session")
def kubernetes_validators() -> "dict[str, Validator]":
    """A validator for each kind of object, by `apiVersion kind`; unknown fields are errors."""
    definitions = json.loads(json.dumps(_document("kubernetes/openapi-v2-1.36.json")["definitions"]))
    found = {}
    for name, definition in definitions.items():
        if name.endswith("IntOrString"):
            definition["type"] = ["string", "integer"]
        if "properties" in definition:
            definition.setdefault("additionalProperties", False)
        for kind in definition.get("x-kubernetes-group-version-kind", []):
            api = "/".join(part for part in (kind["group"], kind["version"]) if part)
            found[f"{api} {kind['kind']}"] = {"$ref": f"#/definitions/{name}", "definitions": definitions}
    return {name: Draft4Validator(schema) for name, schema in found.items()}
