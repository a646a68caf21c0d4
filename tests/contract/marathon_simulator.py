"""A small Marathon with its Mesos master and one agent: a real HTTP server on loopback, its state in memory.

Every request is held against the published description. It reproduces what makes Marathon difficult:
- an app is locked by the deployment that changes it, until every instance is healthy, which may be never
- a deployment goes on after its app has disappeared from the list
- a definition that differs in anything but the count restarts everything
- Mesos performs the checks and does not say what was answered
- tasks that fail are started again with the same instance id and a growing delay, and only the last end is told
- events may be silent, offers may fail to come, agents may be lost
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from socket import socket
from typing import Any
from uuid import uuid4

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.contract.marathon_schema import Published

TICK = 0.01
STAGING_SECONDS = 0.03
KILLING_SECONDS = 0.05
UNREACHABLE_SECONDS = 0.5
AGENT = "agent-S0"
SANDBOX = "/var/lib/mesos/slaves/agent-S0/executors"


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


class Loopback(uvicorn.Server):
    """A server within a test: signals stay the test run's."""

    def __init__(self, application: Starlette) -> None:
        super().__init__(
            uvicorn.Config(application, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=0)
        )
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class MarathonSimulator:
    """The state, and the accidents that tests let happen. Opened by `simulated`."""

    def __init__(self, published: Published, password: str = "") -> None:
        self.published = published
        self.password = password
        self.url = ""
        self.acts = Acts.SERVES
        self.offers = True
        self.speaks = True
        self.kills = True
        self.images: set[str] = set()
        self.apps: dict[str, SimApp] = {}
        self.leaving: list[SimTask] = []
        self.deployments: list[SimDeployment] = []
        self.requests: list[tuple[str, str]] = []
        self.complaints: list[str] = []
        self.stop: Callable[[], Awaitable[None]]
        self._listeners: set[asyncio.Queue[str]] = set()

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
        self._put(app_id, what, force=True)

    def lock(self, *apps: str) -> str:
        """Let somebody start a deployment that never ends."""
        return self._deploy(list(apps), lambda: False).id

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
                await self._start(app, f"{_name(app.definition['id'])}.instance-{uuid4()}", 1)

    def _may_launch(self, app: SimApp) -> bool:
        return self.offers and time.monotonic() >= app.not_before

    async def _start(self, app: SimApp, instance: str, attempt: int) -> None:
        now = time.monotonic()
        task = SimTask(instance, attempt, app.version, self.acts, now, _now(), since=now)
        task.listener = await asyncio.start_server(lambda r, w: _answer(task, r, w), "127.0.0.1", 0)
        task.port = task.listener.sockets[0].getsockname()[1]
        if task.acts is not Acts.SERVES and task.acts is not Acts.SICK:
            task.listener.close()
        app.tasks.append(task)

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
            for queue in self._listeners:
                queue.put_nowait(f"event: {event}\ndata: {json.dumps({'eventType': event})}\n\n")

    # --- changes ----------------------------------------------------------------------------------------------

    def _put(self, app_id: str, body: Mapping[str, Any], *, force: bool, partial: bool = True) -> Response:
        if refusal := self._locked([app_id], force):
            return refusal
        now, before = _now(), self.apps.get(app_id)
        whole = {**_DEFAULTS, **(before.definition if before and partial else {}), **body, "id": app_id}
        if "container" not in whole and "cmd" not in whole and "args" not in whole:
            details = [{"path": "/", "errors": ["must define cmd, args or container"]}]
            return JSONResponse({"message": "Object is not valid", "details": details}, 422)
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
        return self._started(self._deploy([app_id], lambda: self._settled(app)), 200 if before else 201)

    def _shrink(self, app: SimApp) -> None:
        """Kill the youngest of those too many."""
        while len(app.tasks) > max(app.definition["instances"], 0) and all(t.version >= app.changed for t in app.tasks):
            self._kill(app.tasks.pop())

    def _settled(self, app: SimApp) -> bool:
        wanted = app.definition["instances"]
        return len(app.tasks) == wanted and all(t.healthy and t.version >= app.changed for t in app.tasks)

    def _deploy(self, apps: list[str], ended: Callable[[], bool]) -> SimDeployment:
        one = SimDeployment(str(uuid4()), _now(), apps, ended)
        self.deployments.append(one)
        self._tell("deployment_info")
        return one

    def _started(self, one: SimDeployment, status: int = 200) -> Response:
        answer = {"version": one.version, "deploymentId": one.id}
        return JSONResponse(answer, status, headers={"Marathon-Deployment-Id": one.id})

    def _locked(self, apps: list[str], force: bool) -> Response | None:
        holding = [one for one in self.deployments if set(one.apps) & set(apps)]
        if force:
            self.deployments = [one for one in self.deployments if one not in holding]
            return None
        if not holding:
            return None
        message = (
            "App is locked by one or more deployments. Override with the option '?force=true'. "
            f"View details at '/v2/deployments/{holding[0].id}'."
        )
        return JSONResponse({"message": message, "deployments": [{"id": one.id} for one in holding]}, 409)

    # --- routes -----------------------------------------------------------------------------------------------

    def routes(self) -> list[Route]:
        """Say what is served where: Marathon, then the Mesos master and the agent."""
        table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("GET", "/v2/info", self.get_info),
            ("GET", "/v2/apps", self.get_apps),
            ("GET", "/v2/apps{app_id:path}", self.get_app),
            ("PUT", "/v2/apps{app_id:path}", self.put_app),
            ("DELETE", "/v2/apps{app_id:path}", self.delete_app),
            ("GET", "/v2/groups{group:path}", self.get_group),
            ("DELETE", "/v2/groups{group:path}", self.delete_group),
            ("POST", "/v2/tasks/delete", self.delete_tasks),
            ("GET", "/v2/deployments", self.get_deployments),
            ("GET", "/v2/queue", self.get_queue),
            ("DELETE", "/v2/queue{app_id:path}/delay", self.delete_delay),
            ("GET", "/v2/events", self.get_events),
        ]
        mesos = [
            ("/mesos/metrics/snapshot", self.get_metrics),
            ("/mesos/slaves", self.get_agents),
            ("/state", self.get_agent_state),
            ("/files/browse", self.browse),
            ("/files/read", self.read),
        ]
        return [
            *(Route(path, self._judged(answer), methods=[method]) for method, path, answer in table),
            *(Route(path, answer) for path, answer in mesos),
        ]

    def _judged(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def judged(request: Request) -> Response:
            self.requests.append((request.method, request.url.path))
            if self.password and request.headers.get("authorization") != self.password:
                return JSONResponse({"message": "Invalid username or password."}, 401)
            body = await request.json() if await request.body() else {}
            path = request.url.path
            if complaint := self.published.complaint(request.method, path, dict(request.query_params), body):
                self.complaints.append(complaint)
                return JSONResponse({"message": "Invalid JSON", "details": [{"errors": [complaint]}]}, 400)
            return await answer(request)

        return judged

    async def get_info(self, request: Request) -> Response:
        config = {"mesos_leader_ui_url": f"{self.url}/mesos"}
        return JSONResponse({"name": "marathon", "version": "1.9.109", "elected": True, "marathon_config": config})

    async def get_apps(self, request: Request) -> Response:
        name, _, value = request.query_params.get("label", "").partition("==")
        embed = request.query_params.getlist("embed")
        found = [
            app
            for app in self.apps.values()
            if not name or (name in (labels := app.definition.get("labels", {})) and value in ("", labels[name]))
        ]
        return JSONResponse({"apps": [self._shown(app, embed) for app in found]})

    async def get_app(self, request: Request) -> Response:
        app = self.apps.get(request.path_params["app_id"])
        return JSONResponse({"app": self._shown(app, ["apps.tasks"])}) if app else _absent(request)

    def _shown(self, app: SimApp, embed: list[str]) -> dict[str, Any]:
        app_id = app.definition["id"]
        shown = {**app.definition, "version": app.version}
        shown["versionInfo"] = {"lastScalingAt": app.scaled, "lastConfigChangeAt": app.changed}
        if "apps.tasks" in embed:
            shown["tasks"] = [self._shown_task(app_id, task) for task in app.tasks]
            shown["tasks"] += [
                self._shown_task(app_id, t) for t in self.leaving if t.instance.startswith(_name(app_id))
            ]
        if "apps.deployments" in embed:
            shown["deployments"] = [{"id": one.id} for one in self.deployments if app_id in one.apps]
        if "apps.lastTaskFailure" in embed and app.failure:
            shown["lastTaskFailure"] = app.failure
        return shown

    def _shown_task(self, app_id: str, task: SimTask) -> dict[str, Any]:
        health = {"alive": task.healthy, "consecutiveFailures": task.failures, "instanceId": task.instance}
        if task.passes:
            health |= {"firstSuccess": task.staged_at, "lastSuccess": task.staged_at}
        if task.failures:
            health |= {"lastFailure": task.staged_at, "lastFailureCause": ""}
        return {
            "appId": app_id,
            "host": "127.0.0.1",
            "id": task.id,
            "ports": [task.port],
            "slaveId": AGENT,
            "stagedAt": task.staged_at,
            "version": task.version,
            "state": task.state,
            "role": "*",
            "healthCheckResults": [health] if task.passes or task.failures else [],
        }

    async def put_app(self, request: Request) -> Response:
        query = request.query_params
        partial = query.get("partialUpdate", "true") == "true"
        return self._put(request.path_params["app_id"], await request.json(), force=_force(request), partial=partial)

    async def delete_app(self, request: Request) -> Response:
        app_id = request.path_params["app_id"]
        if app_id not in self.apps:
            return _absent(request)
        if refusal := self._locked([app_id], _force(request)):
            return refusal
        app = self.apps.pop(app_id)
        for task in app.tasks:
            self._kill(task)
        return self._started(self._deploy([app_id], lambda: not set(map(id, app.tasks)) & set(map(id, self.leaving))))

    async def delete_tasks(self, request: Request) -> Response:
        ids = (await request.json())["ids"]
        doomed = [(app, task) for app in self.apps.values() for task in app.tasks if task.id in ids]
        if len(doomed) < len(ids):
            return JSONResponse({"message": f"Invalid task id {ids}"}, 400)
        scale = request.query_params.get("scale") == "true"
        names = sorted({app.definition["id"] for app, _ in doomed})
        if scale and (refusal := self._locked(names, _force(request))):
            return refusal
        for app, task in doomed:
            app.tasks.remove(task)
            self._kill(task)
            if scale:
                app.definition["instances"] -= 1
                app.version = app.scaled = _now()
        if not scale:
            return JSONResponse({"tasks": []})
        killed = [task for _, task in doomed]
        return self._started(self._deploy(names, lambda: not any(one in self.leaving for one in killed)))

    async def get_deployments(self, request: Request) -> Response:
        shown = [
            {"id": one.id, "version": one.version, "affectedApps": one.apps, "affectedPods": [], "steps": []}
            for one in self.deployments
        ]
        return JSONResponse(shown)

    async def get_group(self, request: Request) -> Response:
        group = request.path_params["group"]
        inside = [{"id": name} for name in self.apps if name.startswith(f"{group}/")]
        return JSONResponse({"id": group, "apps": inside, "groups": [], "pods": []})

    async def delete_group(self, request: Request) -> Response:
        group = request.path_params["group"]
        for name in [name for name in self.apps if name.startswith(f"{group}/")]:
            for task in self.apps.pop(name).tasks:
                self._kill(task)
        return self._started(self._deploy([], lambda: True))

    async def get_queue(self, request: Request) -> Response:
        queue = []
        for name, app in self.apps.items():
            left = max(0, round(app.not_before - time.monotonic()))
            reasons = [{"reason": "InsufficientCpus", "declined": 3, "processed": 3}] if not self.offers else []
            if (missing := app.definition["instances"] - len(app.tasks)) > 0:
                queue.append(
                    {
                        "app": {"id": name},
                        "count": missing,
                        "delay": {"timeLeftSeconds": left, "overdue": not left},
                        "processedOffersSummary": {"rejectSummaryLastOffers": reasons},
                    }
                )
        return JSONResponse({"queue": queue})

    async def delete_delay(self, request: Request) -> Response:
        app = self.apps.get(request.path_params["app_id"])
        if app is None or not app.delay:
            return _absent(request)
        app.not_before = app.delay = 0.0
        return Response(status_code=200)

    async def get_events(self, request: Request) -> Response:
        if "text/event-stream" not in request.headers.get("accept", ""):
            return PlainTextResponse("HTTP ERROR: 405", 405)

        async def stream() -> AsyncIterator[str]:
            queue: asyncio.Queue[str] = asyncio.Queue()
            self._listeners.add(queue)
            try:
                yield "event: event_stream_attached\ndata: {}\n\n"
                while True:
                    yield await queue.get()
            finally:
                self._listeners.discard(queue)

        return StreamingResponse(stream(), media_type="text/event-stream")

    # --- Mesos ------------------------------------------------------------------------------------------------

    async def get_metrics(self, request: Request) -> Response:
        return JSONResponse({"master/cpus_total": 4.0, "master/mem_total": 8192.0, "master/disk_total": 9000.0})

    async def get_agents(self, request: Request) -> Response:
        pid = f"slave(1)@{self.url.removeprefix('http://')}"
        return JSONResponse({"slaves": [{"id": AGENT, "pid": pid, "hostname": "127.0.0.1"}]})

    async def get_agent_state(self, request: Request) -> Response:
        executors = [
            {"id": task.id, "directory": f"{SANDBOX}/{task.id}"} for app in self.apps.values() for task in app.tasks
        ]
        return JSONResponse({"frameworks": [{"id": "f", "executors": executors, "completed_executors": []}]})

    async def browse(self, request: Request) -> Response:
        directory = request.query_params["path"]
        task = self._sandbox(directory)
        stamp = datetime.fromisoformat(task.staged_at).timestamp()
        files = [
            {"path": f"{directory}/{name}", "size": len(text), "mtime": stamp} for name, text in task.wrote.items()
        ]
        return JSONResponse(files)

    async def read(self, request: Request) -> Response:
        directory, _, name = request.query_params["path"].rpartition("/")
        offset = int(request.query_params["offset"])
        text = self._sandbox(directory).wrote[name]
        return JSONResponse({"data": text[offset : offset + int(request.query_params["length"])], "offset": offset})

    def _sandbox(self, directory: str) -> SimTask:
        tasks = [*self.leaving, *(task for app in self.apps.values() for task in app.tasks)]
        name = directory.removeprefix(f"{SANDBOX}/")
        return next((task for task in tasks if task.id == name), SimTask(name, 0, "", Acts.SERVES, 0, _now()))


_DEFAULTS: dict[str, Any] = {"instances": 1, "cpus": 1, "mem": 128, "disk": 0, "labels": {}, "requirePorts": False}


@asynccontextmanager
async def simulated(simulator: MarathonSimulator) -> AsyncIterator[MarathonSimulator]:
    """Serve the simulator on a free port of loopback until the end."""
    server = Loopback(Starlette(routes=simulator.routes()))
    serving = asyncio.create_task(server.serve())
    await server.listening.wait()
    simulator.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    async def stop() -> None:
        server.should_exit = True
        await serving

    simulator.stop = stop
    running = asyncio.create_task(simulator.run())
    try:
        yield simulator
    finally:
        running.cancel()
        for task in (*simulator.leaving, *(task for app in simulator.apps.values() for task in app.tasks)):
            simulator._close(task)
        await stop()
    with suppress(asyncio.CancelledError):
        await running


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


def _name(app_id: str) -> str:
    return app_id.strip("/").replace("/", "_")


def _force(request: Request) -> bool:
    return request.query_params.get("force") == "true"


def _absent(request: Request) -> Response:
    return JSONResponse({"message": f"'{request.url.path}' does not exist"}, 404)
