"""What deploying, proving and repairing mean for what is no service."""

from dataclasses import replace

import pytest
from tests.contract.fake_behaviour import Exits, Ready
from tests.service.control.site import ME, PROOF, Site, workload

from naru.domain.errors import Conflict
from naru.domain.instance import InstanceState
from naru.domain.kind import WorkloadKind
from naru.domain.rollout import Rollout, RolloutState, StepName
from naru.domain.workload import Restart

pytestmark = pytest.mark.asyncio

WORKER = {"kind": WorkloadKind.WORKER, "port": 0}
BATCH = {"kind": WorkloadKind.BATCH, "port": 0}
NIGHTLY = {"kind": WorkloadKind.SCHEDULED, "port": 0, "schedule": "0 3 * * *"}


def outcome(rollout: Rollout, name: StepName = StepName.PROVE) -> str:
    return next(step.outcome for step in rollout.steps if step.name is name)


def states(naru: Site) -> list[InstanceState]:
    return [one.state for one in naru.engine.instances("shop")]


async def test_a_worker_is_proven_by_staying_up_and_has_no_endpoint(naru):
    rollout = await naru.deploy(**WORKER)

    assert rollout.state is RolloutState.SUCCEEDED
    assert outcome(rollout) == "3 stayed ready for 0.05 s"
    assert naru.prober.statuses == []
    status = await naru.apps.status("shop")
    assert (status.endpoint.url, status.desired, status.ready) == ("", 3, 3)
    with pytest.raises(Conflict, match="no endpoint"):
        await naru.apps.request("shop", PROOF.request, subject=ME)
    await naru.settled()


async def test_a_worker_that_does_not_stay_up_brings_back_the_one_before(naru):
    await naru.deploy(**WORKER)
    patient = replace(PROOF, steady=60.0)
    rollout = await naru.apps.deploy(workload(image="shop:2", **{**WORKER, "proof": patient}), subject=ME)
    await naru.until_step(rollout, StepName.PROVE)

    naru.engine.exit(naru.engine.instances("shop")[0].id, code=7)

    ended = await naru.end(rollout)
    assert ended.state is RolloutState.FAILED
    assert "exited with code 7" in ended.reason
    await naru.settled()
    assert (await naru.apps.status("shop")).app.live == 1


async def test_a_batch_is_proven_when_all_of_it_ended_well(naru):
    naru.engine.behave(Exits(0))

    rollout = await naru.deploy(**BATCH)

    assert rollout.state is RolloutState.SUCCEEDED
    assert outcome(rollout, StepName.ROLL) == "3 started"
    assert outcome(rollout) == "3 ended with exit code 0"
    assert states(naru) == [InstanceState.COMPLETED] * 3
    assert (await naru.apps.status("shop")).ready == 3


async def test_a_batch_goes_on_for_as_long_as_it_takes(naru):
    naru.engine.behave(Ready())
    rollout = await naru.apps.deploy(workload(replicas=2, **BATCH), subject=ME)
    await naru.until_step(rollout, StepName.PROVE)

    for one in naru.engine.instances("shop"):
        naru.engine.exit(one.id, code=0)

    assert (await naru.end(rollout)).state is RolloutState.SUCCEEDED


async def test_a_batch_that_fails_says_how_and_leaves_the_earlier_run_as_it_was(naru):
    naru.engine.behave(Exits(0))
    await naru.deploy(**BATCH)
    first = [one.id for one in naru.engine.instances("shop")]
    naru.engine.behave(Ready())
    rollout = await naru.apps.deploy(workload("shop", "shop:2", 1, restart=Restart.NEVER, **BATCH), subject=ME)
    await naru.until_step(rollout, StepName.PROVE)
    (failing,) = (one.id for one in naru.engine.instances("shop") if one.id not in first)
    naru.engine.write(failing, "no such table")

    naru.engine.exit(failing, code=9)

    ended = await naru.end(rollout)
    assert ended.state is RolloutState.FAILED
    assert "exited with code 9" in ended.reason
    assert "no such table" in ended.reason
    assert [one.id for one in naru.engine.instances("shop")] == first


async def test_a_batch_that_may_fail_a_few_times_is_given_up_after_the_third(naru):
    naru.engine.behave(Exits(4))
    rollout = await naru.apps.deploy(workload(replicas=1, **BATCH), subject=ME)

    async def another_end(count: int) -> None:
        await naru.until(lambda: any(one.exits == count for one in naru.engine.instances("shop")))

    for count in (1, 2):
        await another_end(count)
        naru.clock.advance(2.0)
        naru.engine.tick()

    ended = await naru.end(rollout)
    assert "exited with code 4, 3 times" in ended.reason


async def test_what_is_left_of_a_run_is_neither_repaired_nor_run_again(naru):
    naru.engine.behave(Exits(0))
    await naru.deploy(**BATCH)
    before = len(naru.engine.calls)
    naru.engine.vanish(naru.engine.instances("shop")[0].id)

    await naru.platform.pipeline.worlds["fake"].look_at_all()
    assert await naru.platform.reconciler.reconcile() == 0

    assert states(naru) == [InstanceState.COMPLETED] * 2
    assert "apply" not in {name for name, *_ in naru.engine.calls[before:]}


async def test_deploying_a_batch_again_runs_it_again(naru):
    naru.engine.behave(Exits(0))
    await naru.deploy(**BATCH)
    first = {one.id for one in naru.engine.instances("shop")}

    rollout = await naru.deploy(**BATCH)

    assert rollout.state is RolloutState.SUCCEEDED
    assert len(naru.engine.instances("shop")) == 3
    assert not first & {one.id for one in naru.engine.instances("shop")}


async def test_a_schedule_is_given_to_the_engine_and_its_runs_disturb_nobody(naru):
    naru.engine.behave(Exits(0))
    rollout = await naru.deploy(**NIGHTLY)
    assert outcome(rollout) == "0 3 * * * (UTC) is kept by fake"
    assert states(naru) == [InstanceState.SCHEDULED]

    naru.engine.strike("shop")
    await naru.platform.pipeline.worlds["fake"].look_at_all()

    assert await naru.platform.reconciler.reconcile() == 0
    status = await naru.apps.status("shop")
    assert (status.desired, status.ready) == (1, 1)
    assert states(naru) == [InstanceState.SCHEDULED] + [InstanceState.COMPLETED] * 3

    again = await naru.deploy(**{**NIGHTLY, "schedule": "0 4 * * *"})
    assert again.state is RolloutState.SUCCEEDED
    assert states(naru) == [InstanceState.SCHEDULED]


async def test_a_service_that_becomes_a_worker_gives_its_address_up_and_gets_one_again(naru):
    await naru.deploy()
    assert (await naru.apps.status("shop")).app.address.given

    await naru.deploy(**WORKER)
    await naru.settled()
    assert not (await naru.apps.status("shop")).app.address.given

    rolled = await naru.end(await naru.apps.roll_back("shop", subject=ME))
    assert rolled.state is RolloutState.SUCCEEDED
    await naru.settled()
    assert (await naru.apps.status("shop")).endpoint.url


async def test_what_is_private_is_ready_and_not_at_the_door(naru):
    rollout = await naru.deploy(project="mall", private=True)

    assert rollout.state is RolloutState.SUCCEEDED
    await naru.settled()
    assert naru.door._routes == {}


async def test_a_store_never_has_two_instances_in_one_place(naru):
    await naru.deploy(replicas=1, kind=WorkloadKind.STATEFUL)
    before = len(naru.engine.calls)

    await naru.end(await naru.apps.update("shop", image="shop:2", subject=ME))

    assert [call[2:] for call in naru.engine.calls[before:] if call[0] == "apply"] == [("1", "0"), ("2", "1")]
    await naru.settled()
