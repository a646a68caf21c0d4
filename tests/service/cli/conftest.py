"""A real API over real sockets, on a fake engine, and the command line in front of it."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.service.control.site import ME, Site, site
from typer.testing import CliRunner, Result

from naru.api.application import PREFIX, api
from naru.cli import app
from naru.domain.rollout import Rollout

PATIENCE = 20.0
DEPLOY = ("deploy", "shop:1", "--port", "8080", "--replicas", "2", "--proof-count", "3")


@dataclass
class Served:
    """A server in a thread of its own; `do` runs something there and returns its result."""

    url: str
    token: str
    site: Site
    loop: asyncio.AbstractEventLoop
    environ: dict[str, str]

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def tell(self, what: Callable[[], object]) -> None:
        """Call something in the server's thread."""

        async def told() -> None:
            what()

        self.do(told())

    def naru(self, *arguments: str, stdin: str | bytes | None = None, **environ: str) -> Result:
        """Run one command."""
        return CliRunner().invoke(app, list(arguments), input=stdin, env={**self.environ, **environ})


def rollout_of(result: Result) -> Rollout:
    """Return the rollout that a command ended with, printed as JSON."""
    return TypeAdapter(Rollout).validate_json(result.stdout.splitlines()[-1])


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds, which it soon must."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never held"
        time.sleep(0.01)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server that knows the command line's token."""
    with serving(tmp_path) as made:
        yield made


@pytest.fixture
def shop(served: Served) -> Served:
    """A server with the app shop deployed."""
    assert served.naru(*DEPLOY).exit_code == 0
    return served


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same for tests that only look."""
    with serving(tmp_path_factory.mktemp("shown")) as made:
        assert made.naru(*DEPLOY).exit_code == 0
        yield made


@contextmanager
def serving(home: Path) -> Iterator[Served]:
    ready = threading.Event()
    found: list[Served] = []
    failed: list[BaseException] = []
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    async def serve() -> None:
        async with site(home) as made:
            await made.start()
            _, token = await made.platform.accounts.create_token("tests", subject=ME)
            application = Starlette(routes=[Mount(PREFIX, api(made.platform))])
            server = uvicorn.Server(uvicorn.Config(application, log_config=None, timeout_graceful_shutdown=1))
            environ = {"NARU_URL": url, "NARU_TOKEN": token, "NARU_STATE": str(home), "XDG_CONFIG_HOME": str(home)}
            found.append(Served(url, token, made, asyncio.get_running_loop(), environ))
            stop.append(lambda: setattr(server, "should_exit", True))
            ready.set()
            await server.serve(sockets=[listener])

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            failed.append(error)
            ready.set()

    stop: list[Callable[[], object]] = []
    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(PATIENCE)
    try:
        if failed:
            raise failed[0]
        yield found[0]
    finally:
        for end in stop:
            end()
        thread.join(PATIENCE)
        listener.close()
    if failed:
        raise failed[0]
