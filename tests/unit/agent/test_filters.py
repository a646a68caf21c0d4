"""containerd's filters."""

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.agent.snapshotter.filters import parse
from naru.agent.snapshotter.values import Kind, Snapshot
from naru.domain.errors import Invalid

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def snapshot(key: str = "k8s.io/7/sha256:abc", **labels: str) -> Snapshot:
    return Snapshot(1, key, Kind.COMMITTED, "below", labels, NOW, NOW)


@pytest.mark.parametrize(
    ("filters", "through"),
    [
        ([], True),
        (["name==k8s.io/7/sha256:abc"], True),
        (["kind==committed,parent==below"], True),
        (["kind==active", "kind==committed"], True),
        (["kind==committed,parent==other"], False),
        (['parent!=""'], True),
        (["labels.team"], True),
        (["labels.nobody"], False),
        (['labels."a.b/c"==yes'], True),
        (["labels.nobody!=x"], True),
        (["name~=^k8s"], True),
        (["name~=^moby"], False),
        (["unknown==1"], False),
    ],
)
def test_a_filter_lets_through_what_it_names(filters, through):
    assert parse(filters)(snapshot(**{"team": "shop", "a.b/c": "yes"})) is through


@pytest.mark.parametrize("text", ["==x", "name=x", "name==a,", 'name=="open', 'name==a b"', "name~=(", ","])
def test_what_is_no_filter_is_refused(text):
    with pytest.raises(Invalid):
        parse([text])


@given(st.text())
def test_any_label_value_is_found_when_it_is_quoted(value):
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    if "\n" not in value:
        assert parse([f'labels.x=="{quoted}"'])(snapshot(x=value))


@given(st.text(max_size=30))
def test_any_text_is_a_filter_or_refused(text):
    with contextlib.suppress(Invalid):
        parse([text])(snapshot())
