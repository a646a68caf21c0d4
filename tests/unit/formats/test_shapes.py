"""Our own table of names is held against the published schema of the Compose specification."""

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from jsonschema.protocols import Validator

from naru.domain.errors import Invalid
from naru.formats.compose.shapes import FILE, SERVICE, Either, Keys, Many, Named, One, Shape, check
from naru.formats.text import parse_yaml, write_yaml
from naru.formats.tree import At, Kind

Schema = Mapping[str, object]


def resolved(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["definitions"][str(schema["$ref"]).rpartition("/")[2]]  # type: ignore[index]
    return schema


def alternatives(schema: Schema, root: Schema) -> Iterator[Schema]:
    """Yield what a schema may be, one shape each."""
    schema = resolved(schema, root)
    if "oneOf" in schema:
        for one in schema["oneOf"]:  # type: ignore[attr-defined]
            yield from alternatives(one, root)
    else:
        yield schema


def shapes(shape: Shape) -> Iterator[Shape]:
    match shape:
        case Either(several):
            for one in several:
                yield from shapes(one)
        case _:
            yield shape


def compare(path: str, shape: Shape, schema: Schema, root: Schema) -> Iterator[str]:
    """Yield how the names that we know differ from those of the schema."""
    tables = [one for one in shapes(shape) if isinstance(one, Keys)]
    named = [one for one in shapes(shape) if isinstance(one, Named)]
    lists = [one for one in shapes(shape) if isinstance(one, Many)]
    for one in alternatives(schema, root):
        if "properties" in one and (one.get("additionalProperties") is False or tables):
            if not tables:
                yield f"{path}: the schema has names, we have none"
                continue
            theirs, ours = dict(one["properties"]), dict(tables[0].known)  # type: ignore[call-overload]
            if theirs.keys() != ours.keys():
                yield f"{path}: {sorted(theirs.keys() ^ ours.keys())}"
            if set(one.get("required", ())) != set(tables[0].needed):  # type: ignore[call-overload]
                yield f"{path}: needed are {one.get('required')}, not {tables[0].needed}"
            for name in theirs.keys() & ours.keys():
                yield from compare(f"{path}.{name}", ours[name], theirs[name], root)
        elif "items" in one and lists:
            yield from compare(f"{path}[]", lists[0].item, one["items"], root)  # type: ignore[arg-type]
        elif "patternProperties" in one and named:
            for value in one["patternProperties"].values():  # type: ignore[attr-defined]
                yield from compare(f"{path}.*", named[0].value, value, root)


def test_our_table_has_exactly_the_names_of_the_schema(compose_schema: Schema):
    assert list(compare("", FILE, compose_schema, compose_schema)) == []


words = st.sampled_from(["a", "80:80", "10s", "test", "image", "limits", "interval", "condition"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.just(0.5) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


def drawn(shape: Shape) -> st.SearchStrategy[object]:
    """Draw documents of a shape."""
    scalars = {
        Kind.STRING: st.sampled_from(["a", "1", "true", "x:y", "10s"]),
        Kind.INTEGER: st.integers(0, 100),
        Kind.FLOAT: st.just(0.5),
        Kind.BOOLEAN: st.booleans(),
        Kind.NULL: st.none(),
    }
    match shape:
        case One(kinds):
            return st.one_of(*(scalars[kind] for kind in Kind if kind in kinds))
        case Many(item):
            return st.lists(drawn(item), max_size=2, unique_by=repr)
        case Keys(known, needed):
            return st.sets(st.sampled_from(sorted(known)), max_size=3).flatmap(
                lambda names: st.fixed_dictionaries({name: drawn(known[name]) for name in {*names, *needed}})
            )
        case Named(value):
            return st.dictionaries(st.sampled_from(["a", "b"]), drawn(value), max_size=2)
        case Either(several):
            return st.one_of(*(drawn(one) for one in several))
        case _:
            return st.just({})


_OF_SINGLE_VALUES = ("enum", "pattern", "minimum", "maximum", "uniqueItems")
"""What the schema also says of single values, and our reader says of those that it uses."""


def relaxed(schema: object) -> object:
    """Return the schema without what it says of single values; a variable may stand for true and false."""
    match schema:
        case {"type": "boolean"}:
            return {"type": ["boolean", "string"]}
        case dict():
            return {name: relaxed(value) for name, value in schema.items() if name not in _OF_SINGLE_VALUES}
        case list():
            return [relaxed(value) for value in schema]
        case _:
            return schema


@pytest.fixture(scope="session")
def relaxed_validator(compose_schema: Schema) -> Validator:
    return Draft7Validator(relaxed(compose_schema))  # type: ignore[arg-type]


many = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", sorted(SERVICE.known))
@many
@given(data=st.data())
def test_what_fits_our_table_fits_the_schema(name: str, data: st.DataObject, relaxed_validator: Validator):
    document = {"services": {"web": {name: data.draw(drawn(SERVICE.known[name]))}}}
    (node,) = parse_yaml(write_yaml(document), "f.yaml")

    check(At("", node), FILE)

    assert [error.message for error in relaxed_validator.iter_errors(document)] == []


@pytest.mark.parametrize("name", sorted(SERVICE.known))
@many
@given(value=anything)
def test_what_the_schema_refuses_our_table_refuses(name: str, value: object, relaxed_validator: Validator):
    document = {"services": {"web": {name: value}}}
    (node,) = parse_yaml(write_yaml(document), "f.yaml")

    if not relaxed_validator.is_valid(document):
        with pytest.raises(Invalid):
            check(At("", node), FILE)
