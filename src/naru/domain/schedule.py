"""When a scheduled workload runs: the five fields of crontab(5), in UTC."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from naru.domain.errors import Invalid

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of the week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)
_MEND = "write five fields such as '30 4 * * 1-5': minute, hour, day of the month, month, day of the week"
_LONGEST_WAIT_DAYS = 8 * 366
"""From one 29 February to the next, where a century leaves one out."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The moments that a schedule names.

    A day counts when both day fields name it, or either of them where both are limited, as in crontab(5).
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def after(self, moment: datetime) -> datetime | None:
        """Return the first minute of the schedule later than `moment`, a time in UTC; None when it never comes."""
        start = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        for ahead in range(_LONGEST_WAIT_DAYS + 1):
            day = start + timedelta(days=ahead)
            if not self._has(day):
                continue
            earliest = (start.hour, start.minute) if ahead == 0 else (0, 0)
            times = ((hour, minute) for hour in sorted(self.hours) for minute in sorted(self.minutes))
            if found := next((time for time in times if time >= earliest), None):
                return day.replace(hour=found[0], minute=found[1])
        return None

    def _has(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_month or by_week if self.either_day else by_month and by_week


def parse(text: str) -> Schedule:
    """Read a schedule: numbers, names of months and days, lists, ranges, steps and `*`; else raise Invalid."""
    fields = text.lower().split()
    if len(fields) != len(_FIELDS):
        raise Invalid(f"the schedule {_shown(text)} has {len(fields)} fields, not 5", _MEND)
    minutes, hours, days, months, weekdays = (
        _values(field, *known) for field, known in zip(fields, _FIELDS, strict=True)
    )
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    schedule = Schedule(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), either)
    if schedule.after(datetime(2000, 1, 1)) is None:  # noqa: DTZ001 - any calendar will do
        raise Invalid(f"the schedule {_shown(text)} names a day that never comes", "choose a day that the month has")
    return schedule


def _values(field: str, what: str, least: int, most: int, named: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step_text = part.partition("/")
        first_text, dash, last_text = span.partition("-")
        try:
            step = _number(step_text, {}) if slash else 1
            if span == "*":
                first, last = least, most
            else:
                first = _number(first_text, named)
                last = _number(last_text, named) if dash else most if slash else first
        except ValueError:
            raise Invalid(f"the schedule's {what} is {_shown(field)}", _MEND) from None
        if not least <= first <= last <= most or step < 1:
            raise Invalid(f"the schedule's {what} {_shown(part)} is not within {least} to {most}", _MEND)
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, named: dict[str, int]) -> int:
    if text in named:
        return named[text]
    if not text.isascii() or not text.isdecimal() or len(text) > 4:
        raise ValueError(text)
    return int(text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}…")
