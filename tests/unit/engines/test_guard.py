import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime

import pytest
from tests.contract.fake_engine import FakeEngine

from naru.domain.errors import Conflict, NotFound, Unavailable
from naru.domain.image import Image, Origin, Platform
from naru.domain.release import Release, ReleaseState
from naru.domain.workload import Workload
from naru.engines.guard import Guarded, Patience

IMAGE = Image("shop:1", "sha256:" + "a" * 64, "sha256:" + "b" * 64, Platform(), Origin.REGISTRY)
RELEASE = Release("shop", 1, Workload("shop", "shop:1", 80, 1), IMAGE, ReleaseState.LIVE, "ana", datetime.now(UTC))
HURRY = Patience(answer=0.01, progress=0.01, command=0.01)


@pytest.fixture
def fake():
    return FakeEngine()


async def test_answers_pass_through(fake):
    guarded = Guarded(fake)
    async for _ in guarded.fetch(IMAGE):
        pass
    await guarded.apply(RELEASE, 2, secrets={})

    instances = await guarded.observe("shop")

    assert len(instances) == 2
    assert (await guarded.execute(instances[0].id, ["true"])).exit_code == 0
    assert (await guarded.describe()).name == "fake"
    await guarded.remove("shop")


async def test_an_engine_that_hangs_is_unavailable_in_time(fake):
    guarded = Guarded(fake, HURRY)

    with fake.hold("observe"), pytest.raises(Unavailable, match=r"did not list its instances within 0\.01 s"):
        await guarded.observe()
    with fake.hold("fetch"), pytest.raises(Unavailable, match="fetch shop:1"):
        await anext(guarded.fetch(IMAGE))


async def test_a_volume_may_take_long_to_write_but_not_to_take_the_next_piece(fake):
    guarded = Guarded(fake, Patience(progress=0.5))

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(8):
            await asyncio.sleep(0.1)
            yield bytes(512)

    await guarded.unpack(RELEASE, "data", slow())
    assert fake.disk.holds["shop", "data"] == bytes(4096)
    with fake.hold("unpack"), pytest.raises(Unavailable, match="took nothing more of the volume data of shop"):
        await guarded.unpack(RELEASE, "data", slow())


async def test_a_quiet_watch_is_not_a_dead_one(fake):
    async with aclosing(Guarded(fake, HURRY).watch()) as changes:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(changes), 0.05)


async def test_errors_of_the_family_stay_as_they_are(fake):
    fake.fail("apply", Conflict("busy"))

    with pytest.raises(Conflict, match="busy"):
        await Guarded(fake).apply(RELEASE, 1, secrets={})
    with pytest.raises(NotFound):
        await anext(Guarded(fake).logs("nobody"))


async def test_a_foreign_error_is_named_and_keeps_its_cause(fake, caplog):
    fake.fail("describe", KeyError("Version"))

    with pytest.raises(Unavailable, match=r"fake could not describe itself: KeyError.*fault in Naru") as told:
        await Guarded(fake).describe()

    assert isinstance(told.value.__cause__, KeyError)
    assert "fake could not describe itself" in caplog.text


async def test_going_away_and_coming_back_are_logged_once_each(fake, caplog):
    guarded = Guarded(fake)
    fake.go_away("the machine is off")
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            with pytest.raises(Unavailable):
                await guarded.observe()
        fake.come_back()
        for _ in range(5):
            await guarded.observe()

    assert [record.getMessage() for record in caplog.records] == [
        "the machine is off; start it again",
        "fake answers again",
    ]
