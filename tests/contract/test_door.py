"""What every front door must keep, on the fake and on the real one."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from tests.contract.door_labs import DoorLab, caddy_lab, fake_lab

from naru.domain.errors import Conflict, Invalid
from naru.domain.workload import Address, Health, HttpCheck
from naru.routing.base import Route, Upstream

_LABS = {"fake": fake_lab, "caddy": caddy_lab}


@pytest.fixture(params=["fake", pytest.param("caddy", marks=pytest.mark.needs("caddy"))])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[DoorLab]:
    async with _LABS[request.param]() as opened:
        yield opened


def route(address: Address, *upstreams: str | Upstream, app: str = "shop", health: Health | None = None) -> Route:
    given = tuple(u if isinstance(u, Upstream) else Upstream(u) for u in upstreams)
    return Route(app, address, given, health or Health())


async def served(lab: DoorLab, address: Address, requests: int) -> Counter[str]:
    return Counter([(await lab.request(address)).upstream for _ in range(requests)])


async def test_a_port_leads_to_the_apps_instance(lab):
    address, instance = Address(port=lab.port()), await lab.instance()
    await lab.door.apply(route(address, instance))
    assert (await lab.request(address)).body == instance


async def test_host_names_share_a_port(lab):
    shop, blog = Address(host="shop.example.org"), Address(host="blog.example.org")
    one, two = await lab.instance(), await lab.instance()
    await asyncio.gather(lab.door.apply(route(shop, one)), lab.door.apply(route(blog, two, app="blog")))
    assert [(await lab.request(address)).body for address in (shop, blog)] == [one, two]


async def test_an_unknown_host_is_not_found(lab):
    await lab.door.apply(route(Address(host="shop.example.org"), await lab.instance()))
    assert (await lab.request(Address(host="nobody.example.org"))).status == 404


async def test_an_app_without_instances_says_so(lab):
    address = Address(port=lab.port())
    await lab.door.apply(route(address))
    reply = await lab.request(address)
    assert reply.status == 503
    assert "shop has no ready instance" in reply.body


async def test_requests_follow_the_weights(lab):
    address, one, two, none = Address(port=lab.port()), await lab.instance(), await lab.instance(), await lab.instance()
    await lab.door.apply(route(address, Upstream(one, 30), Upstream(two, 10), Upstream(none, 0)))
    counts = await served(lab, address, 80)
    assert counts[none] == 0
    assert 56 <= counts[one] <= 64
    assert counts[one] + counts[two] == 80


async def test_a_dead_instance_fails_no_request(lab):
    address, alive, dead = Address(port=lab.port()), await lab.instance(), await lab.instance()
    await lab.door.apply(route(address, alive, dead))
    await lab.kill(dead)
    assert await served(lab, address, 10) == {alive: 10}


async def test_an_instance_that_left_the_route_gets_no_new_request(lab):
    address, former, new = Address(port=lab.port()), await lab.instance(), await lab.instance()
    await lab.door.apply(route(address, former))
    await served(lab, address, 3)
    await lab.door.apply(route(address, new))
    assert await served(lab, address, 10) == {new: 10}


async def test_drain_waits_for_a_request_that_an_instance_still_works_on(lab):
    # given a request under way to an instance that leaves the route
    address, former, new = Address(port=lab.port()), await lab.instance(), await lab.instance()
    await lab.door.apply(route(address, former, health=Health(HttpCheck("/"))))
    finish = await lab.hold(address, former)
    await lab.door.apply(route(address, new))
    # when it outlasts our patience, also across further changes
    assert await lab.door.drain([former, new], patience=0.1) == {former: 1}
    await lab.door.apply(route(address, new, Upstream(former, 0)))
    await lab.door.apply(route(address, new))
    assert await lab.door.drain([former], patience=0.1) == {former: 1}
    # then it is finished nevertheless, and the drain ends with it
    draining = asyncio.create_task(lab.door.drain([former], patience=5))
    await finish()
    assert await draining == {}


async def test_drain_without_requests_returns_soon(lab):
    async with asyncio.timeout(20):
        assert await lab.door.drain(["127.0.0.1:1"], patience=60) == {}


async def test_a_taken_port_names_its_holder_and_disturbs_nobody(lab):
    # given
    address, instance, taken = Address(port=lab.port()), await lab.instance(), lab.port()
    await lab.door.apply(route(address, instance))
    holder = lab.take(taken)
    # when
    with pytest.raises(Conflict) as warning:
        await lab.door.demand("blog", Address(port=taken))
    with pytest.raises(Conflict) as refusal:
        await lab.door.apply(route(Address(port=taken), instance, app="blog"))
    # then
    for conflict in (warning.value, refusal.value):
        assert str(taken) in conflict.cause
        assert holder in conflict.cause
    assert list(await lab.door.routes()) == ["shop"]
    assert (await lab.request(address)).status == 200


async def test_two_apps_cannot_have_one_address(lab):
    address = Address(host="shop.example.org")
    await lab.door.apply(route(address))
    with pytest.raises(Conflict, match="shop already has the address"):
        await lab.door.apply(route(address, app="blog"))
    with pytest.raises(Conflict, match="shop already has the address"):
        await lab.door.demand("blog", address)


async def test_demanding_an_address_changes_nothing(lab):
    address, instance = Address(port=lab.port()), await lab.instance()
    await lab.door.apply(route(address, instance))
    for app, wanted in (("shop", address), ("shop", Address(port=lab.port())), ("blog", Address(port=lab.port()))):
        await lab.door.demand(app, wanted)
    assert await lab.door.routes() == {"shop": route(address, instance)}
    assert (await lab.request(address)).status == 200


async def test_a_route_needs_an_address(lab):
    with pytest.raises(Invalid, match="neither"):
        await lab.door.apply(route(Address()))


async def test_a_removed_app_frees_its_port(lab):
    # given
    address, instance = Address(port=lab.port()), await lab.instance()
    await lab.door.apply(route(address, instance))
    # when
    await lab.door.remove("shop")
    await lab.door.remove("shop")
    # then
    assert await lab.door.routes() == {}
    lab.take(address.port)


async def test_an_app_moves_to_another_address(lab):
    former, new, instance = Address(port=lab.port()), Address(port=lab.port()), await lab.instance()
    await lab.door.apply(route(former, instance))
    await lab.door.apply(route(new, instance))
    assert (await lab.request(new)).body == instance
    lab.take(former.port)


async def test_the_door_tells_its_routes(lab):
    wanted = route(Address(port=lab.port()), "127.0.0.1:7", Upstream("127.0.0.1:9", 3), health=Health(HttpCheck("/up")))
    await lab.door.apply(wanted)
    await lab.door.apply(wanted)
    assert await lab.door.routes() == {"shop": wanted}
