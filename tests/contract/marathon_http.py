"""The simulated Marathon as an HTTP server on loopback, with its Mesos master and one agent.

Every request is held against the published description; `complaints` keeps what was not as published.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from socket import socket
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.contract.marathon_schema import Published
from tests.contract.marathon_simulator import AGENT, MarathonSimulator, Refused, SimApp, SimDeployment, SimTask, name_of

SANDBOX = "/var/lib/mesos/slaves/agent-S0/executors"


class MarathonServer:
    """Speaks for a simulator; with `authorization` only to those who send that header. Opened by `simulated`."""

    def __init__(self, simulator: MarathonSimulator, published: Published, authorization: str = "") -> None:
        self.sim = simulator
        self.url = ""
        self.requests: list[tuple[str, str]] = []
        self.complaints: list[str] = []
        self.stop: Callable[[], Awaitable[None]]
        self._published = published
        self._authorization = authorization

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
            if self._authorization and request.headers.get("authorization") != self._authorization:
                return JSONResponse({"message": "Invalid username or password."}, 401)
            body = await request.json() if await request.body() else {}
            path = request.url.path
            if complaint := self._published.complaint(request.method, path, dict(request.query_params), body):
                self.complaints.append(complaint)
                return JSONResponse({"message": "Invalid JSON", "details": [{"errors": [complaint]}]}, 400)
            try:
                return await answer(request)
            except Refused as refused:
                return JSONResponse(refused.body, refused.status)

        return judged

    async def get_info(self, request: Request) -> Response:
        config = {"mesos_leader_ui_url": f"{self.url}/mesos"}
        return JSONResponse({"name": "marathon", "version": "1.9.109", "elected": True, "marathon_config": config})

    async def get_apps(self, request: Request) -> Response:
        name, _, value = request.query_params.get("label", "").partition("==")
        embed = request.query_params.getlist("embed")
        found = [
            app
            for app in self.sim.apps.values()
            if not name or (name in (labels := app.definition.get("labels", {})) and value in ("", labels[name]))
        ]
        return JSONResponse({"apps": [self._shown(app, embed) for app in found]})

    async def get_app(self, request: Request) -> Response:
        app = self.sim.apps.get(request.path_params["app_id"])
        return JSONResponse({"app": self._shown(app, ["apps.tasks"])}) if app else _absent(request)

    def _shown(self, app: SimApp, embed: list[str]) -> dict[str, Any]:
        app_id = app.definition["id"]
        shown = {**app.definition, "version": app.version}
        shown["versionInfo"] = {"lastScalingAt": app.scaled, "lastConfigChangeAt": app.changed}
        if "apps.tasks" in embed:
            shown["tasks"] = [self._shown_task(app_id, task) for task in app.tasks]
            shown["tasks"] += [
                self._shown_task(app_id, t) for t in self.sim.leaving if t.instance.startswith(name_of(app_id))
            ]
        if "apps.deployments" in embed:
            shown["deployments"] = [{"id": one.id} for one in self.sim.deployments if app_id in one.apps]
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
            "ports": [task.port] if task.port else [],
            "slaveId": AGENT,
            "stagedAt": task.staged_at,
            "version": task.version,
            "state": task.state,
            "role": "*",
            "healthCheckResults": [health] if task.passes or task.failures else [],
        }

    async def put_app(self, request: Request) -> Response:
        app_id = request.path_params["app_id"]
        status = 200 if app_id in self.sim.apps else 201
        partial = request.query_params.get("partialUpdate", "true") == "true"
        one = self.sim.put(app_id, await request.json(), force=_force(request), partial=partial)
        return _started(one, status)

    async def delete_app(self, request: Request) -> Response:
        app_id = request.path_params["app_id"]
        if app_id not in self.sim.apps:
            return _absent(request)
        return _started(self.sim.remove(app_id, force=_force(request)))

    async def delete_tasks(self, request: Request) -> Response:
        ids = (await request.json())["ids"]
        doomed = [(app, task) for app in self.sim.apps.values() for task in app.tasks if task.id in ids]
        if len(doomed) < len(ids):
            return JSONResponse({"message": f"Invalid task id {ids}"}, 400)
        if request.query_params.get("scale") == "true":
            return _started(self.sim.kill_and_scale(doomed, force=_force(request)))
        for _, task in doomed:
            self.sim.kill(task.instance)
        return JSONResponse({"tasks": []})

    async def get_deployments(self, request: Request) -> Response:
        shown = [
            {"id": one.id, "version": one.version, "affectedApps": one.apps, "affectedPods": [], "steps": []}
            for one in self.sim.deployments
        ]
        return JSONResponse(shown)

    async def get_group(self, request: Request) -> Response:
        group = request.path_params["group"]
        inside = [{"id": name} for name in self.sim.apps if name.startswith(f"{group}/")]
        return JSONResponse({"id": group, "apps": inside, "groups": [], "pods": []})

    async def delete_group(self, request: Request) -> Response:
        group = request.path_params["group"]
        for name in [name for name in self.sim.apps if name.startswith(f"{group}/")]:
            self.sim.remove(name, force=True)
        return _started(self.sim.deploy([], lambda: True))

    async def get_queue(self, request: Request) -> Response:
        queue = []
        for name, app in self.sim.apps.items():
            left = max(0, round(app.not_before - time.monotonic()))
            reasons = [{"reason": "InsufficientCpus", "declined": 3, "processed": 3}] if not self.sim.offers else []
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
        app = self.sim.apps.get(request.path_params["app_id"])
        if app is None or not app.delay:
            return _absent(request)
        app.not_before = app.delay = 0.0
        return Response(status_code=200)

    async def get_events(self, request: Request) -> Response:
        if "text/event-stream" not in request.headers.get("accept", ""):
            return PlainTextResponse("HTTP ERROR: 405", 405)

        wanted = request.query_params.getlist("event_type")

        async def stream() -> AsyncIterator[str]:
            queue: asyncio.Queue[str] = asyncio.Queue()
            self.sim.listeners.add(queue)
            try:
                yield "event: event_stream_attached\ndata: {}\n\n"
                while True:
                    event = await queue.get()
                    if not wanted or any(event.startswith(f"event: {one}\n") for one in wanted):
                        yield event
            finally:
                self.sim.listeners.discard(queue)

        return StreamingResponse(stream(), media_type="text/event-stream")

    # --- Mesos ------------------------------------------------------------------------------------------------

    async def get_metrics(self, request: Request) -> Response:
        return JSONResponse({"master/cpus_total": 4.0, "master/mem_total": 8192.0, "master/disk_total": 9000.0})

    async def get_agents(self, request: Request) -> Response:
        pid = f"slave(1)@{self.url.removeprefix('http://')}"
        return JSONResponse({"slaves": [{"id": AGENT, "pid": pid, "hostname": "127.0.0.1"}]})

    async def get_agent_state(self, request: Request) -> Response:
        executors = [{"id": name, "directory": f"{SANDBOX}/{name}"} for name in self.sim.ever]
        return JSONResponse({"frameworks": [{"id": "f", "executors": executors, "completed_executors": []}]})

    async def browse(self, request: Request) -> Response:
        directory = request.query_params["path"]
        task = self._sandbox(directory)
        stamp = datetime.fromisoformat(task.staged_at).timestamp()
        files = [
            {"path": f"{directory}/{name}", "size": len(text.encode()), "mtime": stamp}
            for name, text in task.wrote.items()
        ]
        return JSONResponse(files)

    async def read(self, request: Request) -> Response:
        directory, _, name = request.query_params["path"].rpartition("/")
        offset = int(request.query_params["offset"])
        content = self._sandbox(directory).wrote[name].encode()
        # Mesos puts the bytes into its JSON as they are, though that may cut a character in two.
        part = content[offset : offset + int(request.query_params["length"])].decode(errors="surrogateescape")
        answer = json.dumps({"data": part, "offset": offset}, ensure_ascii=False)
        return Response(answer.encode(errors="surrogateescape"), media_type="application/json")

    def _sandbox(self, directory: str) -> SimTask:
        return self.sim.ever[directory.removeprefix(f"{SANDBOX}/")]


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


@asynccontextmanager
async def simulated(authorization: str = "") -> AsyncIterator[MarathonServer]:
    """Serve a simulator on a free port of loopback until the end."""
    served = MarathonServer(MarathonSimulator(), Published(), authorization)
    server = Loopback(Starlette(routes=served.routes()))
    serving = asyncio.create_task(server.serve())
    await server.listening.wait()
    served.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    async def stop() -> None:
        server.should_exit = True
        await serving

    served.stop = stop
    running = asyncio.create_task(served.sim.run())
    try:
        yield served
    finally:
        running.cancel()
        served.sim.close()
        await stop()
    with suppress(asyncio.CancelledError):
        await running


def _force(request: Request) -> bool:
    return request.query_params.get("force") == "true"


def _absent(request: Request) -> Response:
    return JSONResponse({"message": f"'{request.url.path}' does not exist"}, 404)


def _started(one: SimDeployment, status: int = 200) -> Response:
    answer = {"version": one.version, "deploymentId": one.id}
    return JSONResponse(answer, status, headers={"Marathon-Deployment-Id": one.id})
