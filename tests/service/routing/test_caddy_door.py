"""What only the real door can show: certificates, streams, and that neither changes nor deaths are noticed."""

import asyncio
import json
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import websockets
from tests.contract.door_labs import CaddyLab, Instance, caddy_lab, eventually

from naru.domain.errors import Conflict, Unavailable
from naru.domain.workload import Address, Health, HttpCheck, Tls
from naru.routing.base import Route, Upstream
from naru.routing.caddy import translate
from naru.routing.caddy.door import CaddyDoor
from naru.routing.caddy.process import Caddy

pytestmark = pytest.mark.needs("caddy")


@pytest.fixture
async def lab() -> AsyncIterator[CaddyLab]:
    async with caddy_lab() as opened:
        yield opened


@pytest.fixture
async def successor(lab: CaddyLab) -> AsyncIterator[CaddyDoor]:
    """Another Naru on the same state directory, after the first one has gone."""
    door = CaddyDoor(lab.settings)
    yield door
    await door.close()


def route(address: Address, *instances: str, app: str = "shop", health: Health | None = None) -> Route:
    return Route(app, address, tuple(map(Upstream, instances)), health or Health())


async def test_a_certificate_of_the_internal_authority_is_verified_with_its_root(lab):
    # given
    instance = await lab.instance()
    own_port, shared = Address(port=lab.port(), tls=Tls.INTERNAL), Address(host="shop.example.org", tls=Tls.INTERNAL)
    await lab.door.apply(route(own_port, instance))
    await lab.door.apply(route(shared, instance, app="blog"))
    # when
    trust = ssl.create_default_context(cafile=lab.door.root_certificate)
    async with httpx.AsyncClient(verify=trust) as client:
        by_address = await client.get(lab.door.endpoint(own_port).url)
        by_name = await client.get(
            f"https://127.0.0.1:{lab.settings.https_port}/",
            headers={"Host": shared.host},
            extensions={"sni_hostname": shared.host},
        )
    # then
    assert (by_address.text, by_name.text) == (instance, instance)


async def test_only_hosts_with_tls_are_redirected_to_it(lab):
    secure, plain = Address(host="shop.example.org", tls=Tls.INTERNAL), Address(host="blog.example.org")
    instance = await lab.instance()
    await asyncio.gather(lab.door.apply(route(secure, instance)), lab.door.apply(route(plain, instance, app="blog")))
    answer = await lab.client.get(lab.url(secure) + "/cart?a=1", headers=lab.host(secure))
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"https://shop.example.org:{lab.settings.https_port}/cart?a=1"
    assert (await lab.request(plain)).body == instance


async def test_an_instance_is_told_who_asks(lab):
    address, instance = Address(port=lab.port()), await lab.instance()
    await lab.door.apply(route(address, instance))
    await lab.client.get(lab.url(address), headers={"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "gopher"})
    head = lab.instances[instance].requests[-1].decode().lower()
    assert "x-forwarded-for: 127.0.0.1\r\n" in head
    assert "x-forwarded-proto: http\r\n" in head
    assert f"x-forwarded-host: 127.0.0.1:{address.port}\r\n" in head
    assert f"host: 127.0.0.1:{address.port}\r\n" in head


async def test_an_answers_server_header_is_the_instances_alone(lab):
    address, instance = Address(port=lab.port()), await lab.instance()
    await lab.door.apply(route(address, instance))
    assert "Server" not in (await lab.client.get(lab.url(address))).headers


class Streaming(Instance):
    """Answers with an endless stream whose second part comes only when it is let go; or swallows a body."""

    async def answer(self, head, reader, writer):
        if head.startswith(b"GET"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            writer.write(b"9\r\ndata: 1\n\n\r\n")
            await writer.drain()
            await self.let_go.wait()
            writer.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")
            return
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        for _ in range(length // 65536):
            await reader.readexactly(65536)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntaken")


async def test_a_stream_arrives_as_it_is_written_and_outlives_a_change_of_routes(lab):
    # given
    address, streaming = Address(port=lab.port()), Streaming()
    await lab.door.apply(route(address, await lab.start(streaming)))
    async with lab.client.stream("GET", lab.url(address)) as answer:
        parts = answer.aiter_bytes()
        # when
        first = await anext(parts)
        await lab.door.apply(route(address, await lab.instance()))
        streaming.let_go.set()
        # then
        assert (first, await anext(parts)) == (b"data: 1\n\n", b"data: 2\n\n")


async def test_a_large_upload_passes(lab):
    address = Address(port=lab.port())
    await lab.door.apply(route(address, await lab.start(Streaming())))
    answer = await lab.client.put(lab.url(address), content=bytes(64 * 1024 * 1024))
    assert answer.text == "taken"


async def test_web_sockets_pass(lab):
    async def echo(connection):
        async for message in connection:
            await connection.send(message)

    address = Address(port=lab.port())
    async with websockets.serve(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        await lab.door.apply(route(address, f"127.0.0.1:{port}"))
        async with websockets.connect(f"ws://127.0.0.1:{address.port}/") as client:
            await client.send("hello")
            assert await client.recv() == "hello"


async def test_an_instance_that_fails_its_check_gets_no_requests(lab):
    # given
    class Sick(Instance):
        async def answer(self, head, reader, writer):
            body = b"well" if b"/health" not in head else b"sick"
            status = b"200 OK" if body == b"well" else b"500 Sick"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 4\r\n\r\n" + body)

    address, healthy = Address(port=lab.port()), await lab.instance()
    health = Health(HttpCheck("/health"), interval=0.1, timeout=1)
    # when
    await lab.door.apply(route(address, healthy, await lab.start(Sick()), health=health))

    # then
    async def only_the_healthy_one_answers() -> bool:
        return [(await lab.request(address)).body for _ in range(4)] == [healthy] * 4

    await eventually(only_the_healthy_one_answers)


async def test_a_request_that_waits_for_an_instance_is_served_by_the_next_route(lab):
    # given a dead instance and a request that waits
    address, dead = Address(port=lab.port()), await lab.instance()
    await lab.door.apply(route(address, dead))
    await lab.kill(dead)
    waiting = asyncio.create_task(lab.request(address))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    # when
    alive = await lab.instance()
    await lab.door.apply(route(address, alive))
    # then
    assert (await waiting).body == alive


async def test_a_request_that_breaks_instances_is_soon_given_up(lab):
    class Breaking(Instance):
        async def answer(self, head, reader, writer):
            self.requests.append(head)
            writer.transport.abort()

    address, breaking = Address(port=lab.port()), [Breaking() for _ in range(3)]
    await lab.door.apply(route(address, *[await lab.start(each) for each in breaking]))
    reply = await lab.request(address)
    assert reply.status == 502
    assert reply.body == "shop does not answer.\n"
    assert sum(len(each.requests) for each in breaking) <= 24


@pytest.fixture
async def load(lab, tmp_path) -> Callable[[Address], Awaitable[asyncio.subprocess.Process]]:
    """Send 200 requests per second for three seconds, on ten connections that stay open."""
    paced = tmp_path / "paced.lua"
    paced.write_text("function delay() return 50 end")

    async def start(address: Address) -> asyncio.subprocess.Process:
        command = ["wrk", "-t1", "-c10", "-d3s", "-s", str(paced), lab.url(address) + "/"]
        return await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)

    return start


def assert_nothing_failed(report: bytes) -> None:
    text = report.decode()
    assert "Socket errors" not in text, text
    assert "Non-2xx" not in text, text
    assert int(text.split(" requests in ")[0].split()[-1]) > 60, text


@pytest.mark.needs("wrk")
async def test_no_request_fails_while_the_route_changes_all_the_time(lab, load):
    # given
    address, one, two = Address(port=lab.port()), await lab.instance(), await lab.instance()
    await lab.door.apply(route(address, one))
    # when
    reading, changes = asyncio.create_task((await load(address)).communicate()), 0
    while not reading.done():
        await lab.door.apply(route(address, *[(one,), (two,), (one, two)][changes % 3]))
        changes += 1
        await asyncio.sleep(0.05)
    # then
    assert changes > 5
    assert_nothing_failed((await reading)[0])


@pytest.mark.needs("wrk")
async def test_no_request_fails_when_instances_are_killed_under_load(lab, load):
    # given
    address, instances = Address(port=lab.port()), [await lab.instance() for _ in range(4)]
    await lab.door.apply(route(address, *instances))
    # when
    reading = asyncio.create_task((await load(address)).communicate())
    for killed in range(3):
        await asyncio.sleep(0.5)
        await lab.kill(instances[killed])
        await lab.door.apply(route(address, *instances[killed + 1 :]))
    # then
    assert_nothing_failed((await reading)[0])


@pytest.mark.parametrize("name", ["edge", "switch"])
async def test_a_killed_process_returns_with_the_same_routes(lab, name):
    # given
    address, instance = Address(port=lab.port()), await lab.instance()
    await lab.door.apply(route(address, instance))
    keeping = asyncio.create_task(lab.door.keep())
    killed = pid(lab, name)
    # when
    os.kill(killed, signal.SIGKILL)

    # then
    async def back() -> bool:
        return pid(lab, name) not in (0, killed) and await answers(lab, address)

    await eventually(back)
    assert (await lab.request(address)).body == instance
    keeping.cancel()


async def test_requests_wait_while_the_switch_is_restarted(lab):
    address, instance = Address(port=lab.port()), await lab.instance()
    await lab.door.apply(route(address, instance))
    keeping = asyncio.create_task(lab.door.keep())
    os.kill(pid(lab, "switch"), signal.SIGKILL)
    assert (await lab.request(address)).body == instance
    keeping.cancel()


async def test_the_next_naru_finds_the_running_processes_and_restarts_nothing(lab, successor):
    # given a request under way when the first Naru goes
    address, former, new = Address(port=lab.port()), await lab.instance(), await lab.instance()
    wanted = route(address, new)
    await lab.door.apply(route(address, former))
    finish = await lab.hold(address, former)
    await lab.door.apply(wanted)
    pids = pid(lab, "edge"), pid(lab, "switch")
    # when
    await lab.door.close()
    await successor.open()
    # then
    assert (pid(lab, "edge"), pid(lab, "switch")) == pids
    assert await successor.routes() == {"shop": wanted}
    assert await successor.drain([former], patience=0.1) == {former: 1}
    await finish()


async def test_the_last_routes_are_served_again_after_both_were_stopped(lab, successor):
    address, instance = Address(port=lab.port()), await lab.instance()
    await lab.door.apply(route(address, instance))
    await lab.door.stop()
    assert pid(lab, "edge") == pid(lab, "switch") == 0
    await successor.open()
    assert (await lab.request(address)).body == instance


async def test_a_port_lost_to_another_program_takes_down_its_own_app_alone(lab, successor):
    # given
    lost, kept, instance = Address(port=lab.port()), Address(port=lab.port()), await lab.instance()
    await lab.door.apply(route(lost, instance, app="lost"))
    await lab.door.apply(route(kept, instance, app="kept"))
    await lab.door.stop()
    lab.take(lost.port)
    # when
    await successor.open()
    # then
    assert (await lab.request(kept)).body == instance
    with pytest.raises(Conflict, match=str(lost.port)):
        await successor.apply(route(lost, instance, app="lost"))


async def test_changes_at_the_same_time_share_reloads(lab, monkeypatch):
    # given
    loads = []
    load = Caddy._load

    async def counted(self, config):
        loads.append(self.name)
        await load(self, config)

    monkeypatch.setattr(Caddy, "_load", counted)
    instance = await lab.instance()
    routes = [route(Address(host=f"app{n}.example.org"), instance, app=f"app{n}") for n in range(50)]
    # when
    await asyncio.gather(*map(lab.door.apply, routes))
    first = len(loads)
    await asyncio.gather(*map(lab.door.apply, routes))
    # then
    assert first <= 4
    assert len(loads) == first
    assert all([(await lab.request(each.address)).body == instance for each in routes])


async def test_a_refused_route_leaves_the_others_in_force(lab):
    # given
    address, instance = Address(port=lab.port()), await lab.instance()
    unreadable = Health(HttpCheck("/%zz"))
    good = route(address, instance)
    bad = route(Address(port=lab.port()), instance, "127.0.0.1:1", app="bad", health=unreadable)
    # when
    outcomes = await asyncio.gather(lab.door.apply(good), lab.door.apply(bad), return_exceptions=True)
    # then
    assert outcomes[0] is None
    assert "Caddy refuses" in str(outcomes[1])
    assert (await lab.request(address)).body == instance
    assert list(await lab.door.routes()) == ["shop"]


async def test_without_caddy_the_error_names_the_mend(lab):
    door = CaddyDoor(replace(lab.settings, state=lab.settings.state / "other", program="no-such-caddy"))
    with pytest.raises(Unavailable, match="apt-get install caddy"):
        await door.open()
    await door.close()


async def test_nothing_is_readable_for_others_or_written_elsewhere(lab):
    await lab.door.apply(route(Address(port=lab.port(), tls=Tls.INTERNAL), await lab.instance()))
    assert lab.settings.state.stat().st_mode & 0o777 == 0o700
    keys = [*lab.settings.state.rglob("*.key")]
    assert keys
    assert all(key.stat().st_mode & 0o077 == 0 for key in keys)


def test_caddy_accepts_a_public_authoritys_certificates(tmp_path, lab):
    settings = replace(lab.settings, acme_directory="https://ca.example.org/directory", acme_email="a@example.org")
    public = Route("shop", Address(host="shop.example.org", tls=Tls.ACME), (), Health())
    (tmp_path / "edge.json").write_text(json.dumps(translate.edge_config({"shop": public}, settings)))
    program = shutil.which("caddy") or "caddy"
    checked = subprocess.run(
        [program, "validate", "--config", "edge.json"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr


async def answers(lab: CaddyLab, address: Address) -> bool:
    try:
        return (await lab.request(address)).status == 200
    except httpx.TransportError:
        return False


def pid(lab: CaddyLab, name: str) -> int:
    """The id of a process of the door by its socket, as an operator's `ss -lxp` would tell."""
    return Caddy(name, Path(lab.settings.state), lab.settings.program).pid
