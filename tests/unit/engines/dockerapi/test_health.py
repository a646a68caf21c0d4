from hypothesis import given
from hypothesis import strategies as st

from naru.domain.instance import InstanceState
from naru.domain.workload import Health
from naru.engines.dockerapi.health import EAGER, after, begin, pause

HEALTH = Health(interval=2.0, retries=3, start_period=10.0)


def run(health, answers, every):
    """Check every so many seconds."""
    course = begin(0.0)
    for step, failure in enumerate(answers, 1):
        course = after(course, health, failure, step * every)
    return course


def test_the_first_passing_check_makes_ready():
    assert run(HEALTH, ["no", "no", ""], 0.05).state is InstanceState.READY


def test_failures_within_the_start_period_do_not_count_and_are_told():
    course = run(HEALTH, ["no"] * 9, 1.0)

    assert (course.state, course.failures, course.failure) == (InstanceState.STARTING, 0, "no")


def test_unhealthy_after_the_start_period_and_as_many_intervals_as_retries():
    assert run(HEALTH, ["no"] * 14, 1.0).state is InstanceState.STARTING
    assert run(HEALTH, ["no"] * 16, 1.0).state is InstanceState.UNHEALTHY


def test_the_start_period_ends_with_the_first_passing_check():
    assert run(HEALTH, ["", "no", "no", "no"], 2.0).state is InstanceState.UNHEALTHY


def test_a_passing_check_forgives():
    assert run(HEALTH, ["", "no", "no", "", "no", "no"], 2.0).state is InstanceState.READY
    assert run(HEALTH, ["", "no", "no", "no", ""], 2.0).state is InstanceState.READY


def test_checks_are_eager_until_ready_and_then_keep_the_interval():
    fresh = begin(0.0)

    assert pause(fresh, HEALTH, 0.0) == EAGER
    assert pause(fresh, HEALTH, 5.0) == 0.5
    assert pause(fresh, HEALTH, 3600.0) == HEALTH.interval
    assert pause(after(fresh, HEALTH, "", 0.1), HEALTH, 0.1) == HEALTH.interval


@given(
    st.lists(st.sampled_from(["", "no"]), max_size=60),
    st.floats(0.1, 10),
    st.integers(1, 5),
    st.floats(0, 20),
)
def test_whatever_happens_the_last_answer_decides_in_time(answers, interval, retries, start_period):
    health = Health(interval=interval, retries=retries, start_period=start_period)
    course, now = begin(0.0), 0.0
    for failure in answers:
        now += pause(course, health, now)
        course = after(course, health, failure, now)

    if answers and answers[-1] == "":
        assert course.state is InstanceState.READY
    if course.state is InstanceState.UNHEALTHY:
        assert answers[-retries:] == ["no"] * retries
    if not any(answer == "" for answer in answers):
        assert course.state is not InstanceState.READY
