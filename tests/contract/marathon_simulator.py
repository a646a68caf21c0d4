"""A small Marathon in memory, which marathon_http serves. It reproduces what makes Marathon difficult:

- an app is locked by the deployment that changes it, until every instance is healthy, which may be never
- a deployment goes on after its app has disappeared from the list
- a definition that differs in anything but the count restarts everything
- Mesos performs the checks and does not say what was answered
- tasks that fail are started again with the same instance id and a growing delay, and only the last end is told
- events may be silent, offers may fail to come, agents may be lost

Tasks listen on loopback and answer 200, or 500 when they are sick.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any
from uuid import uuid4

TICK = 0.01
STAGING_SECONDS = 0.03
KILLING_SECONDS = 0.05
UNREACHABLE_SECONDS = 0.5
AGENT = "agent-S0"


class Acts(Enum):
    """What the tasks of an app do."""

    SERVES = auto()
    SICK = auto()
    DEAF = auto()
    EXITS = auto()
    HUNGRY = auto()


_ENDS = {
    Acts.EXITS: ("TASK_FAILED", "Container exited with status 3"),
    Acts.HUNGRY: ("TASK_FAILED", "Memory limit exceeded: Requested: 16MB Maximum Used: 16MB"),
}


@dataclass
class SimTask:
    """One attempt of one instance."""

    instance: str
    attempt: int
    version: str
    acts: Acts
    made: float
    staged_at: str
    port: int = 0
    state: str = "TASK_STAGING"
    since: float = 0.0
    passes: int = 0
    failures: int = 0
    wrote: dict[str, str] = field(default_factory=lambda: {"stdout": "", "stderr": ""})
    listener: asyncio.Server | None = None

    @property
    def id(self) -> str:
        return f"{self.instance}._app.{self.attempt}"

    @property
    def healthy(self) -> bool:
        return self.state == "TASK_RUNNING" and self.passes > 0 and not self.failures


@dataclass
class SimApp:
    """An application as Marathon keeps it."""

    definition: dict[str, Any]
    version: str
    scaled: str
    changed: str
    tasks: list[SimTask] = field(default_factory=list)
    failure: dict[str, Any] | None = None
    not_before: float = 0.0
    delay: float = 0.0


@dataclass
class SimDeployment:
    """A change under way, which locks its apps until `ended` says so."""

    id: str
    version: str
    apps: list[str]
    ended: Callable[[], bool]


class Refused(Exception):
    """What Marathon will not do: the status and the body of its answer."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(body["message"])
        self.status = status
        self.body = body


class MarathonSimulator:
    """What this Marathon knows and does by itself, and the accidents that tests let happen."""

    def __init__(self) -> None:
        self.acts = Acts.SERVES
        self.offers = True
        self.speaks = True
        self.kills = True
        self.images: set[str] = set()
        self.apps: dict[str, SimApp] = {}
        self.leaving: list[SimTask] = []
        self.ever: dict[str, SimTask] = {}
        self.deployments: list[SimDeployment] = []
        self.listeners: set[asyncio.Queue[str]] = set()

    # --- accidents --------------------------------------------------------------------------------------------

    def task(self, instance: str) -> tuple[SimApp, SimTask]:
        return next((a, t) for a in self.apps.values() for t in a.tasks if t.instance == instance)

    def fail(self, instance: str, message: str, state: str = "TASK_FAILED") -> None:
        """Let a task end by itself."""
        self._end(*self.task(instance), state, message)

    def kill(self, instance: str) -> None:
        """Let somebody kill a task, without scaling: another instance takes its place."""
        app, task = self.task(instance)
        app.tasks.remove(task)
        self._kill(task)

    def lose_agent(self, instance: str) -> None:
        """Let the agent of a task stop answering."""
        self._become(self.task(instance)[1], "TASK_UNREACHABLE")

    def sicken(self, instance: str) -> None:
        self.task(instance)[1].acts = Acts.SICK

    def change(self, app_id: str, **what: Any) -> None:
        """Let somebody change an application."""
        self.put(app_id, what, force=True)

    def lock(self, *apps: str) -> str:
        """Let somebody start a deployment that never ends."""
        return self.deploy(list(apps), lambda: False).id

    def close(self) -> None:
        """Let every task end with the simulator."""
        for task in (*self.leaving, *(task for app in self.apps.values() for task in app.tasks)):
            self._close(task)

    # --- what Marathon does by itself -------------------------------------------------------------------------

    async def run(self) -> None:
        """Launch, check, kill and end deployments, for ever."""
        while True:
            for app in list(self.apps.values()):
                await self._launch(app)
                for task in list(app.tasks):
                    self._advance(app, task)
                self._upgrade(app)
            for task in [one for one in self.leaving if self.kills and _age(one) > KILLING_SECONDS]:
                self.leaving.remove(task)
                self._become(task, "TASK_KILLED")
            for one in [one for one in self.deployments if one.ended()]:
                self.deployments.remove(one)
                self._tell("deployment_success")
            await asyncio.sleep(TICK)

    async def _launch(self, app: SimApp) -> None:
        failed = [task for task in app.tasks if task.state == "TASK_FAILED"]
        counted = [task for task in app.tasks if task.version >= app.changed and task.state != "TASK_UNREACHABLE"]
        for task in failed:
            if self._may_launch(app):
                app.tasks.remove(task)
                await self._start(app, task.instance, task.attempt + 1)
        for _ in range(app.definition["instances"] - len(counted)):
            if self._may_launch(app):
                await self._start(app, f"{name_of(app.definition['id'])}.instance-{uuid4()}", 1)

    def _may_launch(self, app: SimApp) -> bool:
        return self.offers and time.monotonic() >= app.not_before

    async def _start(self, app: SimApp, instance: str, attempt: int) -> None:
        now = time.monotonic()
        task = SimTask(instance, attempt, app.version, self.acts, now, _now(), since=now)
        if app.definition.get("container", {}).get("portMappings"):
            task.listener = await asyncio.start_server(lambda r, w: _answer(task, r, w), "127.0.0.1", 0)
            task.port = task.listener.sockets[0].getsockname()[1]
            if task.acts is not Acts.SERVES and task.acts is not Acts.SICK:
                task.listener.close()
        app.tasks.append(task)
        self.ever[task.id] = task

    def _advance(self, app: SimApp, task: SimTask) -> None:
        if _age(task) < (UNREACHABLE_SECONDS if task.state == "TASK_UNREACHABLE" else STAGING_SECONDS):
            return
        match task.state:
            case "TASK_STAGING" if self.images and app.definition["container"]["docker"]["image"] not in self.images:
                image = app.definition["container"]["docker"]["image"]
                self._end(app, task, "TASK_FAILED", f"Failed to run 'docker pull {image}': manifest unknown")
            case "TASK_STAGING":
                task.wrote |= {"stdout": "one\n", "stderr": "two\n"}
                self._become(task, "TASK_RUNNING")
            case "TASK_UNREACHABLE":
                app.tasks.remove(task)
                self._close(task)
            case "TASK_RUNNING" if task.acts in _ENDS:
                self._end(app, task, *_ENDS[task.acts])
            case "TASK_RUNNING" if task.acts is Acts.SERVES:
                if not task.healthy:
                    self._tell("health_status_changed_event")
                task.passes, task.failures, task.since = task.passes + 1, 0, time.monotonic()
            case "TASK_RUNNING":
                task.failures, task.since = task.failures + 1, time.monotonic()
                if task.failures == app.definition["healthChecks"][0]["maxConsecutiveFailures"]:
                    self.kill(task.instance)

    def _upgrade(self, app: SimApp) -> None:
        """Kill what runs an older definition, once as many new tasks as it takes are healthy."""
        old = [task for task in app.tasks if task.version < app.changed]
        deploying = any(app is self.apps.get(name) for one in self.deployments for name in one.apps)
        fresh = sum(task.healthy for task in app.tasks if task not in old)
        if deploying and fresh >= app.definition["instances"]:
            for task in old:
                app.tasks.remove(task)
                self._kill(task)

    def _end(self, app: SimApp, task: SimTask, state: str, message: str) -> None:
        self._close(task)
        self._become(task, state)
        app.failure = {
            "appId": app.definition["id"],
            "host": "127.0.0.1",
            "message": message,
            "state": state,
            "taskId": task.id,
            "timestamp": _now(),
            "version": task.version,
            "slaveId": AGENT,
        }
        app.delay = app.delay * app.definition["backoffFactor"] if app.delay else app.definition["backoffSeconds"]
        app.not_before = time.monotonic() + min(app.delay, app.definition["maxLaunchDelaySeconds"])

    def _kill(self, task: SimTask) -> None:
        self._close(task)
        if task.state != "TASK_FAILED":
            self._become(task, "TASK_KILLING")
            self.leaving.append(task)

    def _become(self, task: SimTask, state: str) -> None:
        task.state, task.since = state, time.monotonic()
        self._tell("status_update_event")

    def _close(self, task: SimTask) -> None:
        if task.listener:
            task.listener.close()

    def _tell(self, event: str) -> None:
        if self.speaks:
            for queue in self.listeners:
                queue.put_nowait(f"event: {event}\ndata: {json.dumps({'eventType': event})}\n\n")

    # --- changes ----------------------------------------------------------------------------------------------

    def put(self, app_id: str, body: Mapping[str, Any], *, force: bool, partial: bool = True) -> SimDeployment:
        """Change or make an application."""
        self.take_lock([app_id], force)
        now, before = _now(), self.apps.get(app_id)
        whole = {**_DEFAULTS, **(before.definition if before and partial else {}), **body, "id": app_id}
        if "container" not in whole and "cmd" not in whole and "args" not in whole:
            details = [{"path": "/", "errors": ["must define cmd, args or container"]}]
            raise Refused(422, {"message": "Object is not valid", "details": details})
        whole = json.loads(json.dumps(whole))
        for number, mapping in enumerate(whole.get("container", {}).get("portMappings", [])):
            mapping.setdefault("servicePort", 10000 + number)
        if before is None:
            self.apps[app_id] = SimApp(whole, now, now, now)
        elif before.definition != whole:
            shape, was = ({**one, "instances": 0} for one in (whole, before.definition))
            changed = before.changed if shape == was else now
            before.definition, before.version, before.scaled, before.changed = whole, now, now, changed
            self._shrink(before)
        app = self.apps[app_id]
        return self.deploy([app_id], lambda: self._settled(app))

    def _shrink(self, app: SimApp) -> None:
        """Kill the youngest of those too many."""
        while len(app.tasks) > max(app.definition["instances"], 0) and all(t.version >= app.changed for t in app.tasks):
            self._kill(app.tasks.pop())

    def _settled(self, app: SimApp) -> bool:
        if any(task.instance.startswith(name_of(app.definition["id"])) for task in self.leaving):
            return False
        wanted = app.definition["instances"]
        return len(app.tasks) == wanted and all(t.healthy and t.version >= app.changed for t in app.tasks)

    def deploy(self, apps: list[str], ended: Callable[[], bool]) -> SimDeployment:
        """Start a deployment, which locks its apps."""
        one = SimDeployment(str(uuid4()), _now(), apps, ended)
        self.deployments.append(one)
        self._tell("deployment_info")
        return one

    def take_lock(self, apps: list[str], force: bool) -> None:
        """Refuse while a deployment of one of the apps runs; with `force`, cancel it."""
        holding = [one for one in self.deployments if set(one.apps) & set(apps)]
        if force:
            self.deployments = [one for one in self.deployments if one not in holding]
        elif holding:
            message = (
                "App is locked by one or more deployments. Override with the option '?force=true'. "
                f"View details at '/v2/deployments/{holding[0].id}'."
            )
            raise Refused(409, {"message": message, "deployments": [{"id": one.id} for one in holding]})

    def remove(self, app_id: str, *, force: bool) -> SimDeployment:
        """Remove an application: it disappears at once, its tasks later."""
        self.take_lock([app_id], force)
        killed = self.apps.pop(app_id).tasks
        for task in killed:
            self._kill(task)
        return self.deploy([app_id], lambda: not any(task in self.leaving for task in killed))

    def kill_and_scale(self, doomed: list[tuple[SimApp, SimTask]], *, force: bool) -> SimDeployment:
        """Kill tasks and count their applications down."""
        names = sorted({app.definition["id"] for app, _ in doomed})
        self.take_lock(names, force)
        for app, task in doomed:
            self.kill(task.instance)
            app.definition["instances"] -= 1
            app.version = app.scaled = _now()
        return self.deploy(names, lambda: not any(task in self.leaving for _, task in doomed))


_DEFAULTS: dict[str, Any] = {"instances": 1, "cpus": 1, "mem": 128, "disk": 0, "labels": {}, "requirePorts": False}


async def _answer(task: SimTask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    status = "200 OK" if task.acts is Acts.SERVES else "500 Internal Server Error"
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()
    writer.close()


def _age(task: SimTask) -> float:
    return time.monotonic() - task.since


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def name_of(app_id: str) -> str:
    """Name tasks as Marathon does."""
    return app_id.strip("/").replace("/", "_")
