"""Server-sent events, decoded from bytes cut anywhere."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.client.sse import MAX_EVENT, Decoder, ServerEvent
from naru.domain.errors import Invalid


def decoded(*chunks: bytes) -> list[ServerEvent]:
    decoder = Decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def test_an_event_has_a_name_data_and_an_id():
    assert decoded(b"event: line\nid: 7\ndata: {}\n\n") == [ServerEvent("line", b"{}", "7")]


def test_several_data_lines_are_joined_by_a_line_feed():
    assert decoded(b"data: one\ndata: two\n\n") == [ServerEvent("message", b"one\ntwo")]


def test_one_blank_after_the_colon_is_not_part_of_the_value():
    assert decoded(b"data:  x\n\ndata:x\n\n") == [ServerEvent("message", b" x"), ServerEvent("message", b"x")]


def test_comments_keep_a_connection_alive_and_say_nothing():
    assert decoded(b": ping\n\n: ping\n\n") == []


def test_the_last_id_stays_until_another_is_told():
    events = decoded(b"id: 1\ndata: a\n\ndata: b\n\nid: 2\ndata: c\n\n")
    assert [event.id for event in events] == ["1", "1", "2"]


def test_an_event_without_its_blank_line_is_not_an_event():
    assert decoded(b"data: cut") == []
    assert decoded(b"data: cut\n") == []


def test_line_separators_inside_json_do_not_end_a_line():
    text = '{"text": "a\u2028b\x0b\x85"}'.encode()
    assert decoded(b"data: " + text + b"\n\n") == [ServerEvent("message", text)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_of_the_standard_is_one(end):
    stream = end.join([b"event: a", b"data: 1", b"", b"data: 2", b"", b""])
    assert decoded(stream, b"\n") == [ServerEvent("a", b"1"), ServerEvent("message", b"2")]


def test_an_event_that_never_ends_is_refused():
    decoder = Decoder()
    list(decoder.feed(b"data: "))
    with pytest.raises(Invalid):
        list(decoder.feed(b"x" * MAX_EVENT))


DATA = st.binary(min_size=1, max_size=20).filter(lambda data: not set(data) & set(b"\r\n"))
NAMES = st.text("abcxyz-", min_size=1, max_size=8)


@given(st.data(), st.lists(st.tuples(NAMES, DATA), max_size=5), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_where_the_bytes_are_cut_changes_nothing(data, told, end):
    lines = [line for name, text in told for line in (b"event:" + name.encode(), b"data:" + text, b"")]
    stream = b"".join(line + end for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    chunks = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]
    # A last CR waits for what follows: one more line feed completes it.
    assert [(event.name, event.data) for event in decoded(*chunks, b"\n")] == [
        (name, text.removeprefix(b" ")) for name, text in told
    ]


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_no_bytes_break_the_decoder(chunks):
    decoded(*chunks)
