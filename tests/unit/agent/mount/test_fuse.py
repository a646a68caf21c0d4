"""The FUSE wire: what the kernel would send is understood, what is sent has the kernel's sizes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.agent.mount import fuse
from naru.agent.mount.fuse import Attributes, Feature, Header, Init, Interrupt, Lookup, Opcode, OpenFlag, Plain, Read
from naru.domain.errors import Invalid

u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
names = st.binary(min_size=1, max_size=255).map(lambda name: name.replace(b"\0", b"x"))
bodies = st.one_of(
    st.tuples(st.just(Opcode.LOOKUP), st.builds(Lookup, names)),
    st.tuples(st.just(Opcode.READ), st.builds(Read, u64, u32)),
    st.tuples(st.just(Opcode.INTERRUPT), st.builds(Interrupt, u64)),
    st.tuples(
        st.just(Opcode.INIT),
        st.builds(Init, u32, u32, u32, u64.map(lambda features: features | Feature.EXTENDED)),
    ),
    st.tuples(st.sampled_from([Opcode.OPEN, Opcode.GETATTR, Opcode.STATFS, 999]), st.just(Plain())),
)


@given(bodies, u64, u64, u32)
def test_a_request_is_read_as_it_was_meant(body, unique, node, pid):
    opcode, content = body
    head = Header(int(opcode), unique, node, pid)

    assert fuse.parse(fuse.request(head, content)) == (head, content)


@given(st.binary(max_size=200))
def test_what_is_no_request_is_refused_and_nothing_else_happens(message):
    try:
        head, _ = fuse.parse(message)
    except Invalid:
        return
    assert struct.unpack_from("=I", message)[0] == len(message) >= fuse.HEADER_SIZE
    assert head.opcode == struct.unpack_from("=I", message, 4)[0]


@given(bodies, st.integers(1, 39))
def test_a_request_that_is_cut_off_is_refused(body, cut):
    opcode, content = body
    whole = fuse.request(Header(int(opcode), 1, 1, 0), content)

    with pytest.raises(Invalid):
        fuse.parse(whole[:-cut])


def test_an_init_of_an_old_kernel_has_no_second_half_of_features():
    short = fuse.request(Header(Opcode.INIT, 1, 0, 0), Init(7, 31, 0, int(Feature.ASYNC_READ)))

    assert fuse.parse(short)[1] == Init(7, 31, 0, Feature.ASYNC_READ)


@pytest.mark.parametrize(
    ("answer", "size"),
    [
        (fuse.entry(Attributes(5, 100)), 128),
        (fuse.attributes(Attributes(1, directory=True)), 104),
        (fuse.opened(OpenFlag.PASSTHROUGH, 7), 16),
        (fuse.statistics(12), 80),
        (fuse.welcome(Init(7, 40, 0, 0), Feature(0)), 64),
        (fuse.RESEND, 16),
        (fuse.refusal(1, 5), 16),
    ],
)
def test_answers_have_the_sizes_of_the_kernels_structures(answer, size):
    assert len(answer) == size


def test_an_answer_says_its_length_and_a_refusal_its_errno():
    assert struct.unpack("=IiQ", fuse.answer(9, b"abc")[:16]) == (19, 0, 9)
    assert fuse.head(9, 3) + b"abc" == fuse.answer(9, b"abc")
    assert struct.unpack("=IiQ", fuse.refusal(9, 5)) == (16, -5, 9)


@given(u64, st.booleans())
def test_only_features_that_the_kernel_offers_are_agreed_on(offered, passthrough):
    agreed = fuse.agreed(Init(7, 40, 0, offered), passthrough=passthrough)

    assert agreed & ~offered == 0
    assert bool(agreed & Feature.PASSTHROUGH) == (passthrough and bool(offered & Feature.PASSTHROUGH))


def test_passthrough_leaves_room_for_one_overlay_above():
    with_it = fuse.welcome(Init(7, 45, 0, 0), Feature.PASSTHROUGH | Feature.EXTENDED)
    without = fuse.welcome(Init(7, 31, 0, 0), Feature.ASYNC_READ)

    assert struct.unpack_from("=II", with_it, 32) == (1 << 5, 1)
    assert struct.unpack_from("=II", without, 32) == (0, 0)
    assert struct.unpack_from("=II", without) == (7, 31)


def test_a_kernel_of_another_major_version_is_refused():
    with pytest.raises(Invalid, match="FUSE 8"):
        fuse.welcome(Init(8, 0, 0, 0), Feature(0))
