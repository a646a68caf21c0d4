"""A small Kubernetes: a real HTTP server on loopback, its state in memory, the rest in kubernetes_cluster.

Every request and every object is held against the published OpenAPI document. It reproduces what makes Kubernetes
difficult:
- pods are made and removed by controllers, in their own time and order, and names are theirs
- times are whole seconds, probes too, and only an event says what a failing check answered
- a watch from an old version is answered by 410, and watches end whenever the API server likes
- fields belong to whoever set them last, and applying them against another is a conflict
- pods that never schedule, images that nobody has, crash loops, out of memory, quotas
- accounts without a right (403), too many requests (429 with Retry-After), slow answers
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from tests.contract.kubernetes_cluster import TICK, Cluster
from tests.contract.kubernetes_disks import Disks
from tests.contract.kubernetes_objects import Json, Key, Taken, leaves, now, written
from tests.contract.kubernetes_schema import published

KINDS = {
    "namespaces": ("v1", "Namespace"),
    "nodes": ("v1", "Node"),
    "pods": ("v1", "Pod"),
    "events": ("v1", "Event"),
    "services": ("v1", "Service"),
    "secrets": ("v1", "Secret"),
    "persistentvolumeclaims": ("v1", "PersistentVolumeClaim"),
    "deployments": ("apps/v1", "Deployment"),
    "statefulsets": ("apps/v1", "StatefulSet"),
    "jobs": ("batch/v1", "Job"),
    "cronjobs": ("batch/v1", "CronJob"),
    "ingresses": ("networking.k8s.io/v1", "Ingress"),
    "ingressclasses": ("networking.k8s.io/v1", "IngressClass"),
    "gateways": ("gateway.networking.k8s.io/v1", "Gateway"),
    "httproutes": ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    "horizontalpodautoscalers": ("autoscaling/v2", "HorizontalPodAutoscaler"),
    "poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget"),
}
GATEWAYS = "gateway.networking.k8s.io"
REASONS = {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired", 422: "Invalid"}
REASONS |= {429: "TooManyRequests"}


@dataclass(frozen=True)
class Call:
    """What was asked for, in the words of RBAC."""

    verb: str
    group: str
    resource: str
    name: str = ""
    namespace: str = ""


class Refused(Exception):
    """An answer of a status that is no success."""

    def __init__(self, code: int, message: str, *, reason: str = "", causes: Iterable[Json] = ()) -> None:
        super().__init__(message)
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason or REASONS.get(code, "InternalError"),
            "details": {"causes": list(causes)},
            "code": code,
        }


class KubernetesSimulator:
    """The API server of a cluster, and what a test may do to it."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.objects = self.cluster.objects
        self.commands: dict[tuple[str, ...], tuple[int, bytes, bytes]] = {}
        """What commands leave: exit code, stdout and stderr; others repeat what they are given."""
        self.disks = Disks(self.objects)
        self.absent_commands: set[str] = set()
        """Programs that no image has."""
        self.rules: list[Mapping[str, Any]] | None = None
        """The rules of the account; None for one that may do everything."""
        self.calls: list[Call] = []
        self.busy = 0
        """How many requests are answered by 429 from now on."""
        self.delay = 0.0
        """Seconds before every answer."""
        self.metered = True
        """Whether there is a metrics API."""
        self.has_gateways = False
        """Whether the Gateway API is installed, which is no part of what Kubernetes publishes."""
        self.url = ""
        self.stop: Callable[[], Awaitable[None]] = _nothing
        self.complaints: list[str] = []
        """What of the requests is not as published."""
        self._closing = asyncio.Event()

    def end_watches(self) -> None:
        """Close every watch, as an API server that restarts does."""
        self._closing.set()
        self._closing = asyncio.Event()

    # --- the API ----------------------------------------------------------------------------------------------

    def routes(self) -> list[Any]:
        """Say what is served."""
        namespaced = "/namespaces/{namespace}/{plural}"
        paths = [f"/{group}{namespaced}{end}" for group in ("api/v1", "apis/{g}/{v}") for end in ("", "/{name}")]
        return [
            WebSocketRoute("/api/v1/namespaces/{namespace}/pods/{name}/exec", self.exec),
            Route("/version", self.version),
            Route("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self.review, methods=["POST"]),
            Route("/apis/metrics.k8s.io/v1beta1", self.metrics_api),
            Route("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods/{name}", self.metrics),
            Route("/api/v1/namespaces/{namespace}/pods/{name}/log", self.log),
            Route("/api/v1/namespaces/{name}", self.any, methods=["GET", "PATCH", "DELETE"]),
            Route("/api/v1/{plural}", self.any),
            Route("/apis/{g}/{v}/{plural}", self.any),
            *(Route(path, self.any, methods=["GET", "POST", "PATCH", "DELETE"]) for path in paths),
        ]

    async def version(self, request: Request) -> Response:
        return JSONResponse({"major": "1", "minor": "36", "gitVersion": "v1.36.0", "platform": "linux/amd64"})

    async def review(self, request: Request) -> Response:
        """Say whether the account may do what it asks about, in all namespaces unless it names one."""
        asked = (await request.json())["spec"]["resourceAttributes"]
        call = Call(asked["verb"], asked["group"], asked["resource"], "", asked.get("namespace", ""))
        allowed = self.rules is None or any(allows(rule, call) for rule in self.rules)
        return JSONResponse({"status": {"allowed": allowed}}, 201)

    async def any(self, request: Request) -> Response:
        """Answer any request for objects."""
        try:
            return await self._answer(request)
        except Refused as refused:
            patience = {"Retry-After": "0"} if refused.status["code"] == 429 else {}
            return JSONResponse(refused.status, refused.status["code"], patience)

    async def _answer(self, request: Request) -> Response:
        namespace, name = request.path_params.get("namespace", ""), request.path_params.get("name", "")
        plural = request.path_params.get("plural") or request.url.path.split("/")[3]
        if request.path_params.get("g") == GATEWAYS:
            if not self.has_gateways:
                raise Refused(404, "the server could not find the requested resource")
        else:
            self._published(request)
        watching = request.query_params.get("watch") == "true"
        verb = _verb(request.method, name, watching)
        await self._admit(Call(verb, request.path_params.get("g", ""), plural, name, namespace))
        key = (plural, namespace, name)
        match verb:
            case "get":
                return JSONResponse(self._found(key))
            case "watch":
                return self._watch(request, plural, namespace)
            case "list":
                return self._list(request, plural, namespace)
            case "create":
                value = self._valid(await request.json(), plural)
                key = (plural, namespace, value["metadata"]["name"])
                if key in self.objects.held:
                    raise Refused(409, f'{plural} "{key[2]}" already exists', reason="AlreadyExists")
                self._namespace(namespace)
                return JSONResponse(self.objects.create(key, value, request.query_params["fieldManager"]), 201)
            case "patch":
                return JSONResponse(await self._patch(request, key))
            case "delete":
                self._found(key)
                self.cluster.delete(key)
                return JSONResponse({"kind": "Status", "apiVersion": "v1", "status": "Success"})
            case _:
                for found, value in list(self.objects.all(plural, namespace)):
                    if _selected(value, request.query_params):
                        self.cluster.delete(found)
                return JSONResponse({"kind": "Status", "apiVersion": "v1", "status": "Success"})

    async def _patch(self, request: Request, key: Key) -> Json:
        query, body = request.query_params, await request.json()
        if request.headers["Content-Type"] != "application/apply-patch+yaml":
            self._found(key)
            return self.objects.edit(key, body, query["fieldManager"])
        if key not in self.objects.held:
            await self._admit(Call("create", request.path_params.get("g", ""), key[0], "", key[1]))
        self._valid(body, key[0])
        self._namespace(key[1])
        try:
            return self.objects.apply(key, body, query["fieldManager"], force=query.get("force") == "true")
        except Taken as taken:
            causes = [
                {
                    "reason": "FieldManagerConflict",
                    "message": f'conflict with "{manager}"' + ("" if applied else f" using {KINDS[key[0]][0]}"),
                    "field": written(place),
                }
                for place, manager, applied in taken.claims
            ]
            raise Refused(409, f"Apply failed with {len(causes)} conflicts", causes=causes) from None

    def _list(self, request: Request, plural: str, namespace: str) -> Response:
        items = [value for _, value in self.objects.all(plural, namespace) if _selected(value, request.query_params)]
        start, limit = int(request.query_params.get("continue", "0")), int(request.query_params.get("limit", "500"))
        more = str(start + limit) if start + limit < len(items) else ""
        version, kind = KINDS[plural]
        meta = {"resourceVersion": str(self.objects.version), "continue": more}
        return JSONResponse(
            {"apiVersion": version, "kind": f"{kind}List", "metadata": meta, "items": items[start : start + limit]}
        )

    def _watch(self, request: Request, plural: str, namespace: str) -> Response:
        version = int(request.query_params["resourceVersion"])
        if version < self.objects.oldest:
            raise Refused(410, f"too old resource version: {version} ({self.objects.oldest})")
        until = time.monotonic() + int(request.query_params["timeoutSeconds"])
        return StreamingResponse(self._changes(request, plural, namespace, version, until))

    async def _changes(
        self, request: Request, plural: str, namespace: str, version: int, until: float
    ) -> AsyncIterator[str]:
        closing = self._closing
        api, kind = KINDS[plural]
        while time.monotonic() < until and not closing.is_set():
            if version < self.objects.oldest:
                yield _line("ERROR", Refused(410, f"too old resource version: {version}").status)
                return
            fresh = [change for change in self.objects.history if change.version > version]
            for change in fresh:
                version = change.version
                if (
                    change.key[0] == plural
                    and namespace in ("", change.key[1])
                    and _selected(change.value, request.query_params)
                ):
                    yield _line(change.type, change.value)
            if fresh:
                meta = {"resourceVersion": str(version), "creationTimestamp": None}
                yield _line("BOOKMARK", {"apiVersion": api, "kind": kind, "metadata": meta})
            await asyncio.sleep(TICK)

    async def metrics_api(self, request: Request) -> Response:
        if self.metered:
            return JSONResponse({"kind": "APIResourceList"})
        return JSONResponse(Refused(404, "the server could not find the requested resource").status, 404)

    async def metrics(self, request: Request) -> Response:
        call = Call("get", "metrics.k8s.io", "pods", request.path_params["name"], request.path_params["namespace"])
        try:
            await self._admit(call)
            self._pod(call.name)
        except Refused as refused:
            return JSONResponse(refused.status, refused.status["code"])
        usage = {"name": "app", "usage": {"cpu": "1250000n", "memory": "1420Ki"}}
        return JSONResponse({"metadata": {"name": call.name}, "timestamp": now(), "containers": [usage]})

    async def log(self, request: Request) -> Response:
        name, query = request.path_params["name"], request.query_params
        try:
            self._published(request)
            await self._admit(Call("get", "", "pods/log", name, request.path_params["namespace"]))
            self._pod(name)
        except Refused as refused:
            return JSONResponse(refused.status, refused.status["code"])
        since = datetime.now(UTC) - timedelta(seconds=int(query.get("sinceSeconds", "86400")))
        lines = [line for line in self.cluster.lives[name].lines if line[0] >= since]
        tail = int(query.get("tailLines", len(lines)))
        text = [f"{at.isoformat().replace('+00:00', '000Z')} {said}\n" for at, said in lines[len(lines) - tail :]]
        if query.get("follow") != "true":
            return PlainTextResponse("".join(text))

        async def following() -> AsyncIterator[str]:
            for line in text:
                yield line
            while any(key[2] == name for key in self.objects.held) and not self.cluster.lives[name].ended:  # noqa: ASYNC110
                await asyncio.sleep(TICK)

        return StreamingResponse(following(), media_type="text/plain")

    async def exec(self, socket: WebSocket) -> None:
        name = socket.path_params["name"]
        try:
            for verb in ("get", "create"):
                await self._admit(Call(verb, "", "pods/exec", name, socket.path_params["namespace"]))
            self._pod(name)
        except Refused as refused:
            await socket.send_denial_response(JSONResponse(refused.status, refused.status["code"]))
            return
        await socket.accept(subprotocol="v5.channel.k8s.io")
        command, given = tuple(socket.query_params.getlist("command")), b""
        if socket.query_params.get("stdin") == "true":
            try:
                while (chunk := await socket.receive_bytes()) != b"\xff\x00":
                    given += chunk[1:]
            except WebSocketDisconnect:
                return
        held = self.objects.held[self.cluster.pod(name)].value
        code, out, err = self.disks.run(held, command, given) or self.commands.get(command, (0, given, b""))
        for channel, text in ((1, out), (2, err)):
            if text:
                await socket.send_bytes(bytes((channel,)) + text)
        ended: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        if command[0] in self.absent_commands:
            said = f'error executing command: exec: "{command[0]}": executable file not found in $PATH'
            ended |= {"status": "Failure", "reason": "InternalError", "message": said, "code": 500}
        elif code:
            causes = [{"reason": "ExitCode", "message": str(code)}]
            ended |= {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}
        await socket.send_bytes(b"\x03" + json.dumps(ended).encode())
        await socket.close()

    # --- admission --------------------------------------------------------------------------------------------

    def _published(self, request: Request) -> None:
        if fault := published().complaint(request.method, request.url.path, dict(request.query_params)):
            self.complaints.append(fault)
            raise Refused(400, fault)

    def _valid(self, value: Json, plural: str) -> Json:
        fault = "" if value["apiVersion"].startswith(GATEWAYS) else published().faults(value)
        if not fault and (value["apiVersion"], value["kind"]) != KINDS[plural]:
            fault = f"{value['kind']} is no {plural}"
        if fault:
            self.complaints.append(fault)
            raise Refused(422, fault)
        return value

    async def _admit(self, call: Call) -> None:
        await asyncio.sleep(self.delay)
        if self.busy:
            self.busy -= 1
            raise Refused(429, "the server has received too many requests and has asked us to try again later")
        self.calls.append(call)
        if self.rules is not None and not any(allows(rule, call) for rule in self.rules):
            where = f'in API group "{call.group}" in the namespace "{call.namespace}"'
            raise Refused(
                403,
                f'{call.resource} "{call.name}" is forbidden: User "naru" cannot {call.verb} resource '
                f'"{call.resource}" {where}',
            )

    def _namespace(self, name: str) -> None:
        if name and ("namespaces", "", name) not in self.objects.held:
            raise Refused(404, f'namespaces "{name}" not found')

    def _found(self, key: Key) -> Json:
        if value := self.objects.get(key):
            return value
        raise Refused(404, f'{key[0]} "{key[2]}" not found')

    def _pod(self, name: str) -> None:
        try:
            self.cluster.pod(name)
        except KeyError:
            raise Refused(404, f'pods "{name}" not found') from None


def allows(rule: Mapping[str, Any], call: Call) -> bool:
    """Whether a rule allows a call: of a ClusterRole, or of a Role in the namespace that is written beside it."""
    return (
        rule.get("namespace", call.namespace) == call.namespace
        and call.verb in rule["verbs"]
        and call.group in rule["apiGroups"]
        and call.resource in rule["resources"]
        and (not rule.get("resourceNames") or call.name in rule["resourceNames"])
    )


async def _nothing() -> None:
    """There is nothing to stop."""


def _verb(method: str, name: str, watching: bool) -> str:
    if method == "GET":
        return "get" if name else "watch" if watching else "list"
    if method == "DELETE":
        return "delete" if name else "deletecollection"
    return {"POST": "create", "PATCH": "patch"}[method]


def _selected(value: Json, query: Mapping[str, str]) -> bool:
    labels = value["metadata"].get("labels", {})
    for term in filter(None, query.get("labelSelector", "").split(",")):
        key, given, wanted = term.partition("=")
        if key not in labels or (given and labels[key] != wanted):
            return False
    found = dict(leaves(value))
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        path, _, wanted = term.partition("=")
        if found.get(tuple(path.split("."))) != wanted:
            return False
    return True


def _line(kind: str, value: Json) -> str:
    return json.dumps({"type": kind, "object": value}) + "\n"
