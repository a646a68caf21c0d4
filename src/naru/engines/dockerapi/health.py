"""Is an instance ready? Decided from the answers of its checks; the rules are those of naru.domain.workload.Health."""

from dataclasses import dataclass, replace

from naru.domain.instance import InstanceState
from naru.domain.workload import Health

EAGER = 0.05
"""Seconds between the first checks of an instance: a start should not wait for its check's interval."""


@dataclass(frozen=True, slots=True)
class Course:
    """What an instance's checks have said since it started; times are seconds of one monotonic clock.

    `failures` counts those in a row, at most one per interval; `counted_at` is when the last was counted.
    """

    started_at: float
    counted_at: float
    state: InstanceState = InstanceState.STARTING
    failures: int = 0
    failure: str = ""
    was_ready: bool = False


def begin(now: float) -> Course:
    """Start the record of an instance that started just now."""
    return Course(started_at=now, counted_at=now)


def after(course: Course, health: Health, failure: str, now: float) -> Course:
    """Add one check's answer, empty when it passed.

    Until the instance is ready it is checked more often than its interval says; such extra failures do not count.
    """
    if not failure:
        return replace(course, state=InstanceState.READY, failures=0, failure="", was_ready=True, counted_at=now)
    course = replace(course, failure=failure)
    if not course.was_ready and now - course.started_at < health.start_period:
        return replace(course, counted_at=now)
    if not course.was_ready and now - course.counted_at < health.interval:
        return course
    failures = course.failures + 1
    state = InstanceState.UNHEALTHY if failures >= health.retries else course.state
    return replace(course, failures=failures, counted_at=now, state=state)


def pause(course: Course, health: Health, now: float) -> float:
    """Say how many seconds to wait for the next check: until it is ready, a tenth of the time it has taken so far."""
    if course.was_ready:
        return health.interval
    return min(health.interval, max(EAGER, (now - course.started_at) / 10))
