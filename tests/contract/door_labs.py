"""Openers for the door contract: a door, instances that answer with their address, and means to break things."""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

import httpx
from tests.contract.fake_door import FakeDoor, Reply
from tests.ports import free_port

from naru.domain.workload import Address
from naru.routing.base import Door
from naru.routing.caddy.door import CaddyDoor
from naru.routing.caddy.settings import CaddySettings


class DoorLab(Protocol):
    """A door under test."""

    door: Door

    def port(self) -> int:
        """Return a free port."""

    async def instance(self) -> str:
        """Start an instance and return its address, which is also the body of its answers."""

    async def kill(self, address: str) -> None:
        """Let the instance refuse connections from now on."""

    async def request(self, address: Address) -> Reply:
        """Send one request to an app's address."""

    async def hold(self, address: Address, instance: str) -> Callable[[], Awaitable[None]]:
        """Have a request under way at the instance; return what finishes it."""

    def take(self, port: int) -> str:
        """Let another process have the port; return how an error names it."""


class FakeLab:
    """The door in memory."""

    def __init__(self) -> None:
        self.door = FakeDoor()
        self._numbers = iter(range(20001, 30000))

    def port(self) -> int:
        return next(self._numbers)

    async def instance(self) -> str:
        return f"10.0.0.1:{next(self._numbers)}"

    async def kill(self, address: str) -> None:
        self.door.dead.add(address)

    async def request(self, address: Address) -> Reply:
        return await self.door.request(address)

    async def hold(self, address: Address, instance: str) -> Callable[[], Awaitable[None]]:
        stack = AsyncExitStack()
        stack.enter_context(self.door.under_way(instance))
        return stack.aclose

    def take(self, port: int) -> str:
        self.door.taken[port] = "nginx (pid 42)"
        return "nginx (pid 42)"


class Instance:
    """A web server that answers with its own address; `/hold` answers when it is let go."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.held = asyncio.Event()
        self.requests: list[bytes] = []
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self.address

    async def kill(self) -> None:
        self._server.close()
        for writer in tuple(self._open):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self.answer(head, reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(head)
        if head.startswith(b"GET /hold "):
            self.held.set()
            await self.let_go.wait()
        body = self.address.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


class CaddyLab:
    """Two real Caddy processes in a directory with a short name: paths of sockets are limited."""

    def __init__(self, state: Path, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.settings = CaddySettings(state, http_port=self.port(), https_port=self.port(), interface="127.0.0.1")
        self.door = CaddyDoor(self.settings)
        self.client = httpx.AsyncClient(timeout=10)
        self.instances: dict[str, Instance] = {}
        stack.push_async_callback(self.client.aclose)

    def port(self) -> int:
        return free_port()

    async def instance(self) -> str:
        return await self.start(Instance())

    async def start(self, instance: Instance) -> str:
        address = await instance.start()
        self.instances[address] = instance
        self._stack.push_async_callback(instance.kill)
        return address

    async def kill(self, address: str) -> None:
        await self.instances[address].kill()

    async def request(self, address: Address, path: str = "/") -> Reply:
        answer = await self.client.get(self.url(address) + path, headers=self.host(address))
        upstream = answer.text if answer.text in self.instances else ""
        return Reply(answer.status_code, answer.text, upstream)

    async def hold(self, address: Address, instance: str) -> Callable[[], Awaitable[None]]:
        sent = asyncio.create_task(self.request(address, "/hold"))
        held = self.instances[instance]
        async with asyncio.timeout(5):
            await held.held.wait()

        async def finish() -> None:
            held.let_go.set()
            assert (await sent).status == 200

        return finish

    def take(self, port: int) -> str:
        other = self._stack.enter_context(socket.create_server(("127.0.0.1", port)))
        assert other.getsockname()[1] == port
        return Path("/proc/self/comm").read_text().strip()

    def url(self, address: Address) -> str:
        return f"http://127.0.0.1:{address.port or self.settings.http_port}"

    def host(self, address: Address) -> dict[str, str]:
        return {"Host": address.host} if address.host else {}


async def eventually(condition: Callable[[], Awaitable[bool]], patience: float = 10.0) -> None:
    """Return when the condition holds; raise TimeoutError after `patience` seconds."""
    async with asyncio.timeout(patience):
        while not await condition():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.02)


@asynccontextmanager
async def fake_lab() -> AsyncIterator[FakeLab]:
    yield FakeLab()


@asynccontextmanager
async def caddy_lab() -> AsyncIterator[CaddyLab]:
    with tempfile.TemporaryDirectory(prefix="naru-") as home:
        async with AsyncExitStack() as stack:
            lab = CaddyLab(Path(home) / "door", stack)
            stack.push_async_callback(lab.door.close)
            stack.push_async_callback(lab.door.stop)
            await lab.door.open()
            yield lab
