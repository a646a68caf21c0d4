import hashlib
import struct
from itertools import count

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from naru.agent.index.index import CHUNK, Index, Object, chunk_count, object_path
from naru.domain.errors import Invalid

IMAGE = "sha256:" + "1" * 64
_digests = st.binary(min_size=32, max_size=32)
_sizes = st.one_of(st.integers(1, CHUNK), st.integers(CHUNK + 1, 5 * CHUNK))


@st.composite
def indexes(draw: st.DrawFn) -> Index:
    numbers = count()
    objects = [
        Object(digest, size, tuple(_digest(next(numbers)) for _ in range(chunk_count(size))))
        for digest, size in sorted(draw(st.dictionaries(_digests, _sizes, max_size=8)).items())
    ]
    known = [object_path(obj.digest).encode() for obj in objects]
    paths = st.sampled_from(known) if known else st.just(b"/")
    strange = st.one_of(st.binary(max_size=40), _digests.map(lambda digest: object_path(digest).encode()), paths)
    return Index(IMAGE, b"".join(draw(st.lists(strange, max_size=12))), tuple(objects))


@given(indexes())
def test_an_index_survives_its_encoding(index: Index) -> None:
    assert Index.decode(index.encode()) == index


@given(indexes())
def test_equal_indexes_have_equal_digests_and_bytes(index: Index) -> None:
    again = Index.decode(index.encode())
    assert (again.digest, again.encode()) == (index.digest, index.encode())


@given(indexes(), st.data())
def test_a_changed_encoding_is_refused_or_means_something_else(index: Index, data: st.DataObject) -> None:
    plain = bytearray(zstandard.decompress(index.encode()))
    plain[data.draw(st.integers(0, len(plain) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = Index.decode(zstandard.compress(bytes(plain)))
    except Invalid:
        return
    assert anew(found).digest == hashlib.sha256(plain).digest() != index.digest


def anew(index: Index) -> Index:
    """The same value, which knows nothing of the bytes that it came from."""
    return Index(index.image, index.meta, index.objects)


@given(indexes(), st.data())
def test_an_encoding_that_others_could_have_written_is_refused(index: Index, data: st.DataObject) -> None:
    """Given the same metadata with other holes cut, the objects in another order, or named in another way."""
    order = data.draw(st.permutations(index.objects))
    places = {object_path(obj.digest).encode(): place for place, obj in enumerate(order)}
    gaps, references, rest, at, end, named = [], [], b"", 0, 0, 0
    while at < len(index.meta):
        place = places.get(index.meta[at : at + 66])
        if place is None or not data.draw(st.integers(0, 5)):
            at += 1
            continue
        references.append(0 if place == named and data.draw(st.integers(0, 5)) else place + 1)
        named += references[-1] == 0
        gaps.append(at - end)
        rest += index.meta[end:at]
        at = end = at + 66
    plain = b"".join(
        (
            struct.pack(
                "<8s32sIIIQ",
                b"NARUIDX\x01",
                bytes.fromhex("1" * 64),
                len(order),
                sum(len(o.chunks) for o in order),
                len(gaps),
                len(index.meta),
            ),
            *(obj.digest for obj in order),
            *(struct.pack("<Q", obj.size) for obj in order),
            *(chunk for obj in order for chunk in obj.chunks),
            *(struct.pack("<I", number) for number in (*gaps, *references)),
            rest + index.meta[end:],
        )
    )
    try:
        found = Index.decode(zstandard.compress(plain))
    except Invalid:
        assert plain != zstandard.decompress(index.encode())
        return
    assert anew(found) == index
    assert plain == zstandard.decompress(index.encode())


@given(indexes(), st.integers(0, 200))
def test_a_cut_encoding_is_refused(index: Index, length: int) -> None:
    encoded = index.encode()
    with pytest.raises(Invalid):
        Index.decode(encoded[: min(length, len(encoded) - 1)])


@given(st.binary(max_size=300))
def test_bytes_that_are_no_index_are_refused(content: bytes) -> None:
    for hostile in (content, zstandard.compress(content), zstandard.compress(b"NARUIDX\x01" + content)):
        with pytest.raises(Invalid):
            Index.decode(hostile)


def test_a_bomb_is_refused_before_it_unpacks() -> None:
    with pytest.raises(Invalid, match="would unpack to"):
        Index.decode(zstandard.compress(bytes(100 << 20)))


def test_a_second_frame_is_refused() -> None:
    encoded = Index(IMAGE, b"meta", ()).encode()
    with pytest.raises(Invalid):
        Index.decode(encoded + encoded)


def test_paths_of_objects_cost_nothing_in_the_encoding() -> None:
    objects = tuple(sorted((Object(_digest(n), 7) for n in range(1000)), key=lambda obj: obj.digest))
    index = Index(IMAGE, b"".join(b"entry" + object_path(obj.digest).encode() for obj in objects), objects)
    assert len(index.encode()) < 1000 * 33


def test_an_object_that_the_image_lacks_is_not_found() -> None:
    with pytest.raises(Invalid, match="has no object"):
        Index(IMAGE, b"", ()).find(_digest(1))


@pytest.mark.parametrize(
    "objects",
    [
        (Object(b"short", 1),),
        (Object(b"a" * 32, 0),),
        (Object(b"a" * 32, 5, (b"b" * 32,)),),
        (Object(b"b" * 32, 1), Object(b"a" * 32, 1)),
        (Object(b"a" * 32, 1), Object(b"a" * 32, 1)),
    ],
)
def test_objects_that_make_no_sense_are_refused(objects: tuple[Object, ...]) -> None:
    with pytest.raises(Invalid):
        Index(IMAGE, b"", objects)


def _digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()
