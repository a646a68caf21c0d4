"""What Marathon makes difficult, tried on the simulator; what a real one confirms is in docs/engines-marathon.md."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.engine_labs import QUICK, Kind, everything
from tests.contract.marathon_http import simulated
from tests.contract.marathon_labs import IMAGE, SimulatedMarathonLab, simulated_marathon_lab
from tests.contract.marathon_schema import Published

from naru.domain.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from naru.domain.image import Origin
from naru.domain.instance import InstanceState
from naru.domain.release import Release, ReleaseState
from naru.domain.workload import (
    CommandCheck,
    Health,
    HttpCheck,
    Recreate,
    Resources,
    Restart,
    SecretFile,
    TcpCheck,
    Volume,
    Workload,
)
from naru.engines.catalogue import open_engine
from naru.engines.marathon import engine as marathon_engine
from naru.engines.marathon import open_marathon
from naru.engines.marathon.translate import Place, definition

pytestmark = pytest.mark.needs("published marathon")
published = cache(Published)


@pytest.fixture
async def lab() -> AsyncIterator[SimulatedMarathonLab]:
    async with simulated_marathon_lab() as lab:
        yield lab


# --- locks and deployments ------------------------------------------------------------------------------------


async def test_an_app_that_never_becomes_healthy_can_still_be_scaled_and_removed(lab):
    release = lab.release(Kind.SICK)
    await lab.apply(release, 2)
    await lab.settled(2, lambda one: one.state is InstanceState.UNHEALTHY)
    assert lab.simulator.deployments

    await lab.apply(release, 1)
    assert len(await lab.engine.observe(lab.app)) == 1
    await lab.apply(release, 3)
    await lab.settled(3, lambda one: one.state is InstanceState.UNHEALTHY)
    await lab.engine.remove(lab.app)

    assert await lab.engine.observe(lab.app) == []
    assert lab.simulator.apps == {}


async def test_a_deployment_of_others_that_holds_the_lock_is_named_and_left_alone(lab):
    release = lab.release()
    await lab.apply(release, 1)
    await lab.settled(1)
    held = lab.simulator.lock(lab.app_id(release), "/other/shop")

    with pytest.raises(Conflict, match=f"{held} locks {lab.app} together with /other/shop"):
        await lab.apply(release, 2)
    with pytest.raises(Conflict, match="/other/shop"):
        await lab.engine.remove(lab.app)

    assert held in {one.id for one in lab.simulator.deployments}
    assert len(await lab.engine.observe(lab.app)) == 1


async def test_removing_shows_what_is_stopping_and_returns_when_that_is_gone(lab):
    await lab.apply(lab.release(), 1)
    await lab.settled(1)
    lab.simulator.kills = False

    removing = asyncio.create_task(lab.engine.remove(lab.app))
    await lab.settled(1, lambda one: one.state is InstanceState.STOPPING)
    assert not removing.done()
    lab.simulator.kills = True

    await asyncio.wait_for(removing, 10)
    assert lab.simulator.leaving == []
    assert lab.simulator.apps == {}


async def test_a_stop_that_nobody_waits_for_leaves_an_empty_application_until_the_next_change(lab):
    old, new = lab.release(), lab.release(number=2, arguments=("again",))
    await lab.apply(old, 1)
    await lab.settled(1)
    lab.simulator.kills = False
    stopping = asyncio.create_task(lab.apply(old, 0))
    await lab.settled(1, lambda one: one.state is InstanceState.STOPPING)
    stopping.cancel()
    lab.simulator.kills = True
    assert await lab.settled(0) == []
    assert list(lab.simulator.apps) == [lab.app_id(old)]

    await lab.apply(new, 1)

    assert list(lab.simulator.apps) == [lab.app_id(new)]


async def test_a_stop_that_hangs_is_given_up_with_the_deployment_named(lab, monkeypatch):
    monkeypatch.setattr(marathon_engine, "STOP_PATIENCE", 0.2)
    release = lab.release()
    await lab.apply(release, 2)
    await lab.settled(2)
    lab.simulator.kills = False

    with pytest.raises(Unavailable, match=r"deployment .* has not ended within"):
        await lab.apply(release, 1)

    lab.simulator.kills = True
    await lab.apply(release, 1)
    assert len(await lab.settled(1)) == 1


async def test_scaling_changes_nothing_but_the_count(lab):
    first, again = lab.release(), lab.release(number=2, strategy=Recreate())
    assert first.revision == again.revision
    await lab.apply(first, 1)
    (kept,) = await lab.settled(1)

    await lab.apply(again, 2)

    assert (await lab.settled(2))[0] == kept


async def test_a_task_of_an_older_definition_is_replaced(lab):
    release = lab.release()
    await lab.apply(release, 2)
    await lab.settled(2)
    app = lab.simulator.apps[lab.app_id(release)]
    lab.simulator.deployments.clear()
    app.tasks[0].version = "2020-01-01T00:00:00.000Z"

    seen = await lab.engine.observe(lab.app)
    assert sorted(one.drift for one in seen) == [(), ("it runs an older definition",)]
    await lab.apply(release, 2)

    await lab.settled(2, lambda one: one.ready and not one.drift)


# --- tasks ----------------------------------------------------------------------------------------------------


async def test_instances_that_no_agent_offers_room_for_are_listed_with_the_reason(lab):
    lab.simulator.offers = False

    await lab.apply(lab.release(), 2)

    seen = await lab.settled(2, lambda one: one.state is InstanceState.STARTING)
    assert {one.failure for one in seen} == {"no agent offers what it needs: InsufficientCpus (3 of 3 offers)"}
    await lab.apply(lab.release(), 1)
    assert len(await lab.engine.observe(lab.app)) == 1


async def test_an_instance_on_a_lost_agent_is_not_ready_and_is_replaced(lab):
    await lab.apply(lab.release(), 2)
    lost, kept = await lab.settled(2)

    lab.simulator.lose_agent(lost.id)

    seen = {one.id: one for one in await lab.engine.observe(lab.app)}
    assert seen[lost.id].state is InstanceState.UNHEALTHY
    assert "agent 127.0.0.1 does not answer" in seen[lost.id].failure
    assert kept.id in {one.id for one in await lab.until(lambda all_: lost.id not in {one.id for one in all_})}
    await lab.settled(2)


async def test_an_image_that_an_agent_cannot_pull_is_told_on_the_instance(lab):
    lab.simulator.images = {"something/else"}

    await lab.apply(lab.release(restart=Restart.NEVER), 1)

    (instance,) = await lab.settled(1, lambda one: one.state is InstanceState.EXITED)
    assert "docker pull registry.example.org/naru-test/busybox@sha256:aaaa" in instance.failure


async def test_a_loop_of_failures_is_counted(lab):
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)
    for exits in (1, 2):
        await lab.kill(instance)
        lab.simulator.apps[lab.app_id(lab.release())].not_before = 0
        await lab.settled(1, lambda one, exits=exits: one.ready and one.exits == exits)


async def test_asking_for_more_launches_what_failures_held_back(lab):
    release = lab.release(Kind.EXITS)
    await lab.apply(release, 1)
    await lab.settled(1, lambda one: one.state is InstanceState.EXITED)
    lab.prepare(Kind.SERVES)

    await lab.apply(release, 2)

    await lab.settled(2)


@pytest.mark.parametrize("check", [CommandCheck(("/bin/true", "a b")), HttpCheck("/"), TcpCheck()])
async def test_every_kind_of_check_is_accepted(lab, check):
    release = lab.release(
        health=replace(QUICK, check=check), resources=Resources(0.5, 64 << 20), environment={"A": "b"}
    )

    await lab.apply(release, 1)

    assert await lab.settled(1)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True), st.text().filter(lambda t: "\0" not in t)
    ),
    st.lists(st.text(min_size=1).filter(lambda t: "\0" not in t), max_size=3),
    st.builds(
        Health,
        st.sampled_from([HttpCheck("/x"), TcpCheck(), CommandCheck(("/bin/true", "a b"))]),
        interval=st.floats(0.1, 3600),
        timeout=st.floats(0.1, 3600),
        start_period=st.floats(0, 3600),
    ),
    st.builds(Resources, st.none() | st.floats(0.01, 1024), st.none() | st.integers(6 << 20, 1 << 50)),
    st.sampled_from(Restart),
    st.floats(0, 3600),
)
def test_every_workload_becomes_what_the_published_schema_allows(environment, words, health, resources, restart, grace):
    workload = Workload(
        app="shop",
        image=IMAGE.reference,
        port=8080,
        replicas=1,
        command=tuple(words[:1]),
        arguments=tuple(words[1:]),
        environment=environment,
        health=health,
        resources=resources,
        restart=restart,
        stop_grace=grace,
    )
    made = Release("shop", 1, workload, IMAGE, ReleaseState.PENDING, "ada", datetime.now(UTC))

    app = definition(made, 1, Place())

    assert not published().complaint("PUT", f"/v2/apps{app['id']}", {}, app)


# --- watching -------------------------------------------------------------------------------------------------


async def test_changes_are_seen_though_marathon_sends_no_events(lab):
    lab.simulator.speaks = False
    async with aclosing(lab.engine.watch()) as changes, asyncio.timeout(20):
        listening = asyncio.ensure_future(anext(changes))
        await lab.apply(lab.release(), 1)
        assert (await listening).app == lab.app


async def test_an_event_makes_naru_look_at_once(lab, monkeypatch):
    monkeypatch.setattr(marathon_engine, "POLL_SECONDS", 60.0)
    async with aclosing(lab.engine.watch()) as changes, asyncio.timeout(20):
        listening = asyncio.ensure_future(anext(changes))
        await lab.apply(lab.release(), 1)
        assert (await listening).app == lab.app


async def test_watching_raises_when_marathon_goes_away(lab):
    async with aclosing(lab.engine.watch()) as changes, asyncio.timeout(20):
        listening = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(lab.pause)
        await lab.go_away()
        with pytest.raises(Unavailable):
            await listening


# --- ownership and refusals -----------------------------------------------------------------------------------


async def test_what_others_made_is_not_seen_and_not_touched(lab):
    release = lab.release()
    foreign = {"cmd": "sleep 100", "labels": {"naru.app": lab.app, "naru.owner": "naru"}}
    lab.simulator.put(f"/naru/{lab.app}/something", foreign, force=False)
    lab.simulator.put(lab.app_id(release), {"cmd": "sleep 100"}, force=False)

    assert await lab.engine.observe() == []
    with pytest.raises(Conflict, match=lab.app_id(release)):
        await lab.apply(release, 1)
    await lab.engine.remove(lab.app)

    assert len(lab.simulator.apps) == 2


async def test_two_narus_on_one_marathon_leave_each_other_alone(lab):
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)
    async with (
        asyncio.TaskGroup() as tasks,
        open_marathon(f"marathon+{lab.server.url}", tasks, owner="another") as other,
    ):
        assert await other.observe() == []
        await other.remove(lab.app)
        with pytest.raises(Conflict, match=lab.app):
            await other.apply(lab.release(), 1, secrets={})

    assert [one.id for one in await lab.engine.observe(lab.app)] == [instance.id]


@pytest.mark.parametrize("origin", [Origin.STORED, Origin.ENGINE])
async def test_an_image_that_is_in_no_registry_is_refused_with_the_mend(lab, origin):
    lab.image = replace(lab.image, origin=origin)

    with pytest.raises(Conflict, match="push it to a registry"):
        await everything(lab.engine.fetch(lab.image))
    with pytest.raises(Conflict, match="push it to a registry"):
        await lab.apply(lab.release(), 1)


@pytest.mark.parametrize(
    ("lacking", "change"),
    [
        ("secret-files", {"secrets": (SecretFile("password", "/run/password", 1),)}),
        ("volumes", {"volumes": (Volume("data", "/data"),)}),
    ],
)
async def test_what_marathon_cannot_do_is_refused_and_never_dropped(lab, lacking, change):
    with pytest.raises(Conflict, match=lacking):
        await lab.apply(lab.release(**change), 1, {"password": b"wide open"})

    assert lab.simulator.apps == {}


async def test_commands_and_measures_are_refused_with_what_to_do_instead(lab):
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)

    with pytest.raises(Conflict, match="docker exec on the Mesos agent"):
        await lab.engine.execute(instance.id, ("/bin/true",))
    with pytest.raises(Conflict, match="does not measure"):
        await everything(lab.engine.usage(instance.id))


async def test_logs_of_an_instance_without_a_task_are_not_found(lab):
    lab.simulator.offers = False
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1, lambda one: one.state is InstanceState.STARTING)

    with pytest.raises(NotFound, match=instance.id):
        await everything(lab.engine.logs(instance.id))


async def test_logs_keep_characters_that_two_reads_cut_apart(lab, monkeypatch):
    monkeypatch.setattr("naru.engines.marathon.sandbox.CHUNK", 3)
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)
    lab.simulator.task(instance.id)[1].wrote["stdout"] = "나루\nunfinished"

    lines = await everything(lab.engine.logs(instance.id))

    assert [line.text for line in lines if line.stream == "stdout"] == ["나루", "unfinished"]


# --- the connection -------------------------------------------------------------------------------------------


async def test_the_password_of_the_url_is_used_and_told_to_nobody(caplog):
    caplog.set_level("DEBUG")
    right = "Basic " + base64.b64encode(b"naru:open sesame").decode()
    async with simulated(right) as server, asyncio.TaskGroup() as tasks:
        host = server.url.removeprefix("http://")
        async with open_marathon(f"marathon+http://naru:open%20sesame@{host}", tasks) as engine:
            assert (await engine.describe()).version
        async with open_marathon(f"marathon+http://naru:wrong@{host}", tasks) as engine:
            with pytest.raises(Forbidden) as refused:
                await engine.observe()
        await server.stop()
        async with open_marathon(f"marathon+http://naru:open%20sesame@{host}", tasks) as engine:
            with pytest.raises(Unavailable) as away:
                await engine.observe()

    for told in (str(refused.value), str(away.value), caplog.text):
        assert "sesame" not in told
        assert "wrong" not in told


@pytest.mark.parametrize("url", ["marathon+http://naru:sesame@host:port", "marathon+ftp://naru:sesame@host"])
async def test_a_url_that_leads_nowhere_is_refused_without_its_password(url):
    async with asyncio.TaskGroup() as tasks:
        with pytest.raises(Invalid) as refused:
            async with open_engine(url, tasks, site="home", owner="naru"):
                pass

    assert "sesame" not in str(refused.value)


async def test_a_server_that_is_no_marathon_is_named(lab):
    async with (
        asyncio.TaskGroup() as tasks,
        open_marathon(f"marathon+{lab.server.url}/mesos", tasks) as engine,
    ):
        with pytest.raises(NotFound):
            await engine.observe()


async def test_a_definition_that_marathon_refuses_is_invalid(lab):
    with pytest.raises(Invalid):
        await lab.engine._wire.define(lab.app, f"/naru/{lab.app}/x", {"cpus": -1})
    lab.server.complaints.clear()
