import struct
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from naru.domain.instance import LogLine
from naru.engines.dockerapi.frames import LINE_LIMIT, LogReader

AT = datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)


def frame(text, stream=1, stamp="2026-01-02T03:04:05.123456789Z "):
    payload = stamp.encode() + text
    return struct.pack(">BxxxL", stream, len(payload)) + payload


def read(*chunks):
    reader = LogReader("one")
    return [line for chunk in chunks for line in reader.feed(chunk)] + list(reader.end())


def test_lines_carry_their_stream_and_time():
    assert read(frame(b"out\n") + frame(b"err\n", stream=2)) == [
        LogLine("one", AT, "stdout", "out"),
        LogLine("one", AT, "stderr", "err"),
    ]


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.text(st.characters(codec="utf-8", exclude_characters="\r\n")))),
    st.lists(st.integers(0, 400)),
)
def test_where_chunks_are_cut_does_not_matter(lines, cuts):
    whole = b"".join(frame(text.encode() + b"\n", stream) for stream, text in lines)
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]

    told = read(*(whole[a:b] for a, b in pairwise(edges)))

    assert [(line.stream, line.text) for line in told] == [
        ("stdout" if stream == 1 else "stderr", text) for stream, text in lines
    ]


def test_parts_of_a_long_line_are_joined_even_when_the_other_stream_interrupts():
    assert [line.text for line in read(frame(b"lo"), frame(b"err\n", stream=2), frame(b"ng\n"))] == ["err", "long"]


def test_a_line_without_end_is_given_at_the_end_and_an_endless_one_is_cut():
    assert [line.text for line in read(frame(b"open"))] == ["open"]
    assert len(read(frame(b"x" * LINE_LIMIT), frame(b"y\n"))) == 2


def test_whole_seconds_and_other_zones_are_times_too():
    assert read(frame(b"a\n", stamp="2026-01-02T03:04:05Z "))[0].at == AT.replace(microsecond=0)
    assert read(frame(b"a\n", stamp="2026-01-02T05:04:05.123456+02:00 "))[0].at == AT


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(junk):
    read(junk)
    read(struct.pack(">BxxxL", 1, len(junk)) + junk)
