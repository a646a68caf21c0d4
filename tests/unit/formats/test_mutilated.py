"""Files of which any part was replaced by anything: they are read or refused, and nothing else happens."""

import json
from collections.abc import Callable
from pathlib import PurePath

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.formats.test_kubernetes import SHOP
from tests.unit.formats.test_marathon import APP

from naru.domain.errors import NaruError
from naru.formats.compose import Ask, read_project
from naru.formats.guess import guessed
from naru.formats.kubernetes import read_manifests
from naru.formats.loss import Imported
from naru.formats.marathon import read_apps

COMPOSE = """
name: shop
services:
  web:
    image: shop:1
    ports: ["8000:80", {target: 81, published: "8001"}]
    environment: {A: "1", B: "${A:-x}"}
    healthcheck: {test: [CMD, "true"], interval: 5s, retries: 3}
    deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 64m}}, update_config: {parallelism: 1}}
    volumes: ["data:/data", {type: volume, source: data, target: /more}]
    secrets: [token]
    depends_on: {db: {condition: service_healthy}}
    x-naru: {address: {port: 8000}, strategy: {canary: [{percent: 10, hold: 5s}]}, proof: {path: /, count: 5}}
  db: {image: db, expose: ["5432"], extends: {service: base}, entrypoint: a b, stop_grace_period: 5s}
  base: {image: base, ports: ["1:1"]}
volumes: {data: {}}
secrets: {token: {external: true}}
"""

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["", "-1", "1e400", "9" * 5000, "0x", "$", "${", "a:b:c:d", "%", "25%", "/", "..", "\0", "é", "2m"]
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "", "a"]), inner, max_size=2),
    max_leaves=4,
)


def places(document: object) -> list[tuple[object, object]]:
    """Return every container of the document with each of its keys."""
    match document:
        case dict():
            return [(document, key) for key in document] + [p for value in document.values() for p in places(value)]
        case list():
            return [(document, number) for number in range(len(document))] + [p for v in document for p in places(v)]
        case _:
            return []


def mutilated(draw: st.DrawFn, document: object) -> object:
    for _ in range(draw(st.integers(1, 3))):
        found = places(document)
        if found:
            holder, key = draw(st.sampled_from(found))
            holder[key] = draw(anything)  # type: ignore[index]
    return document


def read_compose(text: str) -> Imported:
    return read_project(Ask(lambda path: text.encode() if path.name == "c.yaml" else None, {}, (PurePath("c.yaml"),)))


@pytest.mark.parametrize(
    ("source", "read"),
    [
        pytest.param(COMPOSE, read_compose, id="compose"),
        pytest.param(SHOP, lambda text: read_manifests(text, "f.yaml"), id="kubernetes"),
    ],
)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_mutilated_yaml_file_is_read_or_refused(source: str, read: Callable[[str], Imported], data: st.DataObject):
    documents = mutilated(data.draw, list(yaml.safe_load_all(source)))

    try:
        guessed(yaml.safe_dump_all(documents), "f.yaml")
        assert read(yaml.safe_dump_all(documents)).workloads
    except NaruError:
        pass


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_mutilated_definition_of_marathon_is_read_or_refused(data: st.DataObject):
    text = json.dumps(mutilated(data.draw, json.loads(json.dumps(APP))))

    try:
        guessed(text, "f.json")
        assert read_apps(text, "f.json").workloads
    except NaruError:
        pass


def test_what_is_mutilated_here_is_whole_at_first():
    assert len(read_compose(COMPOSE).workloads) == 3
