"""The journal."""

import asyncio

from tests.service.store.values import MINUTE, NOON

from naru.domain.app import Event
from naru.store import Store


async def _fill(store: Store, count: int, app: str = "shop") -> list[Event]:
    return [await store.journal.append(NOON + n * MINUTE, app, "deployed", "kim", f"event {n}") for n in range(count)]


async def test_an_event_comes_back_as_it_was_stored(store: Store) -> None:
    event = await store.journal.append(NOON, "shop", "deployed", "kim", "release 1 \0 of shop", "r1")
    assert event == Event(event.number, NOON, "shop", "deployed", "kim", "release 1 \ufffd of shop", "r1")
    assert await store.journal.after(0) == [event]


async def test_a_reader_goes_on_where_it_stopped(store: Store) -> None:
    events = await _fill(store, 5)
    assert await store.journal.after(0, limit=2) == events[:2]
    assert await store.journal.after(events[1].number) == events[2:]


async def test_events_are_told_apart_by_app(store: Store) -> None:
    shop, other = await _fill(store, 2), await _fill(store, 2, "other")
    assert await store.journal.after(0, "other") == other
    assert await store.journal.latest("shop") == shop[::-1]


async def test_the_latest_come_first_page_by_page(store: Store) -> None:
    events = await _fill(store, 5)
    assert await store.journal.latest(limit=2) == [events[4], events[3]]
    assert await store.journal.latest(limit=2, before=events[3].number) == [events[2], events[1]]


async def test_a_forgotten_number_is_not_given_again(store: Store) -> None:
    events = await _fill(store, 3)
    assert await store.journal.prune(NOON + 2 * MINUTE) == 2
    assert await store.journal.after(0) == events[2:]
    assert await store.journal.prune(NOON + 3 * MINUTE) == 1
    (after,) = await _fill(store, 1)
    assert after.number > events[-1].number


async def test_a_reader_misses_nothing_that_writers_append_meanwhile(store: Store) -> None:
    """A number that becomes visible later than a greater one would be skipped by whoever asks for what is new."""

    async def write(writer: int) -> None:
        for n in range(15):
            await store.journal.append(NOON, "shop", "deployed", f"writer-{writer}", f"{n}")

    async def follow() -> list[Event]:
        seen: list[Event] = []
        while len(seen) < 4 * 15:
            seen += await store.journal.after(seen[-1].number if seen else 0)
        return seen

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        reader = group.create_task(follow())
        for writer in range(4):
            group.create_task(write(writer))

    assert {(e.subject, e.text) for e in reader.result()} == {
        (f"writer-{w}", f"{n}") for w in range(4) for n in range(15)
    }
