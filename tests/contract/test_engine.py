"""What every engine promises, tried on the fake and on every real engine that answers."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest
from tests.contract.engine_labs import Kind, first

from naru.domain.errors import NotFound, Unavailable
from naru.domain.instance import InstanceState
from naru.domain.kind import WorkloadKind
from naru.domain.target import Feature
from naru.domain.workload import Health, SecretFile

pytestmark = pytest.mark.asyncio


async def test_describe_tells_what_the_engine_is_and_has(lab):
    target = await lab.engine.describe()

    assert target.name == lab.engine.name
    assert target.version
    assert target.capacity.cpus > 0
    assert target.capacity.memory > 0
    assert lab.features.issubset(target.features)


async def test_applied_instances_become_ready_at_an_address_of_their_own(lab):
    await lab.apply(lab.release(), 3)

    instances = await lab.settled(3)

    assert len({one.address for one in instances}) == 3
    assert {one.app for one in instances} == {lab.app}
    assert {one.release for one in instances} == {1}
    assert {one.exits for one in instances} == {0}
    assert {one.drift for one in instances} == {()}


async def test_apply_twice_is_apply_once(lab):
    release = lab.release()
    await lab.apply(release, 2)
    before = await lab.settled(2)

    await lab.apply(release, 2)

    assert [one.id for one in await lab.engine.observe(lab.app)] == [one.id for one in before]


async def test_two_applies_at_once_make_what_one_makes(lab):
    release = lab.release()

    await asyncio.gather(lab.apply(release, 2), lab.apply(release, 2))

    assert len(await lab.settled(2)) == 2


async def test_scaling_up_keeps_the_instances_that_are_there(lab):
    release = lab.release()
    await lab.apply(release, 1)
    (first_one,) = await lab.settled(1)

    await lab.apply(release, 3)

    assert (await lab.settled(3))[0].id == first_one.id


async def test_scaling_down_stops_the_youngest_and_returns_when_they_are_gone(lab):
    release = lab.release()
    await lab.apply(release, 1)
    (oldest,) = await lab.settled(1)
    await lab.apply(release, 3)
    await lab.settled(3)

    await lab.apply(release, 1)

    assert [one.id for one in await lab.engine.observe(lab.app)] == [oldest.id]


async def test_those_named_to_retire_go_first(lab):
    release = lab.release()
    await lab.apply(release, 3)
    oldest, *others = await lab.settled(3)

    await lab.apply(release, 2, retire=(oldest.id,))

    assert [one.id for one in await lab.engine.observe(lab.app)] == [one.id for one in others]


async def test_scaling_to_none_leaves_none(lab):
    release = lab.release()
    await lab.apply(release, 2)

    await lab.apply(release, 0)

    assert await lab.engine.observe(lab.app) == []


async def test_revisions_stand_side_by_side(lab):
    old, new = lab.release(), lab.release(number=2, arguments=("again",))
    await lab.apply(old, 2)
    await lab.settled(2)

    await lab.apply(new, 1)
    await lab.settled(3)
    await lab.apply(old, 0)

    assert [(one.release, one.revision) for one in await lab.engine.observe(lab.app)] == [(2, new.revision)]


async def test_observe_lists_one_app_or_all_oldest_first(lab):
    other = lab.release(app=f"{lab.app}-b")
    await lab.apply(lab.release(), 1)
    await lab.settled(1)  # an engine may list what it has only promised, and as old as the promise
    await lab.apply(other, 1)
    await lab.until(lambda seen: [one.ready for one in seen] == [True], f"{lab.app}-b")
    await lab.apply(lab.release(), 2)

    everyone = [one for one in await lab.engine.observe() if one.app in lab.apps]

    assert [one.app for one in everyone] == [lab.app, f"{lab.app}-b", lab.app]
    assert {one.app for one in await lab.engine.observe(f"{lab.app}-b")} == {f"{lab.app}-b"}


async def test_observing_an_unknown_app_finds_nothing(lab):
    assert await lab.engine.observe("nobody") == []


async def test_an_image_that_was_not_fetched_is_named(lab):
    if not lab.pulls_beforehand:
        pytest.skip(f"{lab.engine.name} pulls images when it starts instances")
    release = lab.release()
    lab.image = type(lab.image)(
        "naru-test/none:1", "sha256:" + "0" * 64, "sha256:" + "1" * 64, lab.image.platform, lab.image.origin
    )
    absent = lab.release()
    assert absent.revision != release.revision

    with pytest.raises(NotFound, match="naru-test/none:1"):
        await lab.apply(absent, 1)

    assert await lab.engine.observe(lab.app) == []


async def test_an_image_that_cannot_be_pulled_is_named_by_its_instances(lab):
    if lab.pulls_beforehand or not lab.tells_pull_failures:
        pytest.skip(f"{lab.engine.name} does not tell of images when it starts instances")
    lab.image = replace(lab.image, reference="naru-test/none:1", digest="sha256:" + "0" * 64)

    await lab.apply(lab.release(), 1)

    (instance,) = await lab.settled(1, lambda one: one.state is InstanceState.UNHEALTHY)
    assert "naru-test/none" in instance.failure


async def test_watch_tells_of_readiness_and_of_death(lab):
    async with aclosing(lab.engine.watch()) as changes, asyncio.timeout(30):
        listening = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(lab.pause)
        await lab.apply(lab.release(), 1)
        ours = (lab.app, "")  # an app of another test may still be on its way out
        change = await listening
        while change.app not in ours or not all(one.ready for one in await lab.engine.observe(lab.app)):
            change = await anext(changes)

        (instance,) = await lab.engine.observe(lab.app)
        await lab.kill(instance)
        change = await anext(changes)
        while change.app not in ours or (await lab.engine.observe(lab.app))[0].exits == 0:
            change = await anext(changes)


async def test_a_killed_instance_is_counted_and_comes_back(lab):
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)

    await lab.kill(instance)

    # the count may be seen a moment before the news with the code has come
    (after,) = await lab.settled(1, lambda one: one.exits == 1 and one.exit_code is not None)
    assert (after.id, after.exit_code, after.oom_killed) == (instance.id, 137, False)
    await lab.settled(1, lambda one: one.ready and one.exits == 1)


async def test_apply_replaces_what_disappeared(lab):
    release = lab.release()
    await lab.apply(release, 2)
    lost, kept = await lab.settled(2)
    await lab.vanish(lost)

    await lab.apply(release, 2)

    after = {one.id for one in await lab.settled(2)}
    assert kept.id in after
    assert lost.id not in after


async def test_drift_is_seen_and_apply_repairs_it(lab):
    release = lab.release()
    await lab.apply(release, 2)
    touched, kept = await lab.settled(2)

    changed = await lab.meddle(touched)
    seen = await lab.until(lambda all_: any(one.drift for one in all_))
    assert [one.id for one in seen if one.drift] == [touched.id] or not lab.one_by_one
    assert changed in next(one for one in seen if one.drift).drift[0]
    await lab.apply(release, 2, retire=(touched.id,))

    after = await lab.settled(2, lambda one: one.ready and not one.drift)
    assert kept.id in {one.id for one in after} or not lab.one_by_one
    assert touched.id not in {one.id for one in after}


async def test_exit_codes_are_reported(lab):
    await lab.apply(lab.release(Kind.EXITS), 1)

    (instance,) = await lab.settled(1, lambda one: one.state is InstanceState.EXITED)

    assert instance.exits == 1 or lab.restarts_always
    assert (instance.exit_code, instance.oom_killed) == (3, False)


async def test_what_listens_nowhere_is_ready_as_soon_as_it_runs(lab):
    await lab.apply(lab.release(Kind.IDLES), 2)

    instances = await lab.settled(2)

    assert {one.address for one in instances} == {""}
    assert {one.drift for one in instances} == {()}


async def test_a_batch_that_ended_well_is_completed_and_stays_so(lab):
    lab.takes(Feature.JOBS)
    release = lab.release(Kind.ENDS)
    await lab.apply(release, 2)
    ended = await lab.settled(2, lambda one: one.state is InstanceState.COMPLETED)

    await lab.apply(release, 2)

    seen = list(await lab.engine.observe(lab.app))
    assert {one.id for one in seen} == {one.id for one in ended}
    assert {(one.state, one.exit_code, one.drift) for one in seen} == {(InstanceState.COMPLETED, 0, ())}


async def test_a_batch_that_failed_says_how_and_is_not_started_again_when_that_was_not_asked_for(lab):
    lab.takes(Feature.JOBS)
    release = lab.release(Kind.EXITS, kind=WorkloadKind.BATCH, port=0, health=Health())
    await lab.apply(release, 1)
    await lab.settled(1, lambda one: one.state is InstanceState.EXITED)

    await lab.apply(release, 1)

    (instance,) = await lab.engine.observe(lab.app)
    assert (instance.state, instance.exit_code, instance.exits) == (InstanceState.EXITED, 3, 1)
    assert [line.text async for line in lab.engine.logs(instance.id)] == ["going"] or lab.engine.name == "fake"


async def test_a_schedule_is_one_instance_until_its_time_comes(lab):
    lab.takes(Feature.SCHEDULES)
    release = lab.release(Kind.ENDS, kind=WorkloadKind.SCHEDULED, schedule="0 0 29 2 *")
    await lab.apply(release, 3)
    await lab.apply(release, 3)

    (standing,) = await lab.settled(1, lambda one: one.state is InstanceState.SCHEDULED)

    assert (standing.revision, standing.address) == (release.revision, "")
    await lab.apply(release, 0)
    assert await lab.engine.observe(lab.app) == []


async def test_apps_of_one_project_reach_each_other_by_name_and_nobody_else(lab):
    lab.takes(Feature.PROJECT_NETWORKS, Feature.EXEC)
    project, other = f"{lab.app}-mall", f"{lab.app}-rival"
    database = lab.release(app=f"{project}-db", project=project)
    stranger = lab.release(app=f"{other}-db", project=other)
    for release in (database, stranger, lab.release(project=project)):
        await lab.apply(release, 1)
    (web,) = await lab.settled(1)
    for app in (database.app, stranger.app):
        await lab.until(lambda all_: all(one.ready for one in all_) and bool(all_), app)

    assert await lab.ask(web, "db") == await lab.ask(web, database.app) == "hello\n"
    (rival,) = await lab.engine.observe(stranger.app)
    assert await lab.ask(web, stranger.app) == ""
    assert not lab.isolates_addresses or await lab.ask(web, rival.address.rpartition(":")[0]) == ""


async def test_running_out_of_memory_is_reported(lab):
    await lab.apply(lab.release(Kind.HUNGRY), 1)

    # Engines may hear why a process was killed after they have seen it end.
    told = lab.tells_out_of_memory
    (instance,) = await lab.settled(1, lambda one: one.state is InstanceState.EXITED and (one.oom_killed or not told))

    assert instance.exit_code == 137


async def test_a_failing_check_and_its_answer_are_told(lab):
    await lab.apply(lab.release(Kind.SICK), 1)

    (instance,) = await lab.settled(1, lambda one: one.state is InstanceState.UNHEALTHY)

    assert "GET /cgi-bin/health" in instance.failure
    assert "500" in instance.failure


async def test_a_port_that_nothing_listens_on_is_told_with_the_ports_that_are(lab):
    if not lab.sees_ports:
        pytest.skip(f"{lab.engine.name} does not see which ports a container listens on")
    await lab.apply(lab.release(Kind.DEAF), 1)

    (instance,) = await lab.settled(1, lambda one: one.state is InstanceState.UNHEALTHY)

    assert instance.failure == "nothing listens on port 8081; the container listens on 8080"


async def test_a_ready_instance_that_falls_ill_is_unhealthy(lab):
    await lab.apply(lab.release(), 2)
    ill, well = await lab.settled(2)

    await lab.sicken(ill)

    seen = await lab.until(lambda all_: any(one.state is InstanceState.UNHEALTHY for one in all_))
    assert [one.id for one in seen if one.ready] == [well.id]
    assert next(one for one in seen if not one.ready).failure


async def test_remove_leaves_nothing_of_the_app(lab):
    bystander = lab.release(app=f"{lab.app}-b")
    await lab.apply(bystander, 1)
    await lab.apply(lab.release(), 2)
    await lab.settled(2)

    await lab.engine.remove(lab.app)
    await lab.engine.remove(lab.app)

    assert await lab.engine.observe(lab.app) == []
    assert len(await lab.engine.observe(bystander.app)) == 1


async def test_a_secret_without_a_value_is_named(lab):
    release = lab.release(secrets=(SecretFile("password", "/run/secrets/password", 1),))

    with pytest.raises(NotFound, match="password"):
        await lab.apply(release, 1)


async def test_an_engine_that_is_away_is_unavailable(lab):
    release = lab.release()
    await lab.go_away()

    with pytest.raises(Unavailable):
        await lab.engine.describe()
    with pytest.raises(Unavailable):
        await lab.engine.observe()
    with pytest.raises(Unavailable):
        await lab.apply(release, 1)
    with pytest.raises(Unavailable):
        await lab.engine.remove(lab.app)
    with pytest.raises(Unavailable):
        await first(lab.engine.watch())
