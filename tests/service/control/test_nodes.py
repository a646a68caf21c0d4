"""Nodes with agents: what they are asked for, and what is known of how long it took."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.service.control.site import ME

from naru.domain.distribution import Carried, Holding, Link, NodeReport, Refusal, Way
from naru.domain.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from naru.domain.membership import Token
from naru.domain.rollout import RolloutState

GULL = NodeReport("gull", "home", "10.1.0.2", 7071, "passthrough", link=Link(12.5e6, 125e6, 0.02))
TERN = replace(GULL, name="tern", host="10.1.0.3")
FAR = replace(GULL, name="far", site="jeju", host="10.2.0.2")


async def deployed(naru, image: str = "shop:1"):
    ended = await naru.deploy("shop", image, 1)
    assert ended.state is RolloutState.SUCCEEDED, ended.reason
    return ended


def distribute(rollout) -> str:
    return next(step.outcome for step in rollout.steps if step.name == "distribute")


async def test_without_agents_the_engine_fetches_and_that_is_said(naru):
    assert "no node of home has an agent" in distribute(await deployed(naru))
    (one,) = await naru.platform.nodes.distributions()
    assert (one.way, one.nodes, one.estimate, one.complete is None) == (Way.DIRECT, 0, None, False)


async def test_the_nodes_of_the_site_are_asked_for_what_is_live_there(naru):
    await naru.platform.nodes.report(GULL)
    await naru.platform.nodes.report(FAR)
    ended = await deployed(naru)
    assert "1 node of home fetches it" in distribute(ended)
    orders = await naru.platform.nodes.report(GULL)
    assert [order.reference for order in orders.images] == [ended.image.reference]
    assert [peer.name for peer in orders.peers] == ["far"]
    far = await naru.platform.nodes.report(FAR)
    assert (far.images, far.elsewhere) == ((), orders.images)


async def test_orders_come_as_soon_as_an_image_is_coming(naru):
    await naru.platform.nodes.report(GULL)
    async with aclosing(naru.platform.nodes.follow("home", "gull")) as following:
        assert (await anext(following)).images == ()
        coming = asyncio.ensure_future(deployed(naru))
        async with asyncio.timeout(20):
            while not (orders := await anext(following)).images:
                pass
        ended = await coming
    assert [order.image for order in orders.images] == [ended.image.digest]


async def test_a_new_peer_is_told_to_the_others_at_once(naru):
    await naru.platform.nodes.report(GULL)
    async with aclosing(naru.platform.nodes.follow("home", "gull")) as following:
        assert (await anext(following)).peers == ()
        waiting = asyncio.ensure_future(anext(following))
        await naru.platform.nodes.report(TERN)
        async with asyncio.timeout(5):
            assert [peer.host for peer in (await waiting).peers] == ["10.1.0.3"]


async def test_a_node_that_falls_silent_is_no_peer_any_more(naru):
    await naru.platform.nodes.report(GULL)
    await naru.platform.nodes.report(TERN)
    naru.clock.advance(31)
    assert (await naru.platform.nodes.report(GULL)).peers == ()
    assert [(node.report.name, node.alive) for node in await naru.platform.nodes.all()] == [
        ("gull", True),
        ("tern", False),
    ]


async def test_the_estimate_stands_beside_what_happened(naru):
    before = replace(GULL, carried=Carried(from_outside=500))
    await naru.platform.nodes.report(before)
    await naru.platform.nodes.report(TERN)
    ended = await deployed(naru)
    (begun,) = await naru.platform.nodes.distributions()
    assert begun.estimate is not None
    assert (begun.way, begun.nodes, begun.ready, begun.complete) == (begun.estimate.way, 2, None, None)
    assert f"expected ready in {begun.estimate.ready:.1f} s" in distribute(ended)

    image = ended.image.digest
    hot = replace(before, images=(Holding(image, 300, 1000, 100, 100),), carried=Carried(from_outside=1500))
    naru.clock.advance(2)
    await naru.platform.nodes.report(hot)
    assert (await naru.platform.nodes.distributions())[0].ready is None
    await naru.platform.nodes.report(replace(TERN, images=hot.images))
    seen = (await naru.platform.nodes.distributions())[0]
    assert seen.ready == pytest.approx(2, abs=1.5)
    assert (seen.complete, seen.egress) == (None, 1000)

    naru.clock.advance(8)
    whole = (Holding(image, 1000, 1000, 100, 100),)
    for node in (hot, TERN):
        await naru.platform.nodes.report(replace(node, images=whole))
    seen = (await naru.platform.nodes.distributions())[0]
    assert seen.ready == pytest.approx(2, abs=1.5)
    assert seen.complete == pytest.approx(10, abs=1.5)


async def test_a_site_that_has_the_image_needs_nothing_from_outside(naru):
    first = await deployed(naru)
    whole = (Holding(first.image.digest, 1000, 1000, 100, 100),)
    await naru.platform.nodes.report(replace(GULL, images=whole))
    await naru.platform.nodes.report(TERN)
    rollout = await naru.end(await naru.apps.scale("shop", replicas=2, subject=ME))
    assert rollout.state is RolloutState.SUCCEEDED
    begun, _ = await naru.platform.nodes.distributions()
    assert begun.estimate.egress == 0
    assert begun.way is not Way.DIRECT


def having(node: NodeReport, image: str, share: float = 1.0, index: str = "sha256:" + "1" * 64) -> NodeReport:
    return replace(node, images=(Holding(image, int(1000 * share), 1000, index=index),))


async def test_the_index_that_is_said_first_is_the_only_one_for_everybody(naru):
    await naru.platform.nodes.report(GULL)
    await naru.platform.nodes.report(TERN)
    image = (await deployed(naru)).image.digest
    first, other = "sha256:" + "1" * 64, "sha256:" + "2" * 64

    orders = await naru.platform.nodes.report(having(FAR, image, index=first))
    assert [order.index for order in orders.elsewhere] == [first]
    orders = await naru.platform.nodes.report(having(TERN, image, index=other))

    assert [order.index for order in orders.images] == [first]
    assert (await naru.apps.release("shop", 1)).index_digest == first
    told = [one for one in await naru.platform.pipeline.store.journal.latest("shop") if one.kind == "index-refused"]
    assert [one.subject for one in told] == ["tern"]
    assert other[:19] in told[0].text


async def test_who_gave_another_index_is_named_once(naru):
    await naru.platform.nodes.report(GULL)
    image = (await deployed(naru)).image.digest
    refused = Refusal(image, "mole", "sha256:" + "2" * 64)
    for _ in range(2):
        await naru.platform.nodes.report(replace(GULL, refused=(refused,)))
    told = [one for one in await naru.platform.pipeline.store.journal.latest("shop") if one.kind == "index-refused"]
    assert [one.subject for one in told] == ["mole"]
    assert "gull refused it" in told[0].text


async def test_a_release_of_an_image_that_has_a_named_index_names_the_same(naru):
    await naru.platform.nodes.report(GULL)
    image = (await deployed(naru)).image.digest
    index = "sha256:" + "1" * 64
    await naru.platform.nodes.report(having(GULL, image, index=index))
    assert (await naru.end(await naru.apps.scale("shop", replicas=2, subject=ME))).state is RolloutState.SUCCEEDED
    await naru.platform.nodes.report(having(GULL, image, index=index))
    assert (await naru.apps.release("shop", 2)).index_digest == index


async def test_the_others_of_a_site_wait_for_its_seed(naru):
    whole = [replace(node, mode="unpacked") for node in (GULL, TERN)]
    for node in whole:
        await naru.platform.nodes.report(node)
    ended = await deployed(naru)
    assert "(seed) in waves of 1, 1" in distribute(ended)
    (begun,) = await naru.platform.nodes.distributions()
    assert (begun.way, [one.way for one in begun.alternatives]) == (Way.SEED, [Way.DIRECT])

    image = ended.image.digest
    gull, tern = whole
    assert [order.image for order in (await naru.platform.nodes.report(gull)).images] == [image]
    orders = await naru.platform.nodes.report(tern)
    assert (orders.images, [order.image for order in orders.elsewhere]) == ((), [image])

    await naru.platform.nodes.report(having(gull, image))
    assert [order.image for order in (await naru.platform.nodes.report(tern)).images] == [image]


async def test_waves_go_on_after_a_restart_of_the_server(naru):
    gull, tern = (replace(node, mode="unpacked") for node in (GULL, TERN))
    for node in (gull, tern):
        await naru.platform.nodes.report(node)
    image = (await deployed(naru)).image.digest

    await naru.stop()
    await naru.start("other")

    (order,) = (await naru.platform.nodes.report(gull)).images
    assert (order.image, order.way) == (image, Way.SEED)
    assert (await naru.platform.nodes.report(tern)).images == ()
    await naru.platform.nodes.report(having(gull, image))
    (order,) = (await naru.platform.nodes.report(tern)).images
    assert order.way is Way.SEED
    await naru.platform.nodes.report(having(tern, image))
    (ended,) = await naru.platform.nodes.distributions()
    assert ended.estimate is not None
    assert ended.complete is not None


async def test_servers_of_one_database_begin_a_wave_together(naru):
    gull, tern = (replace(node, mode="unpacked") for node in (GULL, TERN))
    await naru.platform.nodes.report(gull)
    await naru.platform.nodes.report(tern)
    other = naru.build("other")
    await other.prepare()
    image = (await deployed(naru)).image.digest

    assert (await other.nodes.report(tern)).images == ()
    await asyncio.gather(*(one.nodes.report(having(gull, image)) for one in (naru.platform, other)))

    for server in (naru.platform, other):
        assert [order.image for order in (await server.nodes.report(tern)).images] == [image]
    (course,) = await naru.platform.pipeline.store.nodes.courses("home")
    assert course.begun == 2


async def test_an_update_is_estimated_by_what_the_node_says_that_it_lacks(naru):
    await naru.platform.nodes.report(GULL)
    old = having(GULL, (await deployed(naru)).image.digest)
    for node in (old, HEAD):
        await naru.platform.nodes.report(node)

    async with aclosing(naru.platform.nodes.follow("home", "gull")) as following:
        updating = asyncio.ensure_future(naru.deploy("shop", "shop:2", 1))
        async with asyncio.timeout(20):
            while not (orders := await anext(following)).soon:
                pass
        (soon,) = orders.soon
        assert soon.image not in {order.image for order in orders.images}
        assert soon in (await naru.platform.nodes.report(HEAD)).soon
        share = Holding(soon.image, 950, 1000, index="sha256:" + "3" * 64)
        await naru.platform.nodes.report(replace(old, images=(*old.images, share)))
        ended = await updating

    assert ended.state is RolloutState.SUCCEEDED
    update = (await naru.platform.nodes.distributions())[0]
    assert update.rollout == ended.id
    assert update.estimate.egress == pytest.approx(0.05 * ended.image.size)


async def test_a_seed_that_dies_keeps_nobody_waiting_for_ever(naru):
    whole = [replace(node, mode="unpacked") for node in (GULL, TERN)]
    for node in whole:
        await naru.platform.nodes.report(node)
    await deployed(naru)
    naru.clock.advance(600)
    assert (await naru.platform.nodes.report(whole[1])).images


HEAD = replace(GULL, name="head", site="hall", host="10.9.0.1", authority="ab" * 32)


async def test_a_join_token_reaches_the_agent_that_signs_as_a_hash(naru):
    with pytest.raises(Unavailable, match="no agent reports that holds the authority"):
        await naru.platform.joining.invite(timedelta(hours=1), subject=ME)
    await naru.platform.nodes.report(HEAD)
    made = await naru.platform.joining.invite(timedelta(hours=1), uses=2, subject=ME)
    token = Token.parse(made.value)
    assert (token.pin.hex(), made.via) == (HEAD.authority, "10.9.0.1:7071")

    orders = await naru.platform.nodes.report(HEAD)
    assert [(one.hashed, one.uses) for one in orders.admissions] == [(token.hashed, 2)]
    assert (await naru.platform.nodes.report(GULL)).admissions == ()

    await naru.platform.nodes.report(replace(HEAD, spent=(token.hashed,)))
    assert [one.spent for one in await naru.platform.joining.tokens()] == [True]


async def test_a_join_token_that_is_revoked_or_old_lets_nobody_in(naru):
    await naru.platform.nodes.report(HEAD)
    first = await naru.platform.joining.invite(timedelta(hours=1), subject=ME)
    await naru.platform.joining.invite(timedelta(hours=2), subject=ME)
    await naru.platform.joining.revoke(first.token.id, subject=ME)
    assert len((await naru.platform.nodes.report(HEAD)).admissions) == 1
    naru.clock.advance(7201)
    assert (await naru.platform.nodes.report(HEAD)).admissions == ()
    with pytest.raises(NotFound):
        await naru.platform.joining.revoke(first.token.id, subject=ME)


async def test_two_that_claim_to_sign_let_nobody_in(naru):
    await naru.platform.nodes.report(HEAD)
    await naru.platform.nodes.report(replace(GULL, authority="cd" * 32))
    with pytest.raises(Conflict, match="gull, head"):
        await naru.platform.joining.invite(timedelta(hours=1), subject=ME)


async def test_a_removed_node_is_thrown_out_until_it_is_asked_in_again(naru):
    await naru.platform.nodes.report(HEAD)
    await naru.platform.nodes.report(GULL)
    async with aclosing(naru.platform.nodes.follow("home", "gull")) as following:
        await anext(following)
        await naru.platform.joining.remove("gull", subject=ME)
        with pytest.raises(StopAsyncIteration):
            async with asyncio.timeout(10):
                await anext(following)
    with pytest.raises(Forbidden, match="was removed"):
        await naru.platform.nodes.report(GULL)
    orders = await naru.platform.nodes.report(HEAD)
    assert [one.node for one in orders.expulsions] == ["gull"]
    assert orders.peers == ()
    with pytest.raises(NotFound):
        await naru.platform.joining.remove("gull", subject=ME)

    await naru.platform.joining.invite(timedelta(hours=1), node="gull", subject=ME)
    assert [peer.name for peer in (await naru.platform.nodes.report(GULL)).peers] == ["head"]
    # What was revoked stays so, although the node is welcome again.
    assert (await naru.platform.nodes.report(HEAD)).expulsions == orders.expulsions


@pytest.mark.parametrize(("hours", "more"), [(0, {}), (800, {}), (1, {"uses": -1}), (1, {"node": "No Name"})])
async def test_what_can_be_no_join_token_is_refused(naru, hours, more):
    await naru.platform.nodes.report(HEAD)
    with pytest.raises(Invalid):
        await naru.platform.joining.invite(timedelta(hours=hours), subject=ME, **more)
