"""A comparison from its form to its end: asked for, under way, alone, stopped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.contract.fake_door import FakeDoor
from tests.unit.console.conftest import Browser, Stage, open_fake, words

from naru.control.comparisons import Bench
from naru.domain.comparison import Comparison, ComparisonState


@pytest.fixture
def bench() -> Bench:
    """Studies that never get a front door, and so stand still until they are stopped."""

    @asynccontextmanager
    async def never() -> AsyncIterator[FakeDoor]:
        await asyncio.Event().wait()
        yield FakeDoor()

    return Bench("study", open_fake, never, lambda: 20999)


async def begun(browser: Browser) -> str:
    """Ask for a comparison; return its page."""
    answer = await browser.post("/comparisons", {"target": "fake", "repeats": "3"})
    assert answer.status_code == 303
    return answer.headers["location"]


async def stopped(browser: Browser, stage: Stage, page: str) -> Comparison:
    """Stop a comparison once it has its turn; return how it ended."""
    async with asyncio.timeout(20):
        async for seen in stage.platform.comparisons.follow(page.rpartition("/")[2]):
            if seen.step == "opening the targets":
                await browser.post(f"{page}/cancel")
    return seen


async def test_a_comparison_goes_on_alone_until_it_is_stopped(browser: Browser, stage: Stage):
    page = await begun(browser)
    shown = words((await browser.get(page)).text)
    assert "0 of 3 rounds" in shown
    assert "Stop and tidy up" in shown
    assert "One comparison at a time" in words((await browser.get("/comparisons")).text)
    refused = await browser.post("/comparisons", {"target": "fake", "repeats": "3"})
    assert (refused.status_code, "is under way" in refused.text) == (409, True)

    assert (await stopped(browser, stage, page)).state is ComparisonState.CANCELLED
    ended = words((await browser.get(page)).text)
    assert "cancelled" in ended
    assert "Stop and tidy up" not in ended
    assert await stage.engine.observe() == []


async def test_the_next_one_may_begin_after_the_first(browser: Browser, stage: Stage):
    for _ in range(2):
        page = await begun(browser)
        assert (await stopped(browser, stage, page)).state is ComparisonState.CANCELLED
