"""Start-up profiles: recorded, kept, merged."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.agent.exchange.pieces import Pieces
from naru.agent.index.index import CHUNK, Index, Object
from naru.agent.profile import MAX_RECORDINGS, Profile, Profiles, Touch, Touched, merge
from naru.domain.errors import Invalid

DIGESTS = sorted(hashlib.sha256(bytes((n,))).digest() for n in range(40))
BIG = DIGESTS[30:]
"""These have three chunks each."""
CHUNKS = tuple(hashlib.sha256(bytes((n,)) * 2).digest() for n in range(3))
INDEX = Index(
    "sha256:" + "ab" * 32,
    b"meta",
    tuple(Object(one, 2 * CHUNK + 9, CHUNKS) if one in BIG else Object(one, 1) for one in DIGESTS),
)
OTHER = Index("sha256:" + "cd" * 32, b"meta", INDEX.objects)
PIECES = Pieces(INDEX)

touches = st.one_of(
    st.builds(Touched, st.sampled_from(DIGESTS)), st.builds(Touched, st.sampled_from(BIG), st.integers(0, 2))
)
starts = st.lists(touches, max_size=60)
profiles = starts.map(lambda touched: Profile.of(INDEX, touched))


def small(*numbers: int) -> list[Touched]:
    return [Touched(DIGESTS[number]) for number in numbers]


def chunks(number: int, *which: int) -> list[Touched]:
    return [Touched(BIG[number], chunk) for chunk in which]


@given(starts)
def test_a_profile_lists_what_was_touched_in_that_order(touched):
    profile = Profile.of(INDEX, [*touched, *touched, Touched(hashlib.sha256(b"of another image").digest())])

    listed = [PIECES.piece(number) for number in profile.pieces(INDEX)]
    seen = [one for one in dict.fromkeys(touched) if one.chunk is not None or one.digest not in BIG]
    assert [
        Touched(piece.object.digest, None if piece.whole else piece.offset // CHUNK)
        for piece in listed
        if Touched(piece.object.digest, None if piece.whole else piece.offset // CHUNK) in seen
    ] == seen
    assert {piece.object.digest for piece in listed} == {one.digest for one in touched}
    assert Profile.decode(profile.encode(), INDEX) == profile


def test_of_a_big_object_only_the_chunks_that_were_touched_are_listed():
    profile = Profile.of(INDEX, [*chunks(0, 2), *small(1), Touched(BIG[0]), *chunks(0, 0)])

    first = PIECES.numbers(BIG[0])[0]
    assert profile.pieces(INDEX) == (first + 2, PIECES.numbers(DIGESTS[1])[0], first)


def test_of_a_big_object_whose_chunks_nobody_saw_those_are_listed_that_were_seen_before_else_all():
    known = Profile.of(INDEX, chunks(0, 1))

    profile = Profile.of(INDEX, [Touched(BIG[0]), Touched(BIG[1])], known)

    assert profile.pieces(INDEX) == (PIECES.numbers(BIG[0])[1], *PIECES.numbers(BIG[1]))


@given(st.lists(profiles, min_size=1, max_size=40))
def test_a_merged_profile_can_be_kept_and_holds_nothing_new(recorded):
    merged = merge(recorded)

    assert Profile.decode(merged.encode(), INDEX) == merged
    assert set(merged.pieces(INDEX)) <= {number for profile in recorded for number in profile.pieces(INDEX)}
    assert 1 <= merged.recordings <= MAX_RECORDINGS


@given(profiles)
def test_equal_recordings_merge_into_the_same_order(profile):
    assert merge([profile] * 5).pieces(INDEX) == profile.pieces(INDEX)


def test_what_most_starts_touch_early_goes_first_and_what_is_rare_goes():
    usual, rare = [*small(0, 1), *chunks(0, 2)], [*chunks(1, 1), *small(0, 1), *chunks(0, 2)]
    always = [Profile.of(INDEX, usual)] * 8
    once = Profile.of(INDEX, rare)

    assert merge([*always, once]).pieces(INDEX) == always[0].pieces(INDEX)
    assert merge([*always[:2], once]).pieces(INDEX) == once.pieces(INDEX)


@given(st.binary(max_size=120))
def test_what_is_no_profile_is_refused(content):
    with pytest.raises(Invalid):
        Profile.decode(content, INDEX)


@given(profiles, st.integers(0, 10_000), st.integers(1, 255))
def test_a_profile_with_a_wrong_byte_is_refused_or_still_a_profile_of_this_index(profile, place, change):
    content = bytearray(profile.encode())
    content[place % len(content)] ^= change

    try:
        read = Profile.decode(bytes(content), INDEX)
    except Invalid:
        return
    assert len(read.pieces(INDEX)) == len(set(read.pieces(INDEX))) == len(profile.touches)
    assert all(number < PIECES.count for number in read.pieces(INDEX))


@pytest.mark.parametrize(
    "profile",
    [
        Profile(INDEX.digest, (Touch(0), Touch(0))),
        Profile(INDEX.digest, (Touch(PIECES.count),)),
        Profile(INDEX.digest, (Touch(1, 2),), 1),
        Profile(INDEX.digest, (), 0),
        Profile(OTHER.digest, (Touch(1),)),
    ],
)
def test_a_profile_that_cannot_be_is_refused(profile):
    with pytest.raises(Invalid):
        Profile.decode(profile.encode(), INDEX)


def test_profiles_of_different_indexes_are_not_mixed():
    with pytest.raises(Invalid, match="of one index"):
        merge([Profile.of(INDEX, small(1)), Profile.of(OTHER, small(1))])
    with pytest.raises(Invalid, match="record it again"):
        Profile.of(OTHER, small(1)).pieces(INDEX)


def test_recordings_of_an_image_are_merged_on_disk(tmp_path):
    kept = Profiles(tmp_path)
    assert kept.load(INDEX.image) is None

    kept.add(INDEX, small(0, 1, 2))
    merged = Profiles(tmp_path).add(INDEX, small(0, 1, 2, 3))

    assert merged.recordings == 2
    assert Profiles(tmp_path).find(INDEX) == merged
    assert kept.find(OTHER) is None
    kept.remove(INDEX.image)
    assert kept.find(INDEX) is None


def test_a_broken_file_is_no_profile_and_is_replaced(tmp_path):
    kept = Profiles(tmp_path)
    kept.save(INDEX.image, b"from a lying peer")

    assert kept.find(INDEX) is None
    assert kept.add(INDEX, small(0, 1, 2)).recordings == 1


def test_a_profile_of_an_older_form_is_none(tmp_path):
    kept = Profiles(tmp_path)
    kept.save(INDEX.image, Profile.of(INDEX, small(1)).encode().replace(b"naru-profile-2", b"naru-profile-1"))

    assert kept.find(INDEX) is None


def test_recordings_that_see_no_chunks_do_not_widen_what_others_saw(tmp_path):
    kept = Profiles(tmp_path)
    kept.add(INDEX, chunks(0, 1))

    merged = kept.add(INDEX, [Touched(BIG[0])])

    assert merged.touches == (Touch(PIECES.numbers(BIG[0])[1], 2),)
