"""The server as a process: signals, HTTP, and what is said at the end."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from naru.cli.exits import told
from naru.config import Settings
from naru.domain.errors import NaruError
from naru.log import configure
from naru.main.wiring import House, house
from naru.routing import ports

STOP_SECONDS = 3

log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Leaves signals to the program, which has more to stop than HTTP, and says when it listens."""

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


async def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the apps and the front door go on without us. Returns the exit code."""
    configure(settings.log_level)
    try:
        async with serving(settings) as (_, stopped):
            log.info("the console answers at %s", settings.url)
            await stopped.wait()
    except NaruError as error:
        print(told(error), file=sys.stderr)
        return 1
    return 0


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[House, asyncio.Event]]:
    """Run the house and its HTTP server; the event is set by SIGTERM and SIGINT."""
    ports.demand(settings.port, settings.host)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    failure: NaruError | None = None
    try:
        async with asyncio.TaskGroup() as tasks, house(settings, tasks) as built:
            server = _Server(
                uvicorn.Config(
                    built.application,
                    host=settings.host,
                    port=settings.port,
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    timeout_graceful_shutdown=STOP_SECONDS,
                )
            )
            http = tasks.create_task(server.serve())
            await server.listening.wait()
            try:
                yield built, stopped
            finally:
                server.should_exit = True
                await asyncio.wait([http])
    except* NaruError as errors:
        failure = first(errors)
    if failure:  # Python before 3.11.4 puts what is raised above into a group of its own
        raise failure


def first(errors: BaseExceptionGroup[NaruError]) -> NaruError:
    """Return the first error of a group, however deep it lies."""
    inner = errors.exceptions[0]
    return first(inner) if isinstance(inner, BaseExceptionGroup) else inner
