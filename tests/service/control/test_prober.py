"""Test requests over real sockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from naru.control.prove import READ_BODY, SHOWN_BODY, Prober
from naru.domain.app import Endpoint
from naru.domain.proof import ProbeRequest

CLOSE = b"connection: close\r\n\r\n"


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    prober = Prober()
    yield prober
    await prober.close()


class Server:
    """Answers every request with the same bytes, and remembers what it was asked."""

    def __init__(self, answer: bytes, *, silent: bool = False) -> None:
        self.answer = answer
        self.silent = silent
        self.asked = b""

    async def __aenter__(self) -> Endpoint:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return Endpoint(f"http://shop.example.org:{self._server.sockets[0].getsockname()[1]}")

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked = await reader.readuntil(b"\r\n\r\n")
        if self.silent:
            await reader.read()
        writer.write(self.answer)
        writer.close()


async def test_a_request_goes_to_the_door_under_the_name_of_the_app(prober):
    server = Server(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n" + CLOSE + b"hello")
    async with server as endpoint:
        answer = await prober.send(endpoint, ProbeRequest("POST", "/a?b=c", {"X-Mine": "1"}, "body"))

    assert (answer.status, answer.body, answer.body_bytes, answer.problem) == (200, "hello", 5, "")
    assert ("content-type", "text/plain") in answer.headers
    assert 0 < answer.seconds < 5
    assert server.asked.startswith(b"POST /a?b=c HTTP/1.1\r\n")
    assert f"host: {endpoint.url.removeprefix('http://')}".encode() in server.asked.lower()
    assert b"x-mine: 1" in server.asked.lower()


async def test_nobody_there_is_an_answer_too(prober):
    async with Server(b"") as endpoint:
        pass

    answer = await prober.send(endpoint, ProbeRequest())

    assert answer.status == 0
    assert answer.problem.startswith("GET / was not answered")


async def test_a_silent_server_is_given_up_in_time(prober):
    async with Server(b"", silent=True) as endpoint:
        answer = await prober.send(endpoint, ProbeRequest(timeout=0.2))

    assert answer.status == 0
    assert answer.problem == "GET / was not answered within 0.2 s"
    assert 0.1 < answer.seconds < 5


@pytest.mark.parametrize("nonsense", [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"])
async def test_nonsense_is_no_answer(prober, nonsense):
    async with Server(nonsense) as endpoint:
        answer = await prober.send(endpoint, ProbeRequest())

    assert answer.status == 0
    assert answer.problem


async def test_a_huge_body_is_counted_and_cut(prober):
    size = READ_BODY + 1000
    async with Server(b"HTTP/1.1 200 OK\r\n" + CLOSE + b"x" * size) as endpoint:
        answer = await prober.send(endpoint, ProbeRequest())

    assert answer.body_bytes == size
    assert len(answer.body) == SHOWN_BODY


@pytest.mark.parametrize("kind", [b"text/plain; charset=nonsense", b"text/plain; charset=utf-8", b"\xff\xfe"])
async def test_a_body_in_a_strange_encoding_is_shown_as_well_as_can_be(prober, kind):
    async with Server(b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\n" + CLOSE + b"\xffhello") as endpoint:
        answer = await prober.send(endpoint, ProbeRequest(expect_body="hello"))

    assert answer.status == 200
    assert answer.problem == ""


async def test_a_header_in_any_script_is_sent(prober):
    server = Server(b"HTTP/1.1 200 OK\r\n" + CLOSE)
    async with server as endpoint:
        answer = await prober.send(endpoint, ProbeRequest(headers={"X-Name": "나루"}))

    assert answer.status == 200
    assert "나루".encode() in server.asked
