"""Start-up profiles: recorded, kept, merged."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.agent.index.index import Index, Object
from naru.agent.profile import MAX_RECORDINGS, Profile, Profiles, Touch, merge
from naru.domain.errors import Invalid

DIGESTS = sorted(hashlib.sha256(bytes((n,))).digest() for n in range(40))
INDEX = Index("sha256:" + "ab" * 32, b"meta", tuple(Object(digest, 1) for digest in DIGESTS))
OTHER = Index("sha256:" + "cd" * 32, b"meta", INDEX.objects)

starts = st.lists(st.sampled_from(DIGESTS), unique=True)
profiles = starts.map(lambda touched: Profile.of(INDEX, touched))


@given(starts)
def test_a_profile_lists_what_was_touched_in_that_order(touched):
    profile = Profile.of(INDEX, [*touched, *touched, hashlib.sha256(b"of another image").digest()])

    assert profile.objects(INDEX) == tuple(touched)
    assert Profile.decode(profile.encode(), INDEX) == profile


@given(st.lists(profiles, min_size=1, max_size=40))
def test_a_merged_profile_can_be_kept_and_holds_nothing_new(recorded):
    merged = merge(recorded)

    assert Profile.decode(merged.encode(), INDEX) == merged
    assert set(merged.objects(INDEX)) <= {digest for profile in recorded for digest in profile.objects(INDEX)}
    assert 1 <= merged.recordings <= MAX_RECORDINGS


@given(profiles)
def test_equal_recordings_merge_into_the_same_order(profile):
    assert merge([profile] * 5).objects(INDEX) == profile.objects(INDEX)


def test_what_most_starts_touch_early_goes_first_and_what_is_rare_goes():
    always = [Profile.of(INDEX, DIGESTS[:3])] * 8
    once = Profile.of(INDEX, [DIGESTS[20], *DIGESTS[:3]])

    assert merge([*always, once]).objects(INDEX) == tuple(DIGESTS[:3])
    assert merge([*always[:2], once]).objects(INDEX) == (DIGESTS[20], *DIGESTS[:3])


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
    assert len(read.objects(INDEX)) == len(set(read.objects(INDEX))) == len(profile.touches)


@pytest.mark.parametrize(
    "profile",
    [
        Profile(INDEX.digest, (Touch(0), Touch(0))),
        Profile(INDEX.digest, (Touch(40),)),
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
        merge([Profile.of(INDEX, DIGESTS), Profile.of(OTHER, DIGESTS)])
    with pytest.raises(Invalid, match="record it again"):
        Profile.of(OTHER, DIGESTS).objects(INDEX)


def test_recordings_of_an_image_are_merged_on_disk(tmp_path):
    kept = Profiles(tmp_path)
    assert kept.load(INDEX.image) is None

    kept.add(INDEX, Profile.of(INDEX, DIGESTS[:3]))
    merged = Profiles(tmp_path).add(INDEX, Profile.of(INDEX, DIGESTS[:5]))

    assert merged.recordings == 2
    assert Profiles(tmp_path).find(INDEX) == merged
    assert kept.find(OTHER) is None
    kept.remove(INDEX.image)
    assert kept.find(INDEX) is None


def test_a_broken_file_is_no_profile_and_is_replaced(tmp_path):
    kept = Profiles(tmp_path)
    kept.save(INDEX.image, b"from a lying peer")

    assert kept.find(INDEX) is None
    assert kept.add(INDEX, Profile.of(INDEX, DIGESTS[:3])).recordings == 1
