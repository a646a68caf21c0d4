"""The engine, the door, the disk or a worker goes away in the middle of a rollout, and may come back."""

import asyncio

import pytest
from tests.contract.fake_behaviour import Ready, Waits
from tests.service.control.faults import BAD, came_back
from tests.service.control.site import ME

from naru.control import roll, work
from naru.domain.errors import Unavailable
from naru.domain.rollout import RolloutState, StepName

# --- the engine, the door, the store ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "call"), [(StepName.RESOLVE, "find"), (StepName.DISTRIBUTE, "fetch")])
async def test_an_engine_that_goes_away_before_the_roll_ends_it_with_the_cause(naru, step, call):
    await naru.deploy()
    with naru.engine.hold(call):
        rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
        await naru.until_step(rollout, step)
        naru.engine.go_away()

    ended = await naru.end(rollout)

    assert ended.state is RolloutState.FAILED
    assert "fake does not answer" in ended.reason
    naru.engine.come_back()
    await came_back(naru, ended)


@pytest.mark.parametrize("call", ["apply", "observe"])
async def test_an_engine_that_comes_back_during_the_roll_is_waited_for(naru, monkeypatch, call):
    monkeypatch.setattr(roll, "RETRY_SECONDS", 0.02)
    await naru.deploy()
    with naru.engine.hold(call):
        rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
        await naru.until_step(rollout, StepName.ROLL)
        naru.engine.go_away()
    for _ in range(20):
        await asyncio.sleep(0.01)

    naru.engine.come_back()
    ended = await naru.end(rollout)

    assert ended.state is RolloutState.SUCCEEDED, ended.reason
    await naru.settled()


async def test_an_engine_that_fails_to_stop_the_old_instances_is_asked_again(naru, monkeypatch):
    monkeypatch.setattr(roll, "RETRY_SECONDS", 0.02)
    await naru.deploy(replicas=1)
    naru.engine.behave(Waits(), image=BAD)
    rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
    await naru.until(lambda: len(naru.engine.instances()) == 2)
    naru.engine.fail("apply", Unavailable("the engine is busy"), times=3)
    naru.engine.make_ready(naru.engine.instances()[1].id)

    ended = await naru.end(rollout)

    assert ended.state is RolloutState.SUCCEEDED, ended.reason
    await naru.settled()


async def test_an_engine_that_stays_away_fails_the_rollout_and_is_put_right_on_its_return(naru, monkeypatch):
    monkeypatch.setattr(roll, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(roll, "ENGINE_PATIENCE_SECONDS", 0.2)
    await naru.deploy()
    naru.engine.behave(Waits(), image=BAD)
    rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
    await naru.until(lambda: len(naru.engine.instances()) == 4)
    naru.engine.go_away()

    ended = await naru.end(rollout)

    assert "fake does not answer" in ended.reason
    assert "going back failed as well" in ended.reason
    naru.engine.come_back()
    await came_back(naru, ended)


async def test_a_door_that_is_away_is_waited_for(naru, monkeypatch):
    monkeypatch.setattr(roll, "RETRY_SECONDS", 0.02)
    await naru.deploy()
    naru.door.away = True
    rollout = await naru.apps.scale("shop", replicas=4, subject=ME)
    await naru.until(lambda: len(naru.engine.instances()) == 4)
    await asyncio.sleep(0.05)

    naru.door.away = False

    assert (await naru.end(rollout)).state is RolloutState.SUCCEEDED
    await naru.settled()


async def test_a_full_disk_stops_nothing_for_good(naru, monkeypatch):
    monkeypatch.setattr(work, "AGAIN_SECONDS", 0.02)
    await naru.deploy()
    naru.engine.behave(Waits(), image=BAD)
    rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
    await naru.until(lambda: len(naru.engine.instances()) == 4)

    naru.fuse.full = True
    naru.engine.behave(Ready(), image=BAD)
    for one in naru.engine.instances():
        naru.engine.make_ready(one.id)
    await naru.until(lambda: all(naru.engine.releases[i.id].number == 2 for i in naru.engine.instances()))
    for _ in range(20):
        await asyncio.sleep(0.01)
    assert (await naru.store.rollouts.get(rollout.id)).state is RolloutState.RUNNING
    naru.fuse.full = False
    naru.clock.advance(60)  # nobody could give the lease back

    ended = await naru.end(rollout)
    assert ended.state is RolloutState.SUCCEEDED, ended.reason
    await naru.settled()


async def test_a_mistake_of_our_own_ends_the_rollout_and_brings_the_old_release_back(naru, monkeypatch):
    await naru.deploy()

    async def broken(*_, **__):
        monkeypatch.undo()
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(roll.Roll, "_route", broken)
    rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
    ended = await naru.end(rollout)

    assert "Naru itself failed: ZeroDivisionError('a mistake')" in ended.reason
    await came_back(naru, ended)


# --- several workers -------------------------------------------------------------------------------------------------


async def test_a_worker_that_was_paused_past_its_lease_stops_and_its_successor_finishes(naru):
    await naru.deploy()
    naru.engine.behave(Waits(), image=BAD)
    rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
    await naru.until(lambda: len(naru.engine.instances()) == 4)

    naru.clock.advance(60)
    successor = naru.build("another")
    await successor.prepare()
    keeping = asyncio.create_task(successor.keep())
    try:
        await naru.until(lambda: any(t.get_name() == "work" for t in asyncio.all_tasks()))
        await asyncio.sleep(1.2)
        naru.engine.behave(Ready(), image=BAD)
        for one in naru.engine.instances():
            naru.engine.make_ready(one.id)
        ended = await naru.end(rollout)
        assert ended.state is RolloutState.SUCCEEDED, ended.reason
        await naru.settled()
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


async def test_a_server_that_is_stopped_gives_its_work_back_at_once(naru):
    await naru.deploy()
    naru.engine.behave(Waits(), image=BAD)
    rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
    await naru.until(lambda: len(naru.engine.instances()) == 4)

    await naru.stop()
    await naru.start("another")
    naru.engine.behave(Ready(), image=BAD)
    for one in naru.engine.instances():
        naru.engine.make_ready(one.id)

    assert (await naru.end(rollout)).state is RolloutState.SUCCEEDED
    await naru.settled()
