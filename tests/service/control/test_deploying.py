"""The main job and its changes, from the request to the end."""

import asyncio

import pytest
from tests.contract.fake_behaviour import Waits
from tests.service.control.site import ME, image, workload

from naru.domain.app import AppState
from naru.domain.errors import Conflict, Invalid, NotFound, Stale
from naru.domain.release import ReleaseState
from naru.domain.rollout import RolloutState, StepName, StepState
from naru.domain.verdict import Passed
from naru.domain.workload import (
    Address,
    BlueGreen,
    Canary,
    CanaryStep,
    Recreate,
    Rolling,
    SecretFile,
    Volume,
)

DEPLOYMENT = [
    StepName.RESOLVE,
    StepName.GATE,
    StepName.PLACE,
    StepName.DISTRIBUTE,
    StepName.ROLL,
    StepName.PROVE,
    StepName.WATCH,
]
STRATEGIES = [Rolling(), Rolling(0, 1), Recreate(), BlueGreen(), Canary((CanaryStep(50, 0.0),))]


def kind(strategy: object) -> str:
    return type(strategy).__name__.lower()


async def test_a_deployment_ends_live_with_every_step_stored(naru):
    rollout = await naru.deploy()

    assert rollout.state is RolloutState.SUCCEEDED, rollout.reason
    assert [step.name for step in rollout.steps] == DEPLOYMENT
    assert {step.state for step in rollout.steps} == {StepState.PASSED}
    assert all(step.ended_at and step.outcome for step in rollout.steps)
    assert rollout.proof.sent == 3
    assert rollout.proof.failed == 0
    await naru.settled()


async def test_the_release_keeps_workload_digest_author_and_verdict(naru):
    await naru.deploy()

    release = await naru.apps.release("shop", 1)

    assert release.image == image("shop:1")
    assert release.workload.replicas == 3
    assert release.created_by == str(ME)
    assert isinstance(release.verdict, Passed)
    assert release.state is ReleaseState.LIVE


@pytest.mark.parametrize("strategy", STRATEGIES, ids=kind)
async def test_an_update_replaces_everything_and_fails_no_request(naru, strategy):
    await naru.deploy(strategy=strategy)

    rollout = await naru.end(await naru.apps.update("shop", image="shop:2", subject=ME))

    assert rollout.state is RolloutState.SUCCEEDED, rollout.reason
    if not isinstance(strategy, Recreate):
        assert rollout.proof.failed == 0
    await naru.settled()
    assert {naru.engine.releases[i.id].image for i in naru.engine.instances()} == {image("shop:2")}
    assert (await naru.apps.release("shop", 1)).state is ReleaseState.SUPERSEDED


async def test_a_canary_shifts_the_traffic_by_its_steps(naru):
    canary = Canary((CanaryStep(10, 0.0), CanaryStep(40, 0.0)))
    await naru.deploy(replicas=2, strategy=canary)
    old = {i.address for i in naru.engine.instances()}
    naru.door.applied.clear()

    await naru.end(await naru.apps.update("shop", image="shop:2", subject=ME))

    shares = []
    for route in naru.door.applied:
        total = sum(u.weight for u in route.upstreams)
        shares.append(round(sum(u.weight for u in route.upstreams if u.address not in old) / total, 2))
    assert list(dict.fromkeys(shares)) == [0.0, 0.1, 0.4, 1.0]


async def test_a_canary_goes_on_in_its_phase_after_a_restart(naru):
    canary = Canary((CanaryStep(10, 0.0), CanaryStep(50, 3600.0)))
    await naru.deploy(replicas=2, strategy=canary)
    rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
    await naru.until(lambda: _share_of_new(naru) == 0.5)

    await naru.kill()
    naru.door.applied.clear()
    await naru.start()

    again = await naru.until_step(rollout, StepName.ROLL)
    assert again.phase == 1
    assert [round(_share(naru, route), 1) for route in naru.door.applied] in ([], [0.5])
    await naru.apps.cancel(rollout.id, subject=ME)
    assert (await naru.end(rollout)).state is RolloutState.CANCELLED
    await naru.settled()


async def test_blue_green_never_mixes_two_releases(naru):
    await naru.deploy(strategy=BlueGreen())
    old = {i.address for i in naru.engine.instances()}
    naru.door.applied.clear()

    await naru.end(await naru.apps.update("shop", image="shop:2", subject=ME))

    for route in naru.door.applied:
        addresses = {u.address for u in route.upstreams}
        assert addresses <= old or not addresses & old


async def test_recreate_never_runs_two_releases_at_once(naru):
    await naru.deploy(strategy=Recreate())
    mixed = []
    watching = asyncio.create_task(_note_mixtures(naru, mixed))

    with naru.door.under_way(naru.engine.instances()[0].address):
        rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
        await naru.until(lambda: not naru.door._routes["shop"].upstreams)
        assert len(naru.engine.instances()) == 3
    await naru.end(rollout)

    watching.cancel()
    assert not mixed
    await naru.settled()


async def _note_mixtures(naru, mixed):
    async for _ in naru.apps.watch("shop"):
        revisions = {i.revision for i in naru.engine.instances()}
        if len(revisions) > 1:
            mixed.append(revisions)


async def test_scaling_restarts_no_instance(naru):
    await naru.deploy(replicas=2)
    before = {i.id for i in naru.engine.instances()}

    up = await naru.end(await naru.apps.scale("shop", replicas=5, subject=ME))
    assert up.state is RolloutState.SUCCEEDED, up.reason
    assert before <= {i.id for i in naru.engine.instances()}
    await naru.settled()

    down = await naru.end(await naru.apps.scale("shop", replicas=1, subject=ME))
    assert down.state is RolloutState.SUCCEEDED, down.reason
    assert {i.id for i in naru.engine.instances()} < before
    await naru.settled()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=kind)
async def test_an_app_sleeps_at_no_replicas_and_wakes_again(naru, strategy):
    await naru.deploy(strategy=strategy)

    asleep = await naru.end(await naru.apps.scale("shop", replicas=0, subject=ME))
    assert asleep.state is RolloutState.SUCCEEDED, asleep.reason
    assert naru.engine.instances() == []
    assert naru.door._routes["shop"].upstreams == ()

    awake = await naru.end(await naru.apps.scale("shop", replicas=2, subject=ME))
    assert awake.state is RolloutState.SUCCEEDED, awake.reason
    assert awake.proof.failed == 0
    await naru.settled()


async def test_a_slow_stop_is_waited_for_when_the_last_instances_go(naru):
    await naru.deploy(replicas=1, stop_grace=30.0)

    with naru.door.under_way(naru.engine.instances()[0].address):
        rollout = await naru.apps.scale("shop", replicas=0, subject=ME)
        await naru.until(lambda: not naru.door._routes["shop"].upstreams)
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert len(naru.engine.instances()) == 1

    assert (await naru.end(rollout)).state is RolloutState.SUCCEEDED
    await naru.settled()


async def test_every_earlier_release_is_one_call_away(naru):
    await naru.deploy()
    await naru.end(await naru.apps.update("shop", image="shop:2", subject=ME))
    await naru.end(await naru.apps.update("shop", image="shop:3", subject=ME))

    back = await naru.end(await naru.apps.roll_back("shop", subject=ME))
    assert (back.image, back.restores) == (image("shop:2"), 2)

    first = await naru.end(await naru.apps.roll_back("shop", release=1, subject=ME))
    assert first.state is RolloutState.SUCCEEDED, first.reason
    assert first.release == 5
    assert {naru.engine.releases[i.id].image for i in naru.engine.instances()} == {image("shop:1")}
    await naru.settled()


async def test_there_must_be_a_release_to_go_back_to(naru):
    await naru.deploy()

    with pytest.raises(Conflict, match="no release before 1"):
        await naru.apps.roll_back("shop", subject=ME)
    with pytest.raises(NotFound, match="no release 9"):
        await naru.apps.roll_back("shop", release=9, subject=ME)


async def test_a_removal_leaves_the_volumes_and_the_history_and_a_purge_takes_the_volumes(naru):
    volumes = (Volume("data", "/data"),)
    await naru.deploy(volumes=volumes)

    gone = await naru.end(await naru.apps.remove("shop", subject=ME))

    assert gone.state is RolloutState.SUCCEEDED, gone.reason
    assert set(naru.engine.disk.holds) == {("shop", "data")}
    with pytest.raises(NotFound):
        await naru.apps.status("shop")
    assert (await naru.store.apps.get("shop", include_removed=True)).state is AppState.REMOVED
    await naru.settled()

    again = await naru.deploy(volumes=volumes)
    assert again.release == 2
    await naru.end(await naru.apps.remove("shop", volumes=True, subject=ME))
    assert naru.engine.disk.holds == {}
    await naru.settled()


async def test_an_app_that_never_was_live_can_be_removed(naru):
    naru.door.taken[20000] = "nginx (pid 7)"
    failed = await naru.deploy(address=Address(port=20000))
    assert failed.state is RolloutState.FAILED
    assert "port 20000 is taken by nginx (pid 7)" in failed.reason

    gone = await naru.end(await naru.apps.remove("shop", subject=ME))

    assert gone.state is RolloutState.SUCCEEDED, gone.reason
    await naru.settled()


async def test_a_moved_tag_changes_nothing_until_someone_asks(naru):
    await naru.deploy()
    moved = naru.registry.push("shop:1", digit="7")

    await naru.end(await naru.apps.scale("shop", replicas=4, subject=ME))
    naru.engine.vanish(naru.engine.instances()[0].id)
    await naru.settled()
    assert moved not in {naru.engine.releases[i.id].image for i in naru.engine.instances()}

    await naru.end(await naru.apps.update("shop", image="shop:1", subject=ME))
    assert {naru.engine.releases[i.id].image for i in naru.engine.instances()} == {moved}
    await naru.settled()


async def test_secrets_reach_the_engine_in_the_version_of_the_release(naru):
    vault = naru.platform.vault
    await vault.save_secret("key", b"one", subject=ME)
    asked = (SecretFile("key", "/run/key"),)
    await naru.deploy(replicas=1, secrets=asked)
    await vault.save_secret("key", b"two", subject=ME)

    await naru.end(await naru.apps.scale("shop", replicas=2, subject=ME))
    assert [naru.engine.secrets[i.id] for i in naru.engine.instances()] == [{"/run/key": b"one"}] * 2

    await naru.deploy(replicas=1, secrets=asked)
    assert [naru.engine.secrets[i.id] for i in naru.engine.instances()] == [{"/run/key": b"two"}]

    await naru.end(await naru.apps.roll_back("shop", release=1, subject=ME))
    assert [naru.engine.secrets[i.id] for i in naru.engine.instances()] == [{"/run/key": b"one"}]
    with pytest.raises(Conflict):
        await vault.remove_secret("key", subject=ME)

    await naru.end(await naru.apps.update("shop", image="shop:2", subject=ME))
    assert [naru.engine.secrets[i.id] for i in naru.engine.instances()] == [{"/run/key": b"two"}]


async def test_a_secret_that_nobody_stored_stops_the_deployment_before_the_engine(naru):
    rollout = await naru.deploy(secrets=(SecretFile("key", "/run/key"),))

    assert rollout.state is RolloutState.FAILED
    assert "key" in rollout.reason
    assert not [call for call in naru.engine.calls if call[0] == "apply"]
    await naru.settled()


async def test_two_deployments_at_once_are_one_deployment_and_one_conflict(naru):
    asked = [naru.apps.deploy(workload(), subject=ME) for _ in range(2)]

    answers = await asyncio.gather(*asked, return_exceptions=True)

    (refused,) = [a for a in answers if isinstance(a, Conflict)]
    (rollout,) = [a for a in answers if not isinstance(a, Conflict)]
    assert rollout.id in refused.cause
    assert (await naru.end(rollout)).state is RolloutState.SUCCEEDED
    await naru.settled()


@pytest.mark.parametrize("change", ["deploy", "update", "scale", "roll_back", "remove"])
async def test_a_change_during_a_rollout_is_refused_and_the_rollout_named(naru, change):
    await naru.deploy()
    await naru.deploy()
    naru.engine.behave(Waits(), image=image("shop:2").reference)
    rollout = await naru.apps.update("shop", image="shop:2", subject=ME)
    changes = {
        "deploy": lambda: naru.apps.deploy(workload(), subject=ME),
        "update": lambda: naru.apps.update("shop", image="shop:3", subject=ME),
        "scale": lambda: naru.apps.scale("shop", replicas=9, subject=ME),
        "roll_back": lambda: naru.apps.roll_back("shop", subject=ME),
        "remove": lambda: naru.apps.remove("shop", subject=ME),
    }

    with pytest.raises(Conflict, match=rollout.id):
        await changes[change]()


async def test_apps_that_come_at_once_get_addresses_of_their_own(naru):
    names = [f"shop-{n}" for n in range(8)]

    rollouts = await asyncio.gather(*(naru.deploy(name, replicas=1) for name in names))

    assert {r.state for r in rollouts} == {RolloutState.SUCCEEDED}
    apps = [await naru.store.apps.get(name) for name in names]
    assert len({app.address.port for app in apps}) == len(names)


async def test_an_address_belongs_to_one_app(naru):
    await naru.deploy("one", address=Address(host="shop.example.org"))
    await naru.deploy("two", address=Address(port=20100))

    for taken in (Address(host="shop.example.org"), Address(port=20100)):
        with pytest.raises(Conflict, match=r"belongs to the app (one|two)"):
            await naru.apps.deploy(workload("three", address=taken), subject=ME)
    with pytest.raises(Conflict, match="belongs to the app one"):
        await naru.apps.deploy(workload("two", address=Address(host="shop.example.org")), subject=ME)


async def test_an_app_moves_to_another_address(naru):
    await naru.deploy(address=Address(port=20100))

    moved = await naru.deploy(address=Address(host="shop.example.org"))

    assert moved.state is RolloutState.SUCCEEDED, moved.reason
    assert (await naru.store.apps.get("shop")).address == Address(host="shop.example.org")
    await naru.settled()


async def test_a_change_to_an_outdated_copy_is_refused(naru):
    await naru.deploy()
    version = (await naru.store.apps.get("shop")).version

    with pytest.raises(Stale):
        await naru.apps.scale("shop", replicas=1, subject=ME, if_version=version - 1)

    ended = await naru.end(await naru.apps.scale("shop", replicas=1, subject=ME, if_version=version))
    assert ended.state is RolloutState.SUCCEEDED


async def test_an_image_that_was_loaded_is_deployed_from_its_archive(naru, tmp_path):
    from tests.images import BUSYBOX, busybox_image

    if not BUSYBOX.exists():
        pytest.skip("there is no static busybox")
    archive = tmp_path / "image.tar"
    busybox_image(archive, reference="naru-test/busybox:1")

    async def chunks():
        yield archive.read_bytes()

    (loaded,) = await naru.platform.images.load(chunks(), subject=ME)

    rollout = await naru.deploy(image="naru-test/busybox:1")

    assert rollout.state is RolloutState.SUCCEEDED, rollout.reason
    assert rollout.image == loaded
    with pytest.raises(Conflict, match="shop runs"):
        await naru.platform.images.remove("naru-test/busybox:1", subject=ME)


async def test_every_action_is_in_the_journal_with_its_author(naru):
    await naru.deploy()

    events = await naru.apps.events("shop")

    assert [(e.kind, e.subject) for e in events] == [("deploy", str(ME)), ("live", str(ME))]


@pytest.mark.parametrize("reference", ["Not/An Image", "shop:::", "../shop:1", "shop@sha256:abc", "shop\0:1"])
async def test_a_malformed_reference_is_refused_at_once(naru, reference):
    with pytest.raises(Invalid):
        await naru.apps.deploy(workload(image=reference), subject=ME)

    assert not await naru.apps.statuses()


def _share(naru, route) -> float:
    new = {i.address for i in naru.engine.instances() if naru.engine.releases[i.id].image == image("shop:2")}
    total = sum(u.weight for u in route.upstreams)
    return sum(u.weight for u in route.upstreams if u.address in new) / total if total else 0.0


def _share_of_new(naru) -> float:
    return round(_share(naru, naru.door._routes["shop"]), 2)
