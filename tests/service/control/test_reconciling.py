"""What runs is made to match what should."""

from dataclasses import replace

from tests.contract.fake_behaviour import Waits
from tests.service.control.faults import BAD
from tests.service.control.site import ME

from naru.control import reconcile


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


async def test_when_all_were_changed_they_go_one_after_another_and_the_app_serves_all_the_while(naru):
    await naru.deploy()
    before = len(naru.door.applied)
    for one in naru.engine.instances():
        naru.engine.drift(one.id, "its memory limit is 1 GiB, not unlimited")

    await naru.until(lambda: not any(one.drift for one in naru.engine.instances()))
    await naru.settled()

    assert min(len(route.upstreams) for route in naru.door.applied[before:]) >= 2
    assert len(await notes(naru)) == 3


async def test_instances_of_other_releases_are_drained_and_stopped(naru):
    await naru.deploy()
    await naru.end(await naru.apps.update("shop", image="shop:2", subject=ME))
    first = await naru.apps.release("shop", 1)

    await naru.engine.apply(first, 2, secrets={})

    await naru.settled()
    async with naru.platform.pipeline.turns.of("shop"):  # the repair is noted before its turn ends
        pass
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
