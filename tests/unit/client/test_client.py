"""The client against a server in memory: retries, keys, pages and streams that break off."""

import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO

import httpx
import pytest

from naru.client import Client, connect
from naru.client.transport import Transport, reconnecting
from naru.client.wire import document
from naru.domain.app import Event
from naru.domain.errors import Conflict, Invalid, Stale, Unavailable
from naru.domain.image import Image, Origin, Platform
from naru.domain.instance import LogLine
from naru.domain.rollout import Kind, Rollout, RolloutState
from naru.domain.workload import Workload

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROLLOUT = Rollout("shop-1", "shop", Kind.DEPLOY, Workload("shop", "nginx", 80, 1), RolloutState.RUNNING, "admin", NOW)
ENDED = replace(ROLLOUT, state=RolloutState.SUCCEEDED)
IMAGE = Image("shop:1", "sha256:" + "a" * 64, "sha256:" + "b" * 64, Platform(), Origin.STORED, 3)

Handler = Callable[[httpx.Request], httpx.Response]


class Server:
    """Answers each request with the next of its answers and keeps what was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def client_of(server: Server) -> Client:
    http = httpx.AsyncClient(base_url="http://naru/api/v1/", transport=httpx.MockTransport(server))
    return Client(Transport(http, waits=(0.2, 1.0), sleep=server.sleep, new_key=iter("abcdef").__next__))


def ok(value: object) -> httpx.Response:
    return httpx.Response(200, content=document(value))


def refused(status: int, retry_after: int | None = None) -> httpx.Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return httpx.Response(status, json={"detail": "cause", "mend": "mend"}, headers=headers)


class Broken(httpx.AsyncByteStream):
    """A body that ends with a broken connection."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        raise httpx.ReadError("connection reset")


def sse(name: str, value: object, number: int | None = None) -> bytes:
    told = b"" if number is None else f"id: {number}\n".encode()
    return told + f"event: {name}\ndata: ".encode() + document(value) + b"\n\n"


END = b"event: end\ndata: {}\n\n"


async def test_a_write_carries_a_key_a_version_and_a_domain_value():
    server = Server(ok(ROLLOUT))
    rollout = await client_of(server).apps.deploy(ROLLOUT.workload, if_version=3)
    request = server.asked[0]
    assert rollout == ROLLOUT
    assert (request.method, request.url.path) == ("PUT", "/api/v1/apps/shop")
    assert request.headers["Idempotency-Key"] == "a"
    assert request.headers["If-Match"] == '"3"'
    assert json.loads(request.content)["strategy"]["kind"] == "rolling"


async def test_a_write_whose_answer_was_lost_is_sent_again_with_the_same_key():
    server = Server(httpx.ReadError("reset"), httpx.ConnectError("refused"), ok(ROLLOUT))
    assert await client_of(server).apps.scale("shop", replicas=2) == ROLLOUT
    assert {request.headers["Idempotency-Key"] for request in server.asked} == {"a"}
    assert server.slept == [0.2, 1.0]


async def test_a_server_that_is_not_there_is_reported_at_once():
    server = Server(httpx.ConnectError("refused"))
    with pytest.raises(Unavailable) as raised:
        await client_of(server).apps.status("shop")
    assert "http://naru does not answer" in raised.value.cause
    assert "naru serve" in raised.value.mend
    assert server.slept == []


async def test_a_server_that_speaks_no_tls_is_named_as_such():
    error = httpx.ConnectError("refused")
    error.__cause__ = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)")
    with pytest.raises(Unavailable, match="http://naru speaks no TLS"):
        await client_of(Server(error)).apps.status("shop")


async def test_a_busy_server_is_asked_again_when_it_asks_for_little_patience():
    server = Server(refused(503, retry_after=2), ok(ROLLOUT))
    assert await client_of(server).apps.rollout("shop-1") == ROLLOUT
    assert server.slept == [2.0]


async def test_a_server_that_is_busy_for_long_is_left_to_the_caller():
    server = Server(refused(503, retry_after=60))
    with pytest.raises(Unavailable) as raised:
        await client_of(server).apps.rollout("shop-1")
    assert raised.value.retry_after == 60
    assert len(server.asked) == 1


@pytest.mark.parametrize(("status", "kind"), [(409, Conflict), (412, Stale)])
async def test_a_refusal_is_never_repeated(status, kind):
    server = Server(refused(status))
    with pytest.raises(kind):
        await client_of(server).apps.update("shop", image="nginx:2")
    assert len(server.asked) == 1


async def test_an_answer_that_is_not_ours_is_invalid_and_not_a_crash():
    for body in (b"<html>", b"{}", document(replace(ROLLOUT)).replace(b"running", b"dreaming")):
        with pytest.raises(Invalid) as raised:
            await client_of(Server(httpx.Response(200, content=body))).apps.rollout("shop-1")
        assert "not understood" in raised.value.cause


async def test_fields_of_a_newer_server_are_left_out():
    body = json.loads(document(ROLLOUT)) | {"mood": "good"}
    assert await client_of(Server(httpx.Response(200, json=body))).apps.rollout("shop-1") == ROLLOUT


async def test_a_list_is_read_page_after_page_up_to_the_limit():
    pages = [{"items": [ROLLOUT, ROLLOUT], "next": "c1"}, {"items": [ROLLOUT, ENDED], "next": "c2"}]
    server = Server(*map(ok, pages))
    found = [rollout async for rollout in client_of(server).apps.rollouts("shop", limit=3)]
    assert found == [ROLLOUT, ROLLOUT, ROLLOUT]
    assert [dict(request.url.params) for request in server.asked] == [
        {"app": "shop", "limit": "3"},
        {"app": "shop", "limit": "3", "before": "c1"},
    ]


async def test_names_cannot_reach_another_path():
    server = Server(ok(ROLLOUT))
    await client_of(server).apps.rollout("../tokens?x=1#y")
    assert server.asked[0].url.raw_path == b"/api/v1/rollouts/..%2Ftokens%3Fx%3D1%23y"


async def test_a_rollout_is_followed_through_a_lost_connection_to_its_end():
    server = Server(
        httpx.Response(200, stream=Broken(sse("rollout", ROLLOUT), b"event: rol")),
        httpx.ConnectError("refused"),
        httpx.Response(200, content=sse("rollout", ENDED) + END),
    )
    client = client_of(server)
    assert [rollout.state async for rollout in client.apps.follow("shop-1")] == [ROLLOUT.state, ENDED.state]


async def test_events_are_resumed_after_the_last_one():
    before, first, second = (Event(n, NOW, "shop", "deploy", "admin", "text") for n in (3, 4, 5))
    server = Server(
        ok({"items": [before]}),
        httpx.Response(200, stream=Broken(sse("event", first, 4))),
        httpx.Response(200, content=sse("event", second, 5)),
        *[httpx.ConnectError("refused")] * 20,
    )
    stream = client_of(server).apps.follow_events("shop")
    assert [await anext(stream), await anext(stream)] == [first, second]
    await stream.aclose()
    assert [request.headers.get("Last-Event-ID") for request in server.asked] == [None, "3", "4"]


async def test_logs_that_broke_off_lose_no_line_and_repeat_none():
    one, two, three = (LogLine("i", NOW + timedelta(seconds=n), "stdout", str(n)) for n in (1, 2, 3))
    server = Server(
        httpx.Response(200, stream=Broken(sse("line", one), sse("line", two))),
        httpx.Response(200, content=sse("line", two) + sse("line", three) + END),
    )
    stream = client_of(server).apps.logs("shop", follow=True, tail=5)
    assert [line async for line in stream] == [one, two, three]
    assert server.asked[0].url.params["tail"] == "5"
    assert server.asked[1].url.params["since"] == two.at.replace(second=0).isoformat()
    assert "tail" not in server.asked[1].url.params


async def test_an_error_that_a_stream_tells_is_raised_as_one():
    told = sse("error", {"detail": "the engine does not answer", "mend": "start it"})
    server = Server(httpx.Response(200, content=told))
    with pytest.raises(Unavailable) as raised:
        await anext(client_of(server).apps.logs("shop"))
    assert (raised.value.cause, raised.value.mend) == ("the engine does not answer", "start it")


async def test_a_token_is_never_asked_for_twice():
    server = Server(httpx.ReadError("reset"), ok({}))
    with pytest.raises(Unavailable):
        await client_of(server).accounts.create_token("ci")
    assert len(server.asked) == 1


async def test_a_stream_that_never_began_is_given_up_at_once():
    attempts = 0

    async def connecting() -> AsyncIterator[int]:
        nonlocal attempts
        attempts += 1
        raise Unavailable("silent")
        yield 0

    with pytest.raises(Unavailable):
        await anext(reconnecting(connecting))
    assert attempts == 1


async def test_a_server_that_stays_silent_is_given_up_after_the_last_wait():
    slept: list[float] = []
    connections = iter([(1, 2), (), (3,), (), (), ()])

    async def connecting() -> AsyncIterator[int]:
        for item in next(connections):
            yield item
        raise Unavailable("silent")

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    stream = reconnecting(connecting, waits=(1, 2), sleep=sleep)
    assert [await anext(stream) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(Unavailable):
        await anext(stream)
    assert slept == [1, 2, 1, 2]


async def test_a_quiet_stream_is_taken_up_again_too():
    happened = Event(1, NOW, "shop", "deploy", "admin", "text")
    server = Server(
        *(httpx.Response(200, stream=Broken(b": open\n\n")) for _ in range(20)),
        httpx.Response(200, content=sse("event", happened, 1)),
    )
    stream = client_of(server).apps.follow_events(after=0)
    assert await anext(stream) == happened
    await stream.aclose()
    assert max(server.slept) <= 4


async def test_an_archive_is_sent_in_pieces_and_its_progress_told():
    async def handler(request: httpx.Request) -> httpx.Response:
        assert "Content-Length" not in request.headers
        assert await request.aread() == b"x" * 3_000_000
        return httpx.Response(201, content=document({"items": [IMAGE]}))

    http = httpx.AsyncClient(base_url="http://naru/api/v1/", transport=httpx.MockTransport(handler))
    told: list[int] = []
    assert await Client(Transport(http)).images.load(BytesIO(b"x" * 3_000_000), told=told.append) == (IMAGE,)
    assert told == [1 << 20, 2 << 20, 3_000_000]


async def test_the_bytes_of_a_command_survive_json():
    server = Server(ok({"exit_code": 3, "stdout": "__4=", "stderr": "//4="}))
    result = await client_of(server).apps.execute("shop", "i-1", ["cat"], stdin=b"\xff")
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"\xff\xfe", b"\xff\xfe")
    assert json.loads(server.asked[0].content) == {"command": ["cat"], "stdin": "/w=="}


@pytest.mark.parametrize("url", ["", "naru", "ftp://naru", "http://", "http://[::1"])
async def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(Invalid):
        async with connect(url):
            pass
