"""The API of a whole platform on a real socket."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.service.control.site import ME, Site, site

from naru.api.application import PREFIX, api


class Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """Leave signals to the tests."""


@pytest.fixture
async def naru(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as made:
        await made.start()
        yield made


@pytest.fixture
async def url(naru: Site) -> AsyncIterator[str]:
    """Where the API answers."""
    listening = socket.create_server(("127.0.0.1", 0))
    application = Starlette(routes=[Mount(PREFIX, api(naru.platform))])
    config = uvicorn.Config(application, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = Server(config)
    serving = asyncio.create_task(server.serve([listening]))
    while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.005)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}{PREFIX}"
    server.should_exit = True
    await serving
    listening.close()


@pytest.fixture
async def guest(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that nobody knows."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture
async def token(naru: Site) -> str:
    """The value of an API token."""
    return (await naru.platform.accounts.create_token("tests", subject=ME))[1]


@pytest.fixture
async def client(url: str, token: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a bearer token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20, headers=headers) as client:
        yield client


@pytest.fixture
async def browser(naru: Site, url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a session cookie."""
    code = await naru.platform.accounts.login_link()
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
        (await client.post("/session", json={"code": code})).raise_for_status()
        yield client
