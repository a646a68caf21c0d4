"""Small HTTP servers of an agent: on an address, or on a unix socket that only its user may open."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from naru.domain.errors import Unavailable

STOP_SECONDS = 2


class _Server(uvicorn.Server):
    """Leaves signals to the program, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


@asynccontextmanager
async def serving(application: Starlette, at: tuple[str, int] | Path) -> AsyncIterator[int]:
    """Serve until the end of the context; gives the port, which the kernel chooses for 0.

    Raises Unavailable when the address is taken.
    """
    listening = await asyncio.to_thread(_listen, at)
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await server.listening.wait()
        yield 0 if isinstance(at, Path) else int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        await asyncio.wait([running])
        listening.close()


def _listen(at: tuple[str, int] | Path) -> socket.socket:
    try:
        if not isinstance(at, Path):
            return socket.create_server(at, family=socket.AF_INET6 if ":" in at[0] else socket.AF_INET, backlog=512)
        at.parent.mkdir(parents=True, exist_ok=True)
        at.unlink(missing_ok=True)
        made = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            made.bind(str(at))
        finally:
            os.umask(before)
        made.listen(64)
        return made
    except OSError as error:
        where = at if isinstance(at, Path) else f"{at[0]}:{at[1]}"
        raise Unavailable(f"the agent cannot listen at {where}: {error.strerror}", "choose another address") from error
