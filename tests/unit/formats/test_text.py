import json
from contextlib import suppress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from naru.domain.errors import Invalid
from naru.formats.text import MAX_BYTES, decoded, parse_json, parse_yaml, write_json, write_yaml
from naru.formats.tree import At, Items, Kind, Node, Scalar, Table

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=15,
)


def value(node: Node) -> object:
    """Return what a tree means."""
    match node:
        case Scalar(text, Kind.STRING):
            return text
        case Scalar(kind=Kind.NULL):
            return None
        case Scalar(text, Kind.BOOLEAN):
            return text.lower() == "true"
        case Scalar(text):
            return int(text)
        case Items(items):
            return [value(item) for item in items]
        case Table(entries):
            return {name: value(entry) for name, entry in entries.items()}


@given(plain)
def test_what_is_written_as_yaml_reads_back_here_and_elsewhere(document: object):
    written = write_yaml(document)

    (read,) = parse_yaml(written, "file")
    assert value(read) == document
    assert yaml.safe_load(written) == document


@given(plain)
def test_what_is_written_as_json_reads_back(document: object):
    assert value(parse_json(write_json(document), "file")) == document
    assert json.loads(write_json(document)) == document


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("22:22", Kind.STRING),
        ("no", Kind.STRING),
        ("on", Kind.STRING),
        ("2026-01-31", Kind.STRING),
        ("1.10", Kind.FLOAT),
        ("1e3", Kind.FLOAT),
        ("0x1F", Kind.INTEGER),
        ("0o17", Kind.INTEGER),
        ("True", Kind.BOOLEAN),
        ("~", Kind.NULL),
        ("'12'", Kind.STRING),
        ("!!str 12", Kind.STRING),
    ],
)
def test_scalars_have_the_kinds_of_the_core_schema(text: str, kind: Kind):
    (node,) = parse_yaml(f"- {text}", "file")

    assert isinstance(node, Items)
    assert isinstance(node.items[0], Scalar)
    assert node.items[0].kind is kind


def test_every_value_knows_its_line():
    (node,) = parse_yaml("a:\n  b:\n    - 1\n    - [2]\n", "f.yaml")

    at = At("", node)["a"]["b"]
    assert [str(item.node.place) for item in at.items()] == ["f.yaml:3", "f.yaml:4"]


def test_merge_keys_give_way_to_what_is_written():
    (node,) = parse_yaml("x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  <<: [*x, *y]\n  c: 5\n", "f")

    assert value(At("", node)["z"].node) == {"a": 1, "b": 2, "c": 5}


def test_a_quoted_merge_key_is_a_name():
    (node,) = parse_yaml('{"<<": 1}', "f")

    assert value(node) == {"<<": 1}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1\nb: 2\n", 2),
        ("a: 1\na: 2\n", 2),
        ("a:\n  - *nobody\n", 2),
        ("a: 1\nb: !!python/object:os.system x\n", 2),
        ("a: !custom 1\n", 1),
        ("? [a]\n: b\n", 1),
        ("a: &a [*a]\n", 1),
        ("x: 1\n<<: 5\n", 2),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, line: int):
    with pytest.raises(Invalid, match=f"f.yaml:{line}"):
        parse_yaml(text, "f.yaml")


def test_a_bomb_of_aliases_is_refused_before_it_grows():
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )

    with pytest.raises(Invalid, match="100000 values"):
        parse_yaml(bomb, "bomb.yaml")


@pytest.mark.parametrize("text", ["[" * 5000, "{a: " * 5000, "- " * 5000, "[" * 100 + "]" * 100])
def test_depth_is_bounded(text: str):
    with pytest.raises(Invalid):
        parse_yaml(text, "deep.yaml")


@pytest.mark.parametrize("text", ["[" * 200 + "]" * 200, "[" * 100_000, '{"a": 1, "a": 2}', "{", "[NaN]"])
def test_bad_json_is_refused(text: str):
    with pytest.raises(Invalid):
        parse_json(text, "f.json")


def test_large_and_binary_files_are_refused():
    with pytest.raises(Invalid, match="1 MiB"):
        decoded(b"a" * (MAX_BYTES + 1), "large")
    with pytest.raises(Invalid, match="UTF-8"):
        decoded(b"\xff\xfe", "binary")


@given(st.text("a: -[]{}*&<!|>\n'\"", max_size=60))
def test_any_text_is_read_or_refused(text: str):
    with suppress(Invalid):
        parse_yaml(text, "f.yaml")
