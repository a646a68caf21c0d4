"""Messages on the wire, held against bytes that the published format gives."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.agent.protobuf import decode, encode
from naru.agent.snapshotter.values import Kind
from naru.agent.snapshotter.wire import Info, Listed, Make, Mount, Mounts, Timestamp, Update
from naru.domain.errors import Invalid

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
INFOS = st.builds(
    Info,
    name=TEXTS,
    parent=TEXTS,
    kind=st.sampled_from(Kind),
    created_at=st.one_of(st.none(), st.builds(Timestamp, INTEGERS, INTEGERS)),
    updated_at=st.none(),
    labels=st.dictionaries(TEXTS, TEXTS, max_size=3),
)


def test_the_bytes_are_those_of_the_published_format():
    assert encode(Mounts((Mount("bind", "/a", "", ("ro",)),))) == b'\n\x0e\n\x04bind\x12\x02/a"\x02ro'
    assert decode(Make, b'\x12\x01k"\x06\n\x01a\x12\x01b\xf8\x07\x01') == Make("", "k", "", {"a": "b"})


@given(INFOS)
def test_a_message_survives_the_way_there_and_back(info):
    assert decode(Info, encode(info)) == info
    assert decode(Listed, encode(Listed((info, info)))) == Listed((info, info))
    assert decode(Update, encode(Update("s", info, None))) == Update("s", info, None)


@given(st.binary(max_size=40))
def test_bytes_that_are_no_message_are_refused(content):
    with contextlib.suppress(Invalid):
        decode(Info, content)


def test_a_choice_that_nobody_knows_is_refused():
    with pytest.raises(Invalid):
        decode(Info, b"\x18\x04")


def test_a_cut_message_is_refused():
    with pytest.raises(Invalid):
        decode(Mounts, b"\n\x0e\n\x04bi")
