"""An app moves with its volumes: it stops, they are copied and compared, and nothing is lost on the way."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator

import pytest
from tests.contract.fake_behaviour import NeverReady
from tests.contract.fake_disk import EMPTY
from tests.contract.fake_engine import FakeEngine
from tests.service.control.site import ME, Site
from tests.service.control.test_crashes import kill_everywhere

from naru.domain.errors import Conflict, Unavailable
from naru.domain.release import Release
from naru.domain.rollout import Rollout, RolloutState, StepName
from naru.domain.target import Feature
from naru.domain.workload import Volume

VOLUMES = (Volume("data", "/data"), Volume("more", "/more"))


def packed(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


KEPT = packed(orders=b"one, two" * 5000, log=b"")


async def stocked(naru: Site) -> FakeEngine:
    """Deploy the shop with data on the first target, and return the engine of another one."""
    plant = await naru.target("plant")
    await naru.platform.fleet.cordon("plant", subject=ME)
    await naru.deploy(replicas=2, volumes=VOLUMES)
    await naru.platform.fleet.uncordon("plant", subject=ME)
    naru.engine.disk.holds["shop", "data"] = KEPT
    return plant


async def move(naru: Site, to: str = "plant") -> Rollout:
    return await naru.end(await naru.apps.move("shop", to=to, copy_volumes=True, subject=ME))


async def test_an_app_moves_with_all_its_volumes_and_never_runs_twice(naru):
    plant = await stocked(naru)
    most = 0

    async def count() -> None:
        nonlocal most
        while True:
            most = max(most, min(len(naru.engine.instances("shop")), len(plant.instances("shop"))))
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    moved = await move(naru)
    counting.cancel()

    assert (moved.state, most) == (RolloutState.SUCCEEDED, 0)
    assert [step.name for step in moved.steps][1:4] == [StepName.DISTRIBUTE, StepName.COPY, StepName.ROLL]
    copying = next(step for step in moved.steps if step.name is StepName.COPY)
    assert copying.outcome == "2 volumes copied and compared: 2 entries, 0.0 MiB"
    assert plant.disk.holds == {("shop", "data"): KEPT, ("shop", "more"): EMPTY}
    assert naru.engine.disk.holds["shop", "data"] == KEPT
    assert "its volumes are kept there" in moved.steps[-1].outcome
    await naru.settled()
    assert (naru.engine.instances(), len(plant.instances("shop"))) == ([], 2)


async def test_the_volumes_of_an_earlier_stay_give_way_when_the_app_comes_back(naru):
    plant = await stocked(naru)
    await move(naru)
    plant.disk.holds["shop", "data"] = packed(orders=b"three")

    assert (await move(naru, "fake")).state is RolloutState.SUCCEEDED

    assert naru.engine.disk.holds["shop", "data"] == packed(orders=b"three")


@pytest.mark.parametrize("broken", ["pack", "unpack"])
@pytest.mark.parametrize("side", ["source", "target"])
async def test_a_copy_that_fails_brings_the_app_back_with_what_it_had(naru, side, broken):
    plant = await stocked(naru)
    engine = plant if side == "target" else naru.engine
    engine.fail(broken, Unavailable("the disk is full", "make room"), times=1)
    unharmed = (side, broken) == ("source", "unpack")

    moved = await move(naru)

    assert moved.state is (RolloutState.SUCCEEDED if unharmed else RolloutState.FAILED)
    assert unharmed or "the disk is full" in moved.reason
    await naru.settled()
    assert unharmed or len(naru.engine.instances("shop")) == 2
    assert naru.engine.disk.holds["shop", "data"] == KEPT
    assert unharmed or (plant.instances(), plant.disk.holds) == ([], {})


async def test_what_arrives_otherwise_than_it_was_sent_is_noticed(naru, monkeypatch):
    plant = await stocked(naru)

    async def lose(release: Release, volume: str, archive: AsyncIterator[bytes]) -> None:
        async for _ in archive:
            plant.disk.holds["shop", volume] = EMPTY

    monkeypatch.setattr(plant, "unpack", lose)

    moved = await move(naru)

    assert moved.state is RolloutState.FAILED
    assert "what arrived of the volume data is not what was sent: 0 entries with 0 bytes" in moved.reason
    await naru.settled()
    assert len(naru.engine.instances("shop")) == 2


async def test_a_source_that_does_not_show_all_volumes_is_not_left(naru):
    plant = await stocked(naru)
    del naru.engine.disk.holds["shop", "more"]

    with pytest.raises(Conflict, match="does not show the volume more"):
        await move(naru)

    assert (len(naru.engine.instances("shop")), plant.instances()) == (2, [])


@pytest.mark.parametrize("side", ["source", "target"])
async def test_a_side_that_does_not_answer_is_named_before_anything_is_touched(naru, side):
    plant = await stocked(naru)
    (plant if side == "target" else naru.engine).fail("volumes", Unavailable("it does not answer"))

    with pytest.raises(Unavailable, match="it does not answer"):
        await move(naru)

    assert (len(naru.engine.instances("shop")), plant.instances()) == (2, [])


async def test_a_copy_to_where_the_volumes_are_is_refused_before_anything_is_touched(naru):
    plant = await stocked(naru)
    plant.disk = naru.engine.disk

    with pytest.raises(Conflict, match="fake and plant show the same volume data of shop"):
        await move(naru)

    assert (len(naru.engine.instances("shop")), naru.engine.disk.holds["shop", "data"]) == (2, KEPT)


async def test_a_copy_to_where_the_volumes_are_is_not_begun_either_when_that_shows_later(naru, monkeypatch):
    plant = await stocked(naru)
    shown = iter([[], naru.engine.disk.stored("shop")])
    monkeypatch.setattr(plant.disk, "stored", lambda app: next(shown))

    moved = await move(naru)

    assert (moved.state, [step.name for step in moved.steps]) == (RolloutState.FAILED, [StepName.PLACE])
    await naru.settled()
    assert naru.engine.disk.holds["shop", "data"] == KEPT


async def test_a_release_that_does_not_get_ready_there_goes_back_to_its_own_data(naru):
    plant = await stocked(naru)
    plant.behave(NeverReady(after=0.0))

    moved = await move(naru)

    assert moved.state is RolloutState.FAILED
    await naru.settled()
    assert (len(naru.engine.instances("shop")), plant.disk.holds) == (2, {})
    assert naru.engine.disk.holds["shop", "data"] == KEPT


async def test_a_copy_is_cancelled_even_where_nothing_moves_any_more_and_the_app_is_back(naru):
    plant = await stocked(naru)
    with plant.hold("unpack"):
        moving = await naru.apps.move("shop", to="plant", copy_volumes=True, subject=ME)
        await naru.until_step(moving, StepName.COPY)
        await naru.apps.cancel(moving.id, subject=ME)
        assert (await naru.end(moving)).state is RolloutState.CANCELLED
    await naru.settled()
    assert (len(naru.engine.instances("shop")), plant.instances()) == (2, [])


async def test_a_target_that_takes_no_copies_is_refused_at_once(naru):
    plant = await stocked(naru)
    plant.features = tuple(one for one in Feature if one is not Feature.VOLUME_COPIES)
    await naru.platform.targets()

    with pytest.raises(Conflict, match="plant takes no copies of volumes"):
        await naru.apps.move("shop", to="plant", copy_volumes=True, subject=ME)


async def test_a_move_with_volumes_goes_on_wherever_the_server_was_killed(naru):
    plant = await stocked(naru)
    targets = ["plant", "fake"]

    async def prepare(site: Site) -> None:
        await site.platform.pipeline.worlds.opened()

    async def ask(site: Site) -> Rollout:
        targets.reverse()
        return await site.apps.move("shop", to=targets[1], copy_volumes=True, subject=ME)

    ended = await kill_everywhere(naru, prepare, ask)

    assert len(ended) > 15
    for engine in (naru.engine, plant):
        assert engine.disk.holds["shop", "data"] == KEPT


async def test_a_drained_target_is_left_with_volumes_when_that_is_asked_for_and_the_rest_say_why_they_stay(naru):
    plant = await stocked(naru)
    await naru.platform.fleet.cordon("plant", subject=ME)
    await naru.deploy("till", replicas=1, volumes=(Volume("data", "/data"),))
    await naru.platform.fleet.uncordon("plant", subject=ME)
    naru.engine.disk.holds.pop(("till", "data"))

    unasked = await naru.platform.fleet.drain("fake", subject=ME)
    asked = await naru.platform.fleet.drain("fake", copy_volumes=True, subject=ME)

    assert [(one.app, "its volumes are on fake" in one.reason) for one in unasked.staying] == [
        ("shop", True),
        ("till", True),
    ]
    assert [(one.app, "does not show the volume data" in one.reason) for one in asked.staying] == [("till", True)]
    (moving,) = asked.moves
    assert (await naru.end(moving)).state is RolloutState.SUCCEEDED
    assert plant.disk.holds["shop", "data"] == KEPT
