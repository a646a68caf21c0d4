"""Several targets at once: they come and go, and what one of them does is no concern of the others."""

import asyncio

import pytest
from tests.contract.fake_behaviour import Waits
from tests.contract.fake_engine import FakeEngine
from tests.service.control.site import ME, PATIENCE, workload

from naru.control.worlds import Configured, Worlds
from naru.domain.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from naru.domain.kind import Affinity
from naru.domain.rollout import RolloutState
from naru.domain.target import Enrolment, TargetState
from naru.domain.workload import Canary, CanaryStep, Volume


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("naru.control.rolling.SHIFT", Canary((CanaryStep(50, 0.0),)))


def named(targets) -> dict:
    return {target.name: target for target in targets}


async def test_an_engine_is_a_target_once_it_is_added(naru):
    plant = naru.engine_at("plant")
    added = await naru.platform.fleet.add("plant", "fake://kim:secret@plant", site="busan", subject=ME)
    assert (added.name, added.site, added.problem, added.added_by) == ("plant", "busan", "", str(ME))
    assert added.address == "fake://plant"
    assert [target.name for target in await naru.platform.targets()] == ["fake", "plant"]
    await naru.until(lambda: ("watch",) in plant.calls)
    assert "added the target plant" in (await naru.apps.latest_events())[0].text


async def test_targets_are_there_again_after_a_restart(naru):
    await naru.target("plant")
    await naru.platform.fleet.cordon("fake", subject=ME)
    await naru.stop()
    await naru.start()
    await naru.platform.pipeline.worlds.follow()
    found = named(await naru.platform.targets())
    assert list(found) == ["fake", "plant"]
    assert (found["fake"].state, found["plant"].state) == (TargetState.CORDONED, TargetState.ACTIVE)


@pytest.mark.parametrize(
    ("name", "url", "kind", "match"),
    [
        ("Plant", "fake://plant", Invalid, "no name for a target"),
        ("fake", "fake://plant", Conflict, "a target fake already"),
        ("plant", "gopher://plant", Invalid, "no engine is reached by gopher"),
        ("plant", "fake://[plant", Invalid, "no URL of an engine"),
        ("plant", "fake://plant\n", Invalid, "no URL of an engine"),
        ("plant", "fake://nowhere", Invalid, "there is no nowhere"),
        ("plant", "fake://fake", Conflict, "it is the engine of the target fake"),
    ],
)
async def test_what_can_be_no_target_is_refused(naru, name, url, kind, match):
    naru.engine_at("plant")
    with pytest.raises(kind, match=match):
        await naru.platform.fleet.add(name, url, force=True, subject=ME)
    assert list(naru.platform.pipeline.worlds) == ["fake"]


@pytest.mark.parametrize("error", [Unavailable("its certificate expired", "renew it"), Forbidden("may not list pods")])
async def test_a_target_that_does_not_answer_well_is_added_only_by_force(naru, error):
    plant = naru.engine_at("plant")
    plant.fail("observe", error, times=2)
    with pytest.raises(type(error), match=f"plant was not added: {error.cause}") as caught:
        await naru.platform.fleet.add("plant", "fake://plant", subject=ME)
    assert caught.value.override == "force"
    await naru.platform.fleet.add("plant", "fake://plant", force=True, subject=ME)
    assert "plant" in naru.platform.pipeline.worlds


async def test_a_target_that_cannot_be_opened_is_listed_with_its_problem_and_opened_when_it_can(naru, monkeypatch):
    monkeypatch.setattr("naru.control.worlds.REOPEN_SECONDS", 0.01)
    plant = await naru.target("plant")
    del naru.engines["plant"]
    await naru.stop()
    await naru.start()
    await naru.platform.pipeline.worlds.opened()
    found = named(await naru.platform.targets())["plant"]
    assert "there is no plant" in found.problem
    naru.engines["plant"] = plant
    await naru.until(lambda: not naru.platform.pipeline.worlds["plant"].problem)


async def test_a_removed_target_is_watched_no_more(naru):
    plant = await naru.target("plant")
    await naru.until(lambda: bool(plant._watchers))
    await naru.platform.fleet.remove("plant", subject=ME)
    assert not plant._watchers
    assert [target.name for target in await naru.platform.targets()] == ["fake"]
    with pytest.raises(NotFound, match="no target plant"):
        await naru.platform.fleet.show("plant")


async def test_neither_the_configured_target_nor_one_with_apps_is_removed(naru):
    with pytest.raises(Conflict, match="configuration names"):
        await naru.platform.fleet.remove("fake", subject=ME)
    await naru.target("plant")
    await naru.platform.fleet.cordon("fake", subject=ME)
    await naru.deploy()
    with pytest.raises(Conflict, match="plant runs shop"):
        await naru.platform.fleet.remove("plant", subject=ME)


async def test_nothing_new_comes_to_a_cordoned_target_and_what_is_there_stays(naru):
    plant = await naru.target("plant")
    await naru.deploy("till")
    await naru.platform.fleet.cordon("fake", subject=ME)
    assert (await naru.deploy()).target == "plant"
    assert (await naru.deploy("till", "shop:2")).target == "fake"
    assert len(plant.instances()) == 3
    await naru.platform.fleet.uncordon("fake", subject=ME)
    await naru.platform.fleet.cordon("plant", subject=ME)
    assert (await naru.deploy("kiosk")).target == "fake"


async def test_where_every_target_is_cordoned_nothing_new_runs(naru):
    await naru.platform.fleet.cordon("fake", subject=ME)
    refused = await naru.deploy()
    assert refused.state is RolloutState.FAILED
    assert "no target that takes new apps" in refused.reason


async def test_a_hanging_target_delays_neither_lists_nor_deployments_nor_repairs(naru):
    plant = await naru.target("plant")
    with plant.hold("describe"), plant.hold("observe"), plant.hold("apply"), plant.hold("remove"):
        async with asyncio.timeout(PATIENCE):
            found = named(await naru.platform.targets())
        assert (found["fake"].problem, "within 2 s" in found["plant"].problem) == ("", True)
        assert (await naru.deploy()).state is RolloutState.SUCCEEDED
        naru.engine.vanish(naru.engine.instances("shop")[0].id)
        await naru.settled()


async def test_a_new_release_of_an_app_with_volumes_waits_for_the_target_that_has_them(naru):
    plant = await naru.target("plant")
    await naru.platform.fleet.cordon("fake", subject=ME)
    volumes = (Volume("data", "/data"),)
    await naru.deploy(volumes=volumes)
    await naru.platform.fleet.uncordon("fake", subject=ME)
    plant.go_away()
    refused = await naru.deploy(image="shop:2", volumes=volumes)
    assert (refused.state, "plant does not answer" in refused.reason) == (RolloutState.FAILED, True)
    assert len(plant.instances()) == 3
    assert (await naru.apps.status("shop")).app.target == "plant"


async def test_rollouts_that_hang_on_one_target_keep_no_other_waiting(naru):
    plant = await naru.target("plant")
    with plant.hold("apply"):
        for number in range(12):
            there = workload(f"stuck-{number}", affinity=Affinity(targets=("plant",)))
            await naru.apps.deploy(there, subject=ME)
        assert (await naru.deploy(affinity=Affinity(targets=("fake",)))).state is RolloutState.SUCCEEDED
    await naru.until(lambda: len(plant.instances()) == 36)


async def test_instances_and_logs_of_a_moving_app_are_those_of_both_targets(naru):
    plant = await naru.target("plant")
    await naru.deploy(replicas=1)
    plant.behave(Waits())
    moving = await naru.apps.move("shop", to="plant", subject=ME)
    await naru.until(lambda: bool(naru.platform.pipeline.worlds["plant"].instances("shop")))
    assert [one.target for one in await naru.platform.instances.of("shop")] == ["fake", "plant"]
    status = await naru.apps.status("shop")
    assert (status.ready, status.desired, len(status.instances)) == (1, 1, 1)
    for one in plant.instances("shop"):
        plant.make_ready(one.id)
    assert (await naru.end(moving)).state is RolloutState.SUCCEEDED
    assert [one.target for one in await naru.platform.instances.of("shop")] == ["plant"]


async def test_following_the_log_goes_over_with_a_move(naru):
    plant = await naru.target("plant")
    await naru.deploy(replicas=1)
    lines = naru.platform.instances.logs("shop", follow=True)
    naru.engine.write(naru.engine.instances("shop")[0].id, "here")
    assert (await anext(lines)).text == "here"
    await naru.end(await naru.apps.move("shop", to="plant", subject=ME))
    plant.write(plant.instances("shop")[0].id, "there")
    async with asyncio.timeout(PATIENCE):
        assert (await anext(lines)).text == "there"
    await lines.aclose()


async def test_targets_that_another_server_adds_and_removes_are_followed(naru):
    here = naru.platform
    other = naru.build("other")
    await other.prepare()
    await naru.target("plant")
    await other.pipeline.worlds.follow()
    assert list(other.pipeline.worlds) == ["fake", "plant"]
    await here.fleet.remove("plant", subject=ME)
    await other.pipeline.worlds.follow()
    assert list(other.pipeline.worlds) == ["fake"]


async def test_a_target_is_not_the_configured_one_by_its_name_alone(naru):
    worlds = naru.platform.pipeline.worlds
    await naru.stop()
    elsewhere = Configured(naru.engine, "fake://elsewhere", "home")
    await Worlds(naru.store.targets, worlds.open_engine, naru.platform.bulletin, naru.clock, elsewhere).prepare()
    assert [one.url for one in await naru.store.targets.all()] == ["fake://elsewhere"]

    plant = FakeEngine("plant")
    await naru.store.targets.add(Enrolment("plant", "fake://plant", "busan", "kim", naru.clock()))
    other = Configured(plant, "fake://another", "home")
    with pytest.raises(Conflict, match="plant is the target at fake://plant, which kim added"):
        await Worlds(naru.store.targets, worlds.open_engine, naru.platform.bulletin, naru.clock, other).prepare()
