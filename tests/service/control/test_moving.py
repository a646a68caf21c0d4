"""An app goes from one target to another while it is asked all the time."""

import asyncio

import pytest
from tests.contract.fake_behaviour import Exits, NeverReady
from tests.service.control.site import ME, PATIENCE, Site
from tests.service.control.test_crashes import kill_everywhere

from naru.domain.errors import Conflict, NotFound
from naru.domain.kind import WorkloadKind
from naru.domain.proof import ProofPolicy
from naru.domain.rollout import Kind, Rollout, RolloutState, StepName
from naru.domain.workload import BlueGreen, Canary, CanaryStep, Recreate, Rolling, SecretFile, Volume, Workload

AT_ONCE = Canary((CanaryStep(10, 0.0), CanaryStep(50, 0.0)))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("naru.control.rolling.SHIFT", AT_ONCE)


async def move(naru: Site, to: str = "", app: str = "shop") -> Rollout:
    return await naru.end(await naru.apps.move(app, to=to, subject=ME))


@pytest.mark.parametrize("strategy", [Rolling(), BlueGreen(), AT_ONCE], ids=lambda one: one.kind)
async def test_a_moved_app_answers_all_the_time_and_leaves_nothing_behind(naru, strategy):
    plant = await naru.target("plant")
    await naru.deploy(strategy=strategy)
    naru.prober.statuses.clear()
    shares = len(naru.door.applied)

    moved = await move(naru, "plant")

    assert (moved.state, moved.kind, moved.source, moved.target) == (RolloutState.SUCCEEDED, Kind.MOVE, "fake", "plant")
    assert [step.name for step in moved.steps] == [
        StepName.PLACE,
        StepName.DISTRIBUTE,
        StepName.ROLL,
        StepName.PROVE,
        StepName.WATCH,
    ]
    assert set(naru.prober.statuses) == {200}
    assert moved.proof.failed == 0
    assert (naru.engine.instances(), len(plant.instances("shop"))) == ([], 3)
    assert any(len({u.weight for u in route.upstreams}) > 1 for route in naru.door.applied[shares:])
    await naru.settled()
    status = await naru.apps.status("shop")
    assert (status.app.target, status.app.live, status.ready) == ("plant", 1, 3)


async def test_an_app_that_cannot_run_twice_stops_before_it_starts_elsewhere(naru):
    plant = await naru.target("plant")
    await naru.deploy(strategy=Recreate())
    most = 0

    async def count() -> None:
        nonlocal most
        while True:
            here, there = len(naru.engine.instances("shop")), len(plant.instances("shop"))
            most = max(most, min(here, there))
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    assert (await move(naru, "plant")).state is RolloutState.SUCCEEDED
    counting.cancel()
    assert most == 0
    await naru.settled()


async def test_without_a_name_the_best_other_target_is_chosen(naru):
    await naru.target("plant")
    await naru.target("store")
    await naru.platform.fleet.cordon("plant", subject=ME)
    await naru.deploy()
    assert (await move(naru)).target == "store"
    await naru.settled()


async def test_a_move_that_cannot_get_ready_leaves_everything_as_it_was(naru):
    plant = await naru.target("plant")
    await naru.deploy()
    before = [one.id for one in naru.engine.instances("shop")]
    plant.behave(NeverReady(after=0.0))

    failed = await move(naru, "plant")

    assert failed.state is RolloutState.FAILED
    assert "did not get ready" in failed.reason
    assert [one.id for one in naru.engine.instances("shop")] == before
    assert plant.instances() == []
    await naru.settled()
    assert (await naru.apps.status("shop")).app.target == "fake"


async def test_a_move_that_does_not_prove_itself_brings_everything_back(naru):
    plant = await naru.target("plant")
    await naru.deploy()
    naru.prober.ill_at = {"plant": 500}
    failed = await move(naru, "plant")
    assert failed.state is RolloutState.FAILED
    assert plant.instances() == []
    await naru.settled()


async def test_a_cancelled_move_brings_everything_back(naru):
    plant = await naru.target("plant")
    await naru.deploy()
    with plant.hold("apply"):
        moving = await naru.apps.move("shop", to="plant", subject=ME)
        await naru.until_step(moving, StepName.ROLL)
        await naru.apps.cancel(moving.id, subject=ME)
    assert (await naru.end(moving)).state is RolloutState.CANCELLED
    await naru.settled()
    assert plant.instances() == []


@pytest.mark.parametrize("strategy", [Rolling(), Recreate()], ids=lambda one: one.kind)
async def test_a_move_goes_on_wherever_the_server_was_killed(naru, strategy):
    await naru.target("plant")
    await naru.deploy(replicas=2, strategy=strategy)
    targets = ["plant", "fake"]

    async def prepare(site: Site) -> None:
        await site.platform.pipeline.worlds.opened()

    async def ask(site: Site) -> Rollout:
        targets.reverse()
        return await site.apps.move("shop", to=targets[1], subject=ME)

    assert len(await kill_everywhere(naru, prepare, ask)) > 15


async def test_a_target_that_died_is_left_and_tidied_up_when_it_is_back(naru):
    plant = await naru.target("plant")
    await naru.deploy()
    naru.engine.go_away()
    await naru.until(lambda: naru.platform.pipeline.worlds["fake"].away)

    moved = await move(naru, "plant")

    assert moved.state is RolloutState.SUCCEEDED
    assert "what is left there goes when it does" in moved.steps[-1].outcome
    assert len(plant.instances("shop")) == 3
    naru.engine.come_back()
    await naru.settled()
    async with asyncio.timeout(PATIENCE):
        while "left over" not in (await naru.apps.latest_events("shop"))[0].text:  # noqa: ASYNC110 - the journal tells nobody
            await asyncio.sleep(0.005)


async def test_a_new_release_of_an_app_goes_over_when_its_target_is_away(naru):
    plant = await naru.target("plant")
    await naru.deploy()
    naru.engine.go_away()
    await naru.until(lambda: naru.platform.pipeline.worlds["fake"].away)
    deployed = await naru.deploy(image="shop:2")
    assert (deployed.state, deployed.target, deployed.source) == (RolloutState.SUCCEEDED, "plant", "fake")
    assert len(plant.instances("shop")) == 3
    naru.engine.come_back()
    await naru.settled()


async def test_a_new_release_that_must_run_elsewhere_goes_over_without_a_failed_request(naru):
    plant = await naru.target("plant")
    await naru.deploy()
    naru.engine.features = ()
    await naru.platform.targets()
    await naru.store.secrets.put("tls", b"key", "kim", naru.clock())
    naru.prober.statuses.clear()
    deployed = await naru.deploy(image="shop:2", secrets=(SecretFile("tls", "/tls"),))
    assert (deployed.state, deployed.target) == (RolloutState.SUCCEEDED, "plant")
    assert set(naru.prober.statuses) == {200}
    assert len(plant.instances("shop")) == 3
    await naru.settled()


@pytest.mark.parametrize(
    ("to", "kind", "match"),
    [
        ("fake", Conflict, "runs on fake already"),
        ("nowhere", NotFound, "no target nowhere"),
        ("plant", Conflict, "plant: it is cordoned"),
        ("", Conflict, "plant: it is cordoned"),
    ],
)
async def test_a_move_that_cannot_be_is_refused_at_once(naru, to, kind, match):
    await naru.target("plant")
    await naru.deploy()
    await naru.platform.fleet.cordon("plant", subject=ME)
    with pytest.raises(kind, match=match):
        await naru.apps.move("shop", to=to, subject=ME)


async def test_what_keeps_data_does_not_move_unasked_and_says_how_to_ask(naru):
    await naru.target("plant")
    await naru.deploy(volumes=(Volume("data", "/data"),))
    with pytest.raises(Conflict, match=r"its volumes are on fake.*--copy-volumes"):
        await naru.apps.move("shop", to="plant", subject=ME)


async def test_a_drained_target_is_empty_but_for_what_cannot_go(naru):
    plant, store = await naru.target("plant"), await naru.target("store")
    for number in range(4):
        await naru.deploy(f"shop-{number}", replicas=1)
    await naru.platform.fleet.cordon("plant", subject=ME)
    await naru.platform.fleet.cordon("store", subject=ME)
    await naru.deploy("data", replicas=1, volumes=(Volume("data", "/data"),))
    for name in ("plant", "store"):
        await naru.platform.fleet.uncordon(name, subject=ME)
    here = [app for app in ("shop-0", "shop-1", "shop-2", "shop-3") if naru.engine.instances(app)]

    evacuation = await naru.platform.fleet.drain("fake", subject=ME)

    assert [rollout.app for rollout in evacuation.moves] == here
    assert [(one.app, "its volumes are on fake" in one.reason) for one in evacuation.staying] == [("data", True)]
    for rollout in evacuation.moves:
        assert (await naru.end(rollout)).state is RolloutState.SUCCEEDED
    assert {one.app for one in naru.engine.instances()} == {"data"}
    assert plant.instances()
    assert store.instances()


async def test_the_apps_of_a_project_leave_a_drained_target_together(naru):
    plant, store = await naru.target("plant"), await naru.target("store")
    for name in ("web", "api", "cache"):
        await naru.deploy(name, replicas=1, project="shop")
    home = (await naru.apps.status("web")).app.target

    evacuation = await naru.platform.fleet.drain(home, subject=ME)

    assert evacuation.staying == ()
    for rollout in evacuation.moves:
        assert (await naru.end(rollout)).state is RolloutState.SUCCEEDED
    assert len({rollout.target for rollout in evacuation.moves}) == 1
    assert sorted(len(engine.instances()) for engine in (naru.engine, plant, store)) == [0, 0, 3]


async def test_a_worker_moves_without_a_front_door_and_a_batch_does_not(naru):
    plant = await naru.target("plant")
    worker = Workload("crank", "shop:1", 0, 2, kind=WorkloadKind.WORKER, proof=ProofPolicy(steady=0.05))
    await naru.end(await naru.apps.deploy(worker, subject=ME))
    moved = await move(naru, "plant", app="crank")
    assert moved.state is RolloutState.SUCCEEDED, moved.reason
    assert (naru.engine.instances(), len(plant.instances("crank")), naru.door._routes) == ([], 2, {})

    naru.engine.behave(Exits(code=0), image="docker.io/library/shop:2")
    plant.behave(Exits(code=0), image="docker.io/library/shop:2")
    batch = Workload("count", "shop:2", 0, 1, kind=WorkloadKind.BATCH)
    await naru.end(await naru.apps.deploy(batch, subject=ME))
    with pytest.raises(Conflict, match="count runs once"):
        await naru.apps.move("count", subject=ME)
