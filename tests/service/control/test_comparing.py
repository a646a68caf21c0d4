"""Comparisons in the background: one at a time, followed, stopped, kept, and tidied up after a crash."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from tests.contract.fake_door import FakeDoor
from tests.contract.fake_engine import FakeEngine
from tests.service.control.site import ME, workload

from naru.control import comparisons
from naru.control.comparisons import STOPPED, Bench, Comparisons
from naru.control.survey import figures
from naru.domain.comparison import ComparisonState, Measure, Result
from naru.domain.errors import Conflict, Invalid, NotFound, Unavailable

FIRST = (Result("fake", Measure.START_1, (0.5,)),)
SECOND = (Result("fake", Measure.START_1, (0.5, 0.7)), Result("fake", Measure.CRASH, (2.0,)))


class Study:
    """What stands for the measuring: it goes on when it is told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.problem: Exception | None = None
        self.cleared: list[str] = []

    async def compare(self, subjects, door, plan, now, tell):
        try:
            await tell("round 1")
            yield FIRST
            await self.go_on.wait()
            if self.problem:
                raise self.problem
            await tell("round 2")
            yield SECOND
        finally:
            self.cleared += [subject.name for subject in subjects]

    async def clear(self, engine, mark) -> str:
        self.cleared.append(engine.name)
        return ""


@pytest.fixture
def study(monkeypatch) -> Study:
    made = Study()
    monkeypatch.setattr(comparisons, "compare", made.compare)
    monkeypatch.setattr(comparisons, "clear", made.clear)

    async def no_image(store):
        return None

    @asynccontextmanager
    async def no_archive(image) -> AsyncIterator[None]:
        yield None

    monkeypatch.setattr(comparisons, "study_image", no_image)
    monkeypatch.setattr("naru.oci.layout.ImageStore.export", lambda _, image: no_archive(image))
    return made


@asynccontextmanager
async def at_work(naru, name: str = "test") -> AsyncIterator[Comparisons]:
    @asynccontextmanager
    async def open_engine(url, tasks, *, name, site) -> AsyncIterator[FakeEngine]:
        yield FakeEngine(name)

    @asynccontextmanager
    async def open_door() -> AsyncIterator[FakeDoor]:
        yield FakeDoor()

    platform = naru.platform
    made = Comparisons(
        platform.pipeline,
        platform.bulletin,
        naru.clock,
        server=name,
        bench=Bench("mark", open_engine, open_door, lambda: 20_900),
    )
    keeping = asyncio.create_task(made.keep())
    try:
        yield made
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


async def until(made: Comparisons, comparison: str, state: ComparisonState):
    async with asyncio.timeout(10):
        async for seen in made.follow(comparison):
            if seen.state is state:
                return seen
    raise AssertionError(f"it never was {state}")


async def measured(made: Comparisons, comparison: str):
    async with asyncio.timeout(10):
        async for seen in made.follow(comparison):
            if seen.results:
                return


async def test_a_comparison_is_followed_to_its_end_and_feeds_the_choice(naru, study):
    async with at_work(naru) as made:
        started = await made.start((), repeats=2, subject=ME)
        with pytest.raises(Conflict, match="is under way"):
            await made.start((), repeats=2, subject=ME)
        study.go_on.set()
        done = await until(made, started.id, ComparisonState.DONE)

        assert (done.names, done.results, done.step) == (("fake",), SECOND, "")
        assert done.targets[0].engine == "fake"
        assert await naru.store.comparisons.get(started.id) == done
        assert [one.id for one in await made.latest()] == [started.id]
    assert figures("fake", [done]).start == 0.6
    choice = await naru.platform.choose(workload())
    reasons = {share.criterion: share.reason for share in choice.candidates[0].shares}
    assert reasons["start"] == "an instance serves after 0.60 s"
    assert reasons["recovery"] == "a killed instance is replaced after 2.00 s"
    assert reasons["footprint"].startswith("not measured")


async def test_a_comparison_that_is_stopped_clears_up_and_keeps_what_it_had(naru, study):
    async with at_work(naru) as made:
        started = await made.start(["fake"], repeats=2, subject=ME)
        await measured(made, started.id)
        await made.cancel(started.id, subject=ME)
        ended = await until(made, started.id, ComparisonState.CANCELLED)

        assert ended.results == FIRST
        assert study.cleared == ["fake"]
        study.go_on.set()
        again = await made.start(["fake"], repeats=1, subject=ME)
        assert (await until(made, again.id, ComparisonState.DONE)).results == SECOND


async def test_a_problem_is_told(naru, study):
    study.problem = Unavailable("the engine went away")
    study.go_on.set()
    async with at_work(naru) as made:
        started = await made.start(["fake"], repeats=2, subject=ME)
        assert "the engine went away" in (await until(made, started.id, ComparisonState.FAILED)).reason


async def test_the_end_of_the_server_clears_up_and_a_death_is_tidied_up_after(naru, study):
    async with at_work(naru) as made:
        started = await made.start(["fake"], repeats=2, subject=ME)
        await measured(made, started.id)
    stored = await naru.store.comparisons.get(started.id)
    assert stored.state is ComparisonState.CANCELLED
    assert study.cleared == ["fake"]

    await naru.store.comparisons.save(replace(stored, state=ComparisonState.RUNNING, ended_at=None), "test")
    async with at_work(naru, "another") as other:
        assert (await other.get(started.id)).state is ComparisonState.RUNNING
    async with at_work(naru) as made:
        ended = await until(made, started.id, ComparisonState.FAILED)
        assert ended.reason == STOPPED
        assert study.cleared == ["fake", "fake"]


async def test_what_cannot_be_compared_is_refused(naru, study):
    async with at_work(naru) as made:
        with pytest.raises(NotFound):
            await made.start(["nowhere"], repeats=2, subject=ME)
        with pytest.raises(Invalid):
            await made.start(["fake"], repeats=0, subject=ME)
        with pytest.raises(NotFound):
            await made.get("comparison-none")
    with pytest.raises(Unavailable):
        await naru.platform.comparisons.start(["fake"], repeats=1, subject=ME)
