import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.agent.exchange import bits
from naru.agent.exchange.frames import (
    Blob,
    Bundle,
    Cancel,
    Close,
    Coming,
    Document,
    Enrol,
    Enrolled,
    Frame,
    Get,
    Have,
    Hello,
    Missing,
    More,
    Open,
    Packing,
    Part,
    Piece,
    Ping,
    Pong,
    Reason,
    Refused,
    Revoked,
    Unknown,
    Want,
)
from naru.agent.exchange.wire import HEADER, LARGEST, MOST_PIECES, decode, encode, header
from naru.agent.index.index import CHUNK
from naru.agent.source import Priority
from naru.domain.errors import Invalid

handles = st.integers(0, 65535)
number = st.integers(0, MOST_PIECES - 1)
numbers = st.lists(st.integers(0, 400) | number, max_size=40).map(tuple)
bodies = st.binary(max_size=300)
tokens = st.integers(0, 2**64 - 1)
names = st.text(max_size=20)


@st.composite
def haves(draw: st.DrawFn) -> Have:
    count = draw(st.integers(0, 3000))
    return Have(draw(handles), count, draw(st.integers(0, bits.everything(count))))


@st.composite
def parts(draw: st.DrawFn) -> Part:
    body, before, after = (
        draw(st.binary(min_size=1, max_size=300)),
        draw(st.integers(0, 999)),
        draw(st.integers(0, 999)),
    )
    return Part(draw(handles), draw(number), draw(st.booleans()), before, before + len(body) + after, body)


@st.composite
def blobs(draw: st.DrawFn) -> Blob:
    body, before, after = draw(bodies), draw(st.integers(0, 999)), draw(st.integers(0, 999))
    return Blob(draw(handles), draw(st.sampled_from(Document)), before, before + len(body) + after, body)


frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Hello, names, names, st.integers(0, 65535), st.integers(0, 65535)),
    st.builds(Open, handles, st.binary(min_size=32, max_size=32), bodies),
    st.builds(Close, handles),
    st.builds(
        Want, handles, st.sampled_from(Priority), st.booleans(), st.sampled_from(Packing), numbers, st.booleans()
    ),
    st.builds(Cancel, handles, numbers),
    st.builds(Get, handles, st.sampled_from(Document), st.booleans()),
    haves(),
    st.builds(More, handles, numbers),
    st.builds(Coming, handles, numbers),
    st.builds(Missing, handles, st.sampled_from(Reason), numbers),
    st.builds(Unknown, handles, st.sampled_from(Reason), st.none() | st.sampled_from(Document), st.booleans()),
    st.builds(Bundle, handles, st.lists(st.builds(Piece, number, st.booleans(), bodies), max_size=5).map(tuple)),
    parts(),
    blobs(),
    st.builds(Ping, tokens),
    st.builds(Pong, tokens),
    st.builds(Enrol, names, names, bodies),
    st.builds(Enrolled, bodies, bodies),
    st.builds(Revoked, bodies),
    st.builds(Refused, st.text(max_size=100)),
)


@given(frames)
def test_a_frame_arrives_as_it_was_sent(frame: Frame) -> None:
    sent = encode(frame)
    length, kind = header(sent[: HEADER.size])
    assert length == len(sent) - HEADER.size
    assert decode(kind, sent[HEADER.size :]) == frame


@given(st.integers(0, 255), st.binary(max_size=400))
def test_whatever_else_arrives_is_refused(kind: int, body: bytes) -> None:
    try:
        frame = decode(kind, body)
    except Invalid:
        return
    assert encode(frame)[HEADER.size :] == body


@given(frames, st.data())
def test_a_damaged_frame_is_refused_or_is_another_frame(frame: Frame, data: st.DataObject) -> None:
    sent = bytearray(encode(frame))
    if len(sent) > HEADER.size:
        at = data.draw(st.integers(HEADER.size, len(sent) - 1))
        sent[at] ^= data.draw(st.integers(1, 255))
    try:
        found = decode(sent[4], bytes(sent[HEADER.size :]))
    except Invalid:
        return
    assert encode(found) == bytes(sent)


@given(frames)
def test_a_frame_that_was_cut_is_refused_or_shorter(frame: Frame) -> None:
    sent = encode(frame)
    if len(sent) == HEADER.size:
        return
    try:
        found = decode(sent[4], sent[HEADER.size : -1])
    except Invalid:
        return
    assert len(encode(found)) == len(sent) - 1


def test_a_frame_is_refused_before_its_memory_is_taken() -> None:
    with pytest.raises(Invalid, match="announced"):
        header(HEADER.pack(LARGEST + 1, 13))
    with pytest.raises(Invalid, match="announced"):
        header(HEADER.pack(10, 200))


def test_few_bytes_cannot_ask_for_more_pieces_than_there_may_be() -> None:
    run = b"\x00\xff\xff\xff\x01"  # from 0, as many as there are numbers
    with pytest.raises(Invalid):
        decode(5, struct.pack(">H", 1) + run + b"\x01" + run[1:])


def test_a_plain_chunk_in_one_part_fits() -> None:
    part = Part(1, 1, False, 0, CHUNK, bytes(CHUNK))
    assert len(encode(part)) <= LARGEST + HEADER.size


@given(st.sets(st.integers(0, 5000)))
def test_a_set_of_numbers_keeps_them(chosen: set[int]) -> None:
    assert list(bits.numbers(bits.of(chosen))) == sorted(chosen)
    assert bits.of(chosen).bit_count() == len(chosen)


def test_pieces_in_any_order_cost_few_bytes() -> None:
    whole = encode(Want(1, Priority.BACKGROUND, False, Packing.FAST, tuple(range(50_000))))
    mixed = encode(Want(1, Priority.PROFILE, False, Packing.FAST, tuple(n * 7919 % 10_007 for n in range(2000))))
    assert len(whole) < 20
    assert len(mixed) < 4 * 2000
