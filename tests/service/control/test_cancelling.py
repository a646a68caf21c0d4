"""A cancelled rollout goes back, unless it is done already."""

import asyncio

import pytest
from tests.contract.fake_behaviour import Waits
from tests.service.control.faults import BAD, STRATEGIES, kind
from tests.service.control.site import ME, workload

from naru.domain.errors import Conflict
from naru.domain.proof import ProofPolicy
from naru.domain.rollout import RolloutState, StepName


@pytest.mark.parametrize("strategy", STRATEGIES, ids=kind)
async def test_a_cancelled_roll_goes_back(naru, strategy):
    await naru.deploy(strategy=strategy)
    naru.engine.behave(Waits(), image=BAD)
    rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
    await naru.until_step(rollout, StepName.ROLL)
    await naru.until(
        lambda: any(i.revision != naru.engine.releases[i.id] and not i.ready for i in naru.engine.instances())
    )

    await naru.apps.cancel(rollout.id, subject=ME)
    ended = await naru.end(rollout)

    assert ended.state is RolloutState.CANCELLED
    assert ended.reason == "cancelled on request"
    await naru.settled()
    with pytest.raises(Conflict, match="has ended"):
        await naru.apps.cancel(rollout.id, subject=ME)


@pytest.mark.parametrize(("step", "call"), [(StepName.RESOLVE, "find"), (StepName.DISTRIBUTE, "fetch")])
async def test_a_rollout_that_is_cancelled_before_it_rolls_touches_nothing(naru, step, call):
    await naru.deploy()
    before = naru.engine.instances()
    with naru.engine.hold(call):
        rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
        await naru.until_step(rollout, step)
        await naru.apps.cancel(rollout.id, subject=ME)
        await asyncio.sleep(0.05)

    ended = await naru.end(rollout)

    assert ended.state is RolloutState.CANCELLED
    assert naru.engine.instances() == before
    assert StepName.ROLL not in {s.name for s in ended.steps}
    await naru.settled()


async def test_a_long_proof_can_be_cancelled(naru):
    await naru.deploy()
    rollout = await naru.apps.deploy(workload(image="shop:2", proof=ProofPolicy(count=10_000)), subject=ME)
    await naru.until_step(rollout, StepName.PROVE)

    await naru.apps.cancel(rollout.id, subject=ME)

    assert (await naru.end(rollout)).state is RolloutState.CANCELLED
    await naru.settled()


async def test_a_removal_that_is_done_cannot_be_cancelled_into_nothing(naru):
    await naru.deploy()
    with naru.engine.hold("remove"):
        rollout = await naru.apps.remove("shop", subject=ME)
        await naru.until(lambda: "remove" in {call[0] for call in naru.engine.calls})
        await naru.apps.cancel(rollout.id, subject=ME)
        await asyncio.sleep(0.05)

    ended = await naru.end(rollout)

    assert ended.state is RolloutState.SUCCEEDED
    await naru.settled()


async def test_a_cancel_that_survives_a_crash_still_ends_as_cancelled(naru):
    await naru.deploy()
    naru.engine.behave(Waits(), image=BAD)
    rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
    await naru.until(lambda: len(naru.engine.instances()) == 4)
    with naru.engine.hold("apply"):
        await naru.apps.cancel(rollout.id, subject=ME)
        await naru.until_step(rollout, StepName.ROLL_BACK)
        await naru.kill()
    await naru.start()

    assert (await naru.end(rollout)).state is RolloutState.CANCELLED
    await naru.settled()
