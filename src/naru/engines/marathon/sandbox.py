"""What tasks wrote, read from their sandboxes through the files API of the Mesos agents.

Mesos writes no times beside the lines: every line carries the time at which its file was written last.
The password of Marathon is not sent to Mesos, which is another host.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from naru.domain.errors import Forbidden, NotFound, Unavailable
from naru.domain.instance import LogLine
from naru.engines.marathon.answers import Agents, AgentState, File, Metrics, Task
from naru.engines.marathon.translate import instance_id

T = TypeVar("T")

STREAMS = ("stdout", "stderr")
KEEP = 1 << 20
"""Bytes at the end of each file that are read; what was written earlier stays in the sandbox."""
CHUNK = 1 << 16
_FILES = TypeAdapter(list[File])


@dataclass(slots=True)
class _Reading:
    """One file of a sandbox, how many of its bytes were read, and the beginning of a line that has not ended."""

    path: str
    offset: int
    rest: bytes = b""

    def lines(self, block: bytes) -> list[str]:
        self.offset += len(block)
        *whole, self.rest = (self.rest + block).split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def last(self) -> list[str]:
        rest, self.rest = self.rest, b""
        return [rest.decode(errors="replace")] if rest else []


class Mesos:
    """The Mesos master behind a Marathon, at `url`, and its agents."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.AsyncClient(timeout=10.0)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def metrics(self) -> Metrics:
        """Ask the master what the cluster has."""
        return self.read(Metrics.model_validate_json, await self.get(f"{self.url}/metrics/snapshot"))

    async def sandbox(self, task: Task) -> "Sandbox":
        """Find what a task wrote; raise NotFound when it is gone."""
        agent = await self._agent(task)
        state = self.read(AgentState.model_validate_json, await self.get(f"{agent}/state"))
        for framework in (*state.frameworks, *state.completed_frameworks):
            for executor in (*framework.executors, *framework.completed_executors):
                if executor.id == task.id and executor.directory:
                    return Sandbox(self, agent, executor.directory, instance_id(task.id))
        raise NotFound(f"the Mesos agent {task.host} has no sandbox of {task.id}", "Mesos removes them after a while")

    async def _agent(self, task: Task) -> str:
        answer = await self.get(f"{self.url}/slaves", slave_id=task.slave_id)
        for agent in self.read(Agents.model_validate_json, answer).slaves:
            if agent.id == task.slave_id:
                return f"{httpx.URL(self.url).scheme}://{agent.pid.rpartition('@')[2]}"
        raise NotFound(f"the Mesos agent {task.slave_id} of {task.id} is gone", "look at another instance")

    async def get(self, url: str, **query: str) -> httpx.Response:
        """Ask the master or an agent; raise Unavailable, or Forbidden, when it does not answer."""
        try:
            answer = await self._http.get(url, params=query)
        except httpx.HTTPError as error:
            raise _unreachable(url, str(error) or type(error).__name__) from error
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise Forbidden(f"Mesos does not let Naru read {_host(url)}", "allow its endpoints to be read")
        if not answer.is_success:
            raise _unreachable(url, f"HTTP {answer.status_code}")
        return answer

    def read(self, parse: Callable[[bytes], T], answer: httpx.Response) -> T:
        """Parse an answer; raise Unavailable when it is none."""
        try:
            return parse(answer.content)
        except ValidationError as error:
            raise _unreachable(str(answer.url), "it is no Mesos") from error


class Sandbox:
    """What one task wrote; every `read` goes on where the last one ended."""

    def __init__(self, mesos: Mesos, agent: str, directory: str, instance: str) -> None:
        self._mesos = mesos
        self._agent = agent
        self._directory = directory
        self._instance = instance
        self._readings: dict[str, _Reading] = {}

    async def read(self, *, to_the_end: bool) -> Sequence[LogLine]:
        """Return the lines that are new, and with `to_the_end` also one that has not ended."""
        answer = await self._mesos.get(f"{self._agent}/files/browse", path=self._directory)
        lines: list[LogLine] = []
        for file in sorted(self._mesos.read(_FILES.validate_json, answer), key=lambda one: (one.mtime, one.path)):
            stream = file.path.rpartition("/")[2]
            if stream not in STREAMS:
                continue
            reading = self._readings.setdefault(stream, _Reading(file.path, max(0, file.size - KEEP)))
            texts: list[str] = []
            while block := await self._block(reading):
                texts += reading.lines(block)
            if to_the_end:
                texts += reading.last()
            at = datetime.fromtimestamp(file.mtime, UTC)
            lines += [LogLine(self._instance, at, stream, text) for text in texts]
        return lines

    async def _block(self, reading: _Reading) -> bytes:
        """Read on; Mesos puts raw bytes into its JSON, and may cut a character in two."""
        answer = await self._mesos.get(
            f"{self._agent}/files/read", path=reading.path, offset=str(reading.offset), length=str(CHUNK)
        )
        try:
            data = json.loads(answer.content.decode(errors="surrogateescape"))["data"]
        except (ValueError, LookupError, TypeError) as error:
            raise _unreachable(str(answer.url), "it is no Mesos") from error
        return str(data).encode(errors="surrogateescape")


def _unreachable(url: str, why: str) -> Unavailable:
    return Unavailable(
        f"Mesos does not answer at {_host(url)} ({why})", "let Naru reach the Mesos master and its agents"
    )


def _host(url: str) -> str:
    where = httpx.URL(url)
    return f"{where.host}:{where.port}" if where.port else where.host
