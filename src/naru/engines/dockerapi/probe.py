"""Checks of running instances, performed from outside: images without a shell or curl can be checked as well."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import assert_never

from aiohttp import ClientError, ClientSession, ClientTimeout, ServerDisconnectedError, TCPConnector

from naru.domain.errors import NaruError
from naru.domain.workload import CommandCheck, Health, HttpCheck, TcpCheck
from naru.engines.dockerapi.health import Course, after, begin, pause
from naru.engines.dockerapi.sockets import explain, listeners_of
from naru.engines.dockerapi.translate import command_failure

_NO_ANSWER = 0.2
"""Seconds in which a forwarder that accepted a connection in vain hangs up."""


@dataclass(frozen=True, slots=True)
class Patient:
    """A running instance to be checked at `host:port`; `pid` and `container` find its process on this machine.

    `forwarded` says that something else accepts connections on its behalf.
    """

    id: str
    app: str
    container: str
    pid: int
    host: str
    port: int
    inner_port: int
    forwarded: bool
    health: Health


Run = Callable[[str, tuple[str, ...]], Awaitable[tuple[int, bytes]]]
"""Runs a command inside an instance: its exit code and what it said."""


class Prober:
    """Checks every instance that it was told of, each in a task of its own, until told otherwise."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        changed: Callable[[str, str], None],
        run: Run,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tasks = tasks
        self._changed = changed
        self._run = run
        self._clock = clock
        self._rounds: dict[str, tuple[Patient, asyncio.Task[None]]] = {}
        self._courses: dict[str, Course] = {}
        self._session: ClientSession | None = None

    def course(self, instance: str) -> Course | None:
        """Say what the checks have said of an instance."""
        return self._courses.get(instance)

    def follow(self, patient: Patient) -> None:
        """Check an instance from now on; one that is checked already goes on as before."""
        if (known := self._rounds.get(patient.id)) and known[0] == patient:
            return
        self.forget(patient.id)
        self._courses[patient.id] = begin(self._clock())
        task = self._tasks.create_task(self._visit(patient), name=f"checks of {patient.id}")
        self._rounds[patient.id] = (patient, task)

    def forget(self, instance: str) -> None:
        """Check an instance no more."""
        if known := self._rounds.pop(instance, None):
            known[1].cancel()
        self._courses.pop(instance, None)

    async def close(self) -> None:
        """Check nothing any more."""
        tasks = [task for _, task in self._rounds.values()]
        for instance in list(self._rounds):
            self.forget(instance)
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session:
            await self._session.close()

    async def _visit(self, patient: Patient) -> None:
        while True:
            failure = await self._check(patient)
            now = self._clock()
            before = self._courses[patient.id]
            course = self._courses[patient.id] = after(before, patient.health, failure, now)
            if course.state is not before.state:
                self._changed(patient.app, f"{patient.id} is {course.state}")
            await asyncio.sleep(pause(course, patient.health, now))

    async def _check(self, patient: Patient) -> str:
        """Perform the check once; return why it failed, empty when it passed."""
        where = f"{patient.host}:{patient.port}"
        try:
            async with asyncio.timeout(patient.health.timeout):
                match patient.health.check:
                    case HttpCheck(path):
                        return await self._get(path, where)
                    case TcpCheck():
                        await _connect(patient)
                        return ""
                    case CommandCheck(command):
                        exit_code, said = await self._run(patient.id, command)
                        return command_failure(command, exit_code, said.decode(errors="replace")) if exit_code else ""
                    case _ as never:
                        assert_never(never)
        except TimeoutError:
            return f"{_named(patient, where)} did not answer within {patient.health.timeout:g} s"
        except NaruError as error:
            return error.cause
        except (ClientError, OSError) as error:
            return _refused(patient) or f"{_named(patient, where)} failed: {error}"

    async def _get(self, path: str, where: str) -> str:
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(limit=0, force_close=True), timeout=ClientTimeout(), auto_decompress=False
            )
        async with self._session.get(f"http://{where}{path}", allow_redirects=False) as answer:
            return "" if 200 <= answer.status < 400 else f"GET {path} on {where} answered {answer.status}"


async def _connect(patient: Patient) -> None:
    reader, writer = await asyncio.open_connection(patient.host, patient.port)
    try:
        if patient.forwarded:
            try:
                async with asyncio.timeout(_NO_ANSWER):
                    if not await reader.read(1):
                        raise ServerDisconnectedError("the connection was closed at once")
            except TimeoutError:
                pass
    finally:
        writer.close()


def _named(patient: Patient, where: str) -> str:
    match patient.health.check:
        case HttpCheck(path):
            return f"GET {path} on {where}"
        case TcpCheck():
            return f"a connection to {where}"
        case CommandCheck(command):
            return " ".join(command)
        case _ as never:
            assert_never(never)


def _refused(patient: Patient) -> str:
    found = listeners_of(patient.pid, patient.container)
    return "" if found is None else explain(patient.inner_port, found)
