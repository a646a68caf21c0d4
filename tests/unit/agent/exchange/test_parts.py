"""The small parts: pace, discovery, pieces and what is kept of them."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from naru.agent.exchange.discover import Remembered, Seen, StaticPeers, announced
from naru.agent.exchange.frames import Packing
from naru.agent.exchange.identity import Member
from naru.agent.exchange.keep import Keep
from naru.agent.exchange.pace import Pace
from naru.agent.exchange.pack import Packer, expanded
from naru.agent.exchange.pieces import Pieces
from naru.agent.index.index import CHUNK, Index, Object
from naru.agent.objects import ObjectStore
from naru.domain.errors import Invalid, NotFound, Unavailable

OWN = Member("test", "edge", "me")


async def test_an_upload_cap_holds_over_time_however_many_send() -> None:
    now = 0.0
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    pace = Pace(1e6, lambda: now, sleep)
    for _ in range(100):
        await pace.take(50_000)
    assert 4.8 <= now <= 5.0
    await Pace(None, lambda: now, sleep).take(1 << 40)
    assert now <= 5.0


def test_an_announcement_is_read_and_names_who_sent_it() -> None:
    assert announced(b"naru1 naru://test/edge/n2 7071", "10.0.0.2", OWN) == Seen("n2", "edge", "10.0.0.2", 7071)
    assert announced(b"naru1 naru://other/edge/n2 7071", "10.0.0.2", OWN) is None
    assert announced(b"naru1 naru://test/edge/me 7071", "10.0.0.2", OWN) is None


@given(st.binary(max_size=200))
def test_whatever_else_is_announced_is_invalid(data: bytes) -> None:
    with pytest.raises(Invalid):
        announced(data, "10.0.0.2", OWN)


class Broken:
    async def peers(self) -> Sequence[Seen]:
        raise Unavailable("the control plane does not answer")


async def test_peers_are_remembered_when_their_sources_are_gone(tmp_path: Path) -> None:
    seen = Seen("n2", "edge", "10.0.0.2", 7071)
    moved = Seen("n2", "edge", "10.0.0.3", 7071)
    assert await Remembered(tmp_path / "peers", StaticPeers(seen)).peers() == (seen,)
    assert await Remembered(tmp_path / "peers", Broken()).peers() == (seen,)
    assert await Remembered(tmp_path / "peers", Broken(), StaticPeers(moved)).peers() == (moved,)
    (tmp_path / "peers").write_bytes(b"[torn")
    assert await Remembered(tmp_path / "peers", Broken()).peers() == ()


def index_of(*contents: bytes) -> Index:
    def described(content: bytes) -> Object:
        cuts = range(0, len(content), CHUNK)
        chunks = tuple(hashlib.sha256(content[at : at + CHUNK]).digest() for at in cuts)
        return Object(hashlib.sha256(content).digest(), len(content), chunks if len(content) > CHUNK else ())

    objects = sorted((described(content) for content in contents), key=lambda one: one.digest)
    return Index("sha256:" + "00" * 32, b"", tuple(objects))


BIG = bytes(range(256)) * 4096 * 2 + b"end"
SMALL = b"small" * 100


def test_pieces_are_whole_small_objects_and_chunks_of_big_ones() -> None:
    pieces = Pieces(index_of(BIG, SMALL))
    assert pieces.count == 4
    assert sum(pieces.sizes) == len(BIG) + len(SMALL)
    big = hashlib.sha256(BIG).digest()
    assert [(one.offset, one.size) for one in map(pieces.piece, pieces.numbers(big))] == [
        (0, CHUNK),
        (CHUNK, CHUNK),
        (2 * CHUNK, 3),
    ]
    assert [one.offset for one in pieces.covering(big, CHUNK - 1, 2)] == [0, CHUNK]
    assert pieces.covering(big, len(BIG), 10) == []
    with pytest.raises(NotFound):
        pieces.numbers(b"x" * 32)


def test_a_big_object_is_committed_with_its_last_chunk_and_read_before(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    keep = Keep(store, Pieces(index_of(BIG)), Packer())
    digest = hashlib.sha256(BIG).digest()
    assert keep.store(1, False, BIG[CHUNK : 2 * CHUNK]) == range(0)
    assert keep.load(1) == BIG[CHUNK : 2 * CHUNK]
    assert not store.has(digest)
    with pytest.raises(Invalid):
        keep.store(0, False, bytes(CHUNK))
    with pytest.raises(NotFound):
        keep.load(0)
    keep.store(2, True, zstandard.compress(b"end"))
    assert keep.store(0, True, zstandard.compress(BIG[:CHUNK])) == range(3)
    assert store.read(digest) == BIG
    store.close()


def test_two_images_that_receive_the_same_object_share_it(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    one, other = Keep(store, Pieces(index_of(BIG)), Packer()), Keep(store, Pieces(index_of(BIG)), Packer())
    one.store(0, False, BIG[:CHUNK])
    other.store(1, False, BIG[CHUNK : 2 * CHUNK])
    one.store(2, False, BIG[2 * CHUNK :])
    assert other.store(1, False, BIG[CHUNK : 2 * CHUNK]) == range(3)
    store.close()


def test_a_piece_whose_object_is_committed_while_it_is_looked_for_is_found(tmp_path: Path) -> None:
    class Quick(ObjectStore):
        def incoming(self, digest: bytes) -> None:
            self.put(digest, BIG)

    store = Quick(tmp_path)
    assert Keep(store, Pieces(index_of(BIG)), Packer()).load(1) == BIG[CHUNK : 2 * CHUNK]
    store.close()


def test_a_compression_bomb_is_refused_before_it_unpacks() -> None:
    bomb = zstandard.compress(bytes(1 << 26))
    for size in (100, 1 << 20):
        with pytest.raises(Invalid):
            expanded(bomb, size)
    with pytest.raises(Invalid):
        expanded(zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 100), 100)
    with pytest.raises(Invalid):
        expanded(zstandard.compress(b"x" * 100) + b"more", 100)


@given(st.binary(max_size=300), st.integers(1, 300))
def test_damaged_compression_is_refused_or_has_the_right_size(body: bytes, size: int) -> None:
    with suppress(Invalid):
        assert len(expanded(body, size)) == size


def test_what_does_not_shrink_is_sent_as_it_is() -> None:
    packer = Packer()
    noise = b"".join(hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(4000))
    assert packer.pack(b"d", Packing.SMALL, lambda: noise) == (False, noise)
    assert packer.pack(b"d", Packing.SMALL, lambda: b"x" * 100) == (False, b"x" * 100)
    assert packer.pack(b"d", Packing.PLAIN, lambda: b"x" * 5000) == (False, b"x" * 5000)
    zstd, packed = packer.pack(b"d", Packing.FAST, lambda: b"x" * 5000)
    assert zstd
    assert expanded(packed, 5000) == b"x" * 5000


def test_what_was_packed_for_a_slow_link_is_kept_as_far_as_there_is_room() -> None:
    packer = Packer(kept=200)
    contents = {bytes([n]): bytes([n]) * 5000 for n in range(60)}
    for digest, content in contents.items():
        packer.pack(digest, Packing.SMALL, partial(bytes, content))
    assert packer.kept(b"\x00", Packing.SMALL) is None
    assert expanded(packer.kept(bytes([59]), Packing.SMALL) or b"", 5000) == contents[bytes([59])]
