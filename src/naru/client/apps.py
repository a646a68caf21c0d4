"""Apps over HTTP: deploy, change and watch them."""

from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from naru.client import wire
from naru.client.transport import Transport
from naru.domain.app import Event
from naru.domain.instance import ExecResult, Instance, LogLine, Usage
from naru.domain.proof import Answer, ProbeRequest
from naru.domain.release import Release
from naru.domain.rollout import Rollout
from naru.domain.status import AppStatus
from naru.domain.workload import Workload

EXEC_SECONDS = 3600.0
"""How long a command inside an instance may run before its answer is given up."""

_OVERLAP = timedelta(seconds=2)
"""How far before the last log line a broken stream is taken up again, as instances write out of step."""


@dataclass(frozen=True, slots=True)
class _Change:
    image: str | None = None
    replicas: int | None = None


@dataclass(frozen=True, slots=True)
class _Rollback:
    release: int | None


@dataclass(frozen=True, slots=True)
class _Move:
    to: str
    copy_volumes: bool


@dataclass(frozen=True, slots=True)
class _Command:
    command: tuple[str, ...]
    stdin: str


class Apps:
    """The client's side of apps, their releases, rollouts, instances and events.

    Every method raises the kinds of `naru.domain.errors` that the server names, and Unavailable when it does not
    answer. `if_version` makes a write happen only while the app still has that version; Stale is raised otherwise.
    """

    def __init__(self, transport: Transport) -> None:
        self._http = transport

    async def deploy(self, workload: Workload, *, if_version: int | None = None) -> Rollout:
        """Create the app, or make a new release of it."""
        return await self._http.write("PUT", _app(workload.app), Rollout, workload, if_version=if_version)

    async def update(self, app: str, *, image: str, if_version: int | None = None) -> Rollout:
        """Make a release that differs from the live one by its image."""
        return await self._http.write("PATCH", _app(app), Rollout, _Change(image=image), if_version=if_version)

    async def scale(self, app: str, *, replicas: int, if_version: int | None = None) -> Rollout:
        """Run the live release with another number of replicas."""
        return await self._http.write("PATCH", _app(app), Rollout, _Change(replicas=replicas), if_version=if_version)

    async def roll_back(self, app: str, *, release: int | None = None, if_version: int | None = None) -> Rollout:
        """Go back to an earlier release; None stands for the one before the live one."""
        path = f"{_app(app)}/rollback"
        return await self._http.write("POST", path, Rollout, _Rollback(release), if_version=if_version)

    async def move(
        self, app: str, *, to: str = "", copy_volumes: bool = False, if_version: int | None = None
    ) -> Rollout:
        """Run the app on another target, the best other one when none is named.

        One with volumes moves only with `copy_volumes`: it is stopped while they are copied.
        """
        ask = _Move(to, copy_volumes)
        return await self._http.write("POST", f"{_app(app)}/move", Rollout, ask, if_version=if_version)

    async def remove(self, app: str, *, volumes: bool = False, if_version: int | None = None) -> Rollout:
        """Stop and remove the app, and its volumes if asked."""
        return await self._http.write("DELETE", _app(app), Rollout, query={"volumes": volumes}, if_version=if_version)

    async def cancel(self, rollout: str) -> Rollout:
        """Ask a rollout to stop and to put back what was before."""
        return await self._http.write("POST", f"{_rollout(rollout)}/cancel", Rollout)

    async def status(self, app: str) -> AppStatus:
        """Return one app as it is now."""
        return await self._http.get(_app(app), AppStatus)

    def statuses(self, *, limit: int | None = None) -> AsyncIterator[AppStatus]:
        """Yield the apps by name."""
        return self._http.pages("apps", wire.Page[AppStatus], cursor="after", limit=limit)

    async def release(self, app: str, number: int) -> Release:
        """Return one release."""
        return await self._http.get(f"{_app(app)}/releases/{number}", Release)

    def releases(self, app: str, *, limit: int | None = None) -> AsyncIterator[Release]:
        """Yield the releases of an app, newest first."""
        return self._http.pages(f"{_app(app)}/releases", wire.Page[Release], cursor="before", limit=limit)

    async def rollout(self, rollout: str) -> Rollout:
        """Return one rollout as it is now."""
        return await self._http.get(_rollout(rollout), Rollout)

    def rollouts(self, app: str = "", *, limit: int | None = None) -> AsyncIterator[Rollout]:
        """Yield the rollouts of an app, or of all, newest first."""
        return self._http.pages("rollouts", wire.Page[Rollout], cursor="before", query={"app": app}, limit=limit)

    async def instances(self, app: str) -> Sequence[Instance]:
        """Return the instances of an app as the engine sees them."""
        return (await self._http.get(f"{_app(app)}/instances", wire.Page[Instance])).items

    async def execute(self, app: str, instance: str, command: Sequence[str], *, stdin: bytes = b"") -> ExecResult:
        """Run a command inside an instance and return what it left behind."""
        path = f"{_app(app)}/instances/{quote(instance, safe='')}/exec"
        body = _Command(tuple(command), b64encode(stdin).decode())
        return (await self._http.write("POST", path, wire.ExecAnswer, body, timeout=EXEC_SECONDS)).result()

    async def request(self, app: str, request: ProbeRequest) -> Answer:
        """Send a test request through the app's endpoint."""
        path = f"{_app(app)}/requests"
        return await self._http.write("POST", path, Answer, request, timeout=request.timeout + 30)

    def follow(self, rollout: str) -> AsyncIterator[Rollout]:
        """Yield the rollout now and at each change, through lost connections, and end after its end."""

        async def connect() -> AsyncIterator[Rollout]:
            async for event in self._http.stream(f"{_rollout(rollout)}/stream"):
                yield wire.parse(Rollout, event.data)

        return self._http.persistent(connect)

    def logs(
        self,
        app: str,
        *,
        instance: str = "",
        follow: bool = False,
        since: datetime | None = None,
        tail: int | None = None,
    ) -> AsyncIterator[LogLine]:
        """Yield what the instances wrote, oldest first, and with `follow` what they write from now on.

        A stream that broke off is taken up where it ended: no line is lost, and the lines of the overlap are told
        once.
        """
        recent: deque[LogLine] = deque(maxlen=2000)

        async def connect() -> AsyncIterator[LogLine]:
            start, last = since, tail
            if recent:
                start, last = max(line.at for line in recent) - _OVERLAP, None
            query: dict[str, str | int | bool | None] = {
                "instance": instance,
                "follow": follow,
                "since": start.isoformat() if start else None,
                "tail": last,
            }
            known = frozenset(recent)
            async for event in self._http.stream(f"{_app(app)}/logs", query):
                line = wire.parse(LogLine, event.data)
                if line not in known:
                    recent.append(line)
                    yield line

        return self._http.persistent(connect)

    def usage(self, app: str) -> AsyncIterator[Sequence[Usage]]:
        """Yield about once a second what each instance uses, until the app is gone."""

        async def connect() -> AsyncIterator[Sequence[Usage]]:
            async for event in self._http.stream(f"{_app(app)}/usage"):
                yield wire.parse(list[Usage], event.data)

        return self._http.persistent(connect)

    async def events(self, app: str = "", *, limit: int = 50) -> Sequence[Event]:
        """Return what happened last, to one app or to all, newest first."""
        return (await self._http.get("events", wire.Page[Event], {"app": app, "limit": limit})).items

    async def follow_events(self, app: str = "", *, after: int | None = None) -> AsyncIterator[Event]:
        """Yield what happens from now on, or after event number `after`, each once, through lost connections."""
        if after is None:
            latest = await self.events(app, limit=1)
            after = latest[0].number if latest else 0
        last = str(after)

        async def connect() -> AsyncIterator[Event]:
            nonlocal last
            async for event in self._http.stream("events/stream", {"app": app}, last_id=last):
                last = event.id or last
                yield wire.parse(Event, event.data)

        async for happened in self._http.persistent(connect):
            yield happened


def _app(name: str) -> str:
    return f"apps/{quote(name, safe='')}"


def _rollout(name: str) -> str:
    return f"rollouts/{quote(name, safe='')}"
