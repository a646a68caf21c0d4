"""What goes wrong brings back what was live, by itself, and says what an operator needs to know."""

import asyncio
from dataclasses import replace

import pytest
from tests.contract.fake_engine import Exits, NeverReady, Ready, Waits
from tests.service.control.site import ME, image, workload

from naru.control import reconcile, roll, work
from naru.domain.errors import Conflict, Unavailable
from naru.domain.image import Platform
from naru.domain.proof import ProofPolicy
from naru.domain.release import ReleaseState
from naru.domain.rollout import RolloutState, StepName, StepState
from naru.domain.workload import Address, BlueGreen, Canary, CanaryStep, Health, Recreate, Resources, Rolling
from naru.gate.decide import Policy

BAD = image("shop:2").reference
STRATEGIES = [Rolling(), Rolling(0, 1), Recreate(), BlueGreen(), Canary((CanaryStep(50, 0.0),))]


def kind(strategy: object) -> str:
    return type(strategy).__name__.lower()


async def came_back(naru, rollout) -> None:
    """Check that the first release is live again and alone."""
    assert rollout.state is RolloutState.FAILED
    await naru.settled()
    assert (await naru.store.apps.get("shop")).live == 1
    assert {naru.engine.releases[i.id].image for i in naru.engine.instances()} == {image("shop:1")}


async def update_to(naru, bad, **more):
    return await naru.end(await naru.apps.update("shop", image=bad, subject=ME))


# --- images -----------------------------------------------------------------------------------------------------


async def test_a_refused_image_never_reaches_the_engine(naru):
    await naru.stop()
    naru.policy = Policy(("registry.example.org",))
    await naru.start()

    rollout = await naru.deploy()

    assert rollout.state is RolloutState.FAILED
    assert "docker.io is not among the allowed registries" in rollout.reason
    assert (await naru.apps.release("shop", 1)).state is ReleaseState.REFUSED
    assert not {"apply", "fetch"} & {call[0] for call in naru.engine.calls}
    await naru.settled()


async def test_an_unknown_image_is_named(naru):
    rollout = await naru.deploy(image="nope:1")

    assert rollout.state is RolloutState.FAILED
    assert "the registry has no nope:1" in rollout.reason
    assert not {"apply", "fetch"} & {call[0] for call in naru.engine.calls}
    await naru.settled()


async def test_an_image_for_another_machine_is_not_started(naru):
    naru.engine.platform = Platform("linux", "arm64")

    rollout = await naru.deploy()

    assert "the image is for linux/amd64, the target is linux/arm64" in rollout.reason
    assert "apply" not in {call[0] for call in naru.engine.calls}
    await naru.settled()


# --- instances --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES, ids=kind)
@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (Exits(code=3), "exited with code 3"),
        (Exits(oom=True), "was killed for using more than its memory limit of 64 MiB (OOM)"),
        (
            NeverReady("GET /healthz on 10.0.0.1:8080 answered 503", after=0.0),
            "GET /healthz on 10.0.0.1:8080 answered 503",
        ),
    ],
    ids=["exits", "oom", "never-ready"],
)
async def test_a_release_that_cannot_work_is_taken_back(naru, strategy, behaviour, words):
    await naru.deploy(strategy=strategy, resources=Resources(memory=64 << 20))
    naru.engine.behave(behaviour, image=BAD)
    naru.prober.statuses.clear()

    ticking = asyncio.create_task(_tick(naru))
    rollout = await update_to(naru, "shop:2")
    ticking.cancel()

    assert words in rollout.reason
    assert "last log lines" in rollout.reason
    failed = next(step for step in rollout.steps if step.name is StepName.ROLL)
    assert failed.state is StepState.FAILED
    assert (await naru.apps.release("shop", 2)).state is ReleaseState.FAILED
    await came_back(naru, rollout)
    if not isinstance(strategy, Recreate):
        assert set(naru.prober.statuses) <= {200}
        assert rollout.proof.failed == 0


async def _tick(naru):
    """Let restarts happen, which wait for a second of the clock."""
    while True:
        naru.clock.advance(0.5)
        naru.engine.tick()
        await asyncio.sleep(0.01)


async def test_the_reason_holds_the_last_words_of_the_instance(naru):
    naru.engine.behave(Waits())
    rollout = await naru.apps.deploy(workload(replicas=1), subject=ME)
    await naru.until(lambda: bool(naru.engine.instances()))
    (one,) = naru.engine.instances()
    for n in range(20):
        naru.engine.write(one.id, f"line {n}")
    naru.engine.sicken(one.id)

    ended = await naru.end(rollout)

    assert "line 19" in ended.reason
    assert "line 7\n" not in ended.reason
    await naru.settled()


async def test_a_first_deployment_that_fails_leaves_nothing(naru):
    naru.engine.behave(NeverReady(after=0.0))

    rollout = await naru.deploy()

    assert rollout.state is RolloutState.FAILED
    assert naru.engine.instances() == []
    await naru.settled()


async def test_an_instance_that_never_says_anything_is_given_up(naru, monkeypatch):
    await naru.deploy(health=Health(start_period=0, interval=0.1, timeout=0.1, retries=1))
    monkeypatch.setattr(roll, "MARGIN_SECONDS", -0.8)  # with the health check's time and the grace: half a second
    monkeypatch.setattr(roll, "LOOK_AGAIN_SECONDS", 0.05)
    naru.engine.behave(Waits(), image=BAD)

    await came_back(naru, await update_to(naru, "shop:2"))


async def test_a_live_instance_that_was_out_of_memory_long_ago_condemns_no_change(naru):
    await naru.deploy(replicas=2)
    one = naru.engine.instances()[0].id
    naru.engine.exit(one, oom=True)
    naru.clock.advance(2)
    naru.engine.tick()
    await naru.until(lambda: all(i.ready for i in naru.engine.instances()))

    scaled = await naru.end(await naru.apps.scale("shop", replicas=3, subject=ME))

    assert scaled.state is RolloutState.SUCCEEDED, scaled.reason
    await naru.settled()


async def test_a_live_instance_that_someone_stops_during_the_way_back_is_made_again(naru):
    await naru.deploy(replicas=2)
    naru.engine.behave(Waits(), image=BAD)
    rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
    await naru.until(lambda: len(naru.engine.instances()) == 3)
    victim = naru.engine.instances()[0].id
    naru.engine._become(victim, state=naru.engine._instance(victim).state.EXITED, address="", drift=("it was stopped",))

    await naru.apps.cancel(rollout.id, subject=ME)

    assert (await naru.end(rollout)).state is RolloutState.CANCELLED
    await naru.settled()


# --- the endpoint -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES, ids=kind)
async def test_an_endpoint_that_does_not_prove_itself_brings_the_old_release_back(naru, strategy):
    await naru.deploy(strategy=strategy)
    naru.prober.ill[BAD] = 500

    rollout = await update_to(naru, "shop:2")

    assert "answered 500" in rollout.reason
    assert rollout.proof.failed
    await came_back(naru, rollout)


async def test_a_first_deployment_that_does_not_prove_itself_is_removed(naru):
    naru.prober.ill[image("shop:1").reference] = 404

    rollout = await naru.deploy()

    assert "GET / answered 404" in rollout.reason
    assert "naru request shop /" in rollout.reason
    await naru.settled()


async def test_an_endpoint_that_dies_during_the_roll_stops_it(naru):
    await naru.deploy()
    naru.engine.behave(Waits(), image=BAD)
    rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
    await naru.until_step(rollout, StepName.ROLL)
    answered = len(naru.prober.statuses)
    await naru.until(lambda: len(naru.prober.statuses) > answered)

    naru.prober.ill[image("shop:1").reference] = 502
    ended = await naru.end(rollout)

    assert "the endpoint stopped answering during the rollout" in ended.reason
    assert ended.state is RolloutState.FAILED
    await naru.settled()


async def test_an_endpoint_that_was_dead_before_may_be_mended_by_an_update(naru):
    await naru.deploy()
    naru.prober.ill[image("shop:1").reference] = 500

    rollout = await update_to(naru, "shop:2")

    assert rollout.state is RolloutState.SUCCEEDED, rollout.reason
    await naru.settled()


async def test_a_single_instance_may_be_replaced_in_place(naru):
    await naru.deploy(replicas=1, strategy=Rolling(0, 1))
    naru.engine.behave(Ready(after=3600), image=BAD)
    rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
    await naru.until_step(rollout, StepName.ROLL)
    served = len(naru.prober.statuses)
    await naru.until(lambda: len(naru.prober.statuses) > served + 20)

    naru.engine.make_ready(naru.engine.instances()[0].id)

    ended = await naru.end(rollout)
    assert ended.state is RolloutState.SUCCEEDED, ended.reason
    assert ended.proof.failed  # nobody answered meanwhile, and the record says so


async def test_a_port_that_another_process_took_stops_a_move(naru):
    await naru.deploy()
    naru.door.taken[20500] = "nginx (pid 7)"

    rollout = await naru.deploy(image="shop:2", address=Address(port=20500))

    assert "port 20500 is taken by nginx (pid 7)" in rollout.reason
    await came_back(naru, rollout)
    assert (await naru.store.apps.get("shop")).address.port == 20000


# --- cancelling -------------------------------------------------------------------------------------------------


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
        await naru.until_step(rollout, StepName.REMOVE)
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


# --- the engine, the door, the store ----------------------------------------------------------------------------


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


# --- several workers --------------------------------------------------------------------------------------------


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


# --- reconciling ------------------------------------------------------------------------------------------------


async def notes(naru) -> list[str]:
    return [e.text for e in await naru.apps.events("shop") if e.kind == "repaired"]


async def test_an_instance_that_disappears_is_replaced_and_that_is_told(naru):
    await naru.deploy()

    naru.engine.vanish(naru.engine.instances()[0].id)

    await naru.settled()
    await naru.until(lambda: len(naru.engine.instances()) == 3)
    assert await notes(naru) == ["1 of 3 instances are missing"]


async def test_all_instances_that_disappear_are_replaced(naru):
    await naru.deploy()

    for one in naru.engine.instances():
        naru.engine.vanish(one.id)

    await naru.settled()


async def test_what_someone_changed_is_made_anew_and_that_is_told(naru):
    await naru.deploy()
    changed = naru.engine.instances()[0].id

    naru.engine.drift(changed, "its memory limit is 1 GiB, not unlimited")
    await naru.until(lambda: changed not in {i.id for i in naru.engine.instances()})

    await naru.settled()
    assert await notes(naru) == [f"{changed} was changed by someone else: its memory limit is 1 GiB, not unlimited"]


async def test_instances_of_other_releases_are_drained_and_stopped(naru):
    await naru.deploy()
    await naru.end(await naru.apps.update("shop", image="shop:2", subject=ME))
    first = await naru.apps.release("shop", 1)

    await naru.engine.apply(first, 2, secrets={})

    await naru.settled()
    assert await notes(naru) == ["2 instances of another revision were left over"]


async def test_what_is_left_of_a_removed_app_is_removed(naru):
    await naru.deploy()
    first = await naru.apps.release("shop", 1)
    await naru.end(await naru.apps.remove("shop", subject=ME))

    await naru.engine.apply(first, 2, secrets={})

    await naru.settled()


async def test_what_another_naru_runs_is_left_alone(naru):
    await naru.deploy()
    first = await naru.apps.release("shop", 1)
    theirs = replace(first, app="theirs", workload=replace(first.workload, app="theirs"))
    await naru.engine.apply(theirs, 2, secrets={})

    await naru.platform.reconciler.reconcile()

    assert len(naru.engine.instances("theirs")) == 2


async def test_a_door_that_forgot_everything_is_told_again(naru):
    await naru.deploy()
    naru.door._routes.clear()

    await naru.platform.reconciler.reconcile()

    await naru.settled()


async def test_sick_instances_are_replaced_at_a_bounded_pace(naru, monkeypatch):
    await naru.deploy()
    monkeypatch.setattr(reconcile, "HEAL_SECONDS", 3600.0)
    first = naru.engine.instances()[0].id
    naru.engine.sicken(first)
    await naru.until(lambda: first not in {i.id for i in naru.engine.instances()})
    await naru.settled()

    second = naru.engine.instances()[0].id
    naru.engine.sicken(second)
    await naru.until(lambda: len(naru.door._routes["shop"].upstreams) == 2)
    await naru.platform.reconciler.reconcile()
    assert second in {i.id for i in naru.engine.instances()}

    monkeypatch.setattr(reconcile, "HEAL_SECONDS", 0.0)
    await naru.platform.reconciler.reconcile()
    await naru.settled()
    assert second not in {i.id for i in naru.engine.instances()}


async def test_a_repair_leaves_an_app_alone_while_a_rollout_has_its_turn(naru):
    await naru.deploy()
    naru.engine.behave(Waits(), image=BAD)
    rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
    await naru.until(lambda: len(naru.engine.instances()) == 4)

    assert await naru.platform.reconciler.reconcile() == 0

    assert len(naru.engine.instances()) == 4
    await naru.apps.cancel(rollout.id, subject=ME)
    await naru.end(rollout)
    await naru.settled()


async def test_an_app_that_drains_slowly_keeps_no_other_waiting(naru):
    await naru.deploy("slow", replicas=1, stop_grace=3600.0)
    await naru.deploy("quick", replicas=1)
    slow, quick = naru.engine.instances("slow")[0], naru.engine.instances("quick")[0]

    with naru.door.under_way(slow.address):
        naru.engine.drift(slow.id, "its name")
        await naru.until(lambda: not naru.door._routes["slow"].upstreams)
        naru.engine.vanish(quick.id)
        await naru.settled("quick")
    await naru.settled("slow")
