from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from naru.domain.instance import Instance, InstanceState
from naru.engines.scale import leaving

START = datetime(2026, 1, 1, tzinfo=UTC)


def one(id_, age, state=InstanceState.READY):
    return Instance(id_, "shop", 1, "abc", state, created_at=START - timedelta(seconds=age))


def test_those_named_go_first_then_those_not_ready_then_the_youngest():
    old, young = one("old", 30), one("young", 10)
    ill, named = one("ill", 20, InstanceState.UNHEALTHY), one("named", 40)

    order = leaving([old, ill, young, named], 4, retire=("named",))

    assert [each.id for each in order] == ["named", "ill", "young", "old"]


def test_nobody_leaves_when_nobody_must():
    assert leaving([one("a", 1)], 0, ("a",)) == ()
    assert leaving([one("a", 1)], -3) == ()


@given(
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from(InstanceState), st.booleans()), max_size=20),
    st.integers(0, 25),
)
def test_exactly_as_many_leave_as_must_and_never_a_better_one(shapes, surplus):
    all_ = [one(str(at), age, state) for at, (age, state, _) in enumerate(shapes)]
    retire = {str(at) for at, (_, _, named) in enumerate(shapes) if named}

    gone = leaving(all_, surplus, retire)

    assert len(gone) == min(surplus, len(all_))
    kept = [each for each in all_ if each not in gone]
    if any(each.ready and each.id not in retire for each in gone):
        assert not any(each.id in retire or not each.ready for each in kept)
