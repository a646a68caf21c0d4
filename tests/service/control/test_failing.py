"""What goes wrong brings back what was live, by itself, and says what an operator needs to know."""

import asyncio

import pytest
from tests.contract.fake_behaviour import Exits, NeverReady, Ready, Waits
from tests.service.control.faults import BAD, STRATEGIES, came_back, kind, update_to
from tests.service.control.site import ME, image, workload

from naru.control import roll
from naru.domain.image import Platform
from naru.domain.release import ReleaseState
from naru.domain.rollout import RolloutState, StepName, StepState
from naru.domain.workload import Address, Health, Recreate, Resources, Rolling
from naru.gate.decide import Policy

# --- images ----------------------------------------------------------------------------------------------------------


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


# --- instances -------------------------------------------------------------------------------------------------------


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


# --- the endpoint ----------------------------------------------------------------------------------------------------


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
