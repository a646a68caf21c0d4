"""How this machine's administrator talks with the agent: HTTP on a unix socket, and the other end of it."""

from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from types import NoneType
from typing import Final, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from naru.agent.node import Node
from naru.agent.status import Collected, Prefetched, Status, Taken, Verified, metrics
from naru.domain.errors import HTTP_STATUS, NaruError, Unavailable, http_status

T = TypeVar("T")

_JSON: Final = "application/json"
_KINDS: Final = {status: kind for kind, status in HTTP_STATUS.items()}
_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"


class _Problem(msgspec.Struct):
    cause: str
    mend: str


class _Prefetch(msgspec.Struct):
    image: str


class _Revoke(msgspec.Struct):
    node: str


class _Adopt(msgspec.Struct):
    image: str
    root: str


def control(node: Node) -> Starlette:
    """Return the application for the agent's own socket: it can do everything."""

    async def status(_: Request) -> Response:
        return _told(await node.status())

    async def collect(_: Request) -> Response:
        return _told(await node.collect())

    async def prefetch(request: Request) -> Response:
        asked = msgspec.json.decode(await request.body(), type=_Prefetch)
        return _told(await node.prefetch(asked.image))

    async def scrub(_: Request) -> Response:
        return _told(await node.scrub())

    async def adopt(request: Request) -> Response:
        asked = msgspec.json.decode(await request.body(), type=_Adopt)
        return _told(await node.adopt(asked.image, Path(asked.root)))

    async def revoke(request: Request) -> Response:
        node.revoke(msgspec.json.decode(await request.body(), type=_Revoke).node)
        return _told(None)

    routes = [
        Route("/status", status, methods=["GET"]),
        Route("/gc", collect, methods=["POST"]),
        Route("/scrub", scrub, methods=["POST"]),
        Route("/prefetch", prefetch, methods=["POST"]),
        Route("/adopt", adopt, methods=["POST"]),
        Route("/revoke", revoke, methods=["POST"]),
    ]
    return Starlette(routes=[*routes, _metrics_route(node)], exception_handlers={NaruError: _refusal})


def observed(node: Node) -> Starlette:
    """Return the application for Prometheus: it can look only."""
    return Starlette(routes=[_metrics_route(node)])


def _metrics_route(node: Node) -> Route:
    async def scrape(_: Request) -> Response:
        return PlainTextResponse(metrics(await node.status()), media_type=_METRICS)

    return Route("/metrics", scrape, methods=["GET"])


def _told(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type=_JSON)


async def _refusal(_: Request, error: Exception) -> Response:
    if not isinstance(error, NaruError):
        raise error
    problem = msgspec.json.encode(_Problem(error.cause, error.mend))
    return Response(problem, http_status(error), media_type=_JSON)


class Agent:
    """The agent of this machine, asked through its socket. Every method raises the agent's errors, and Unavailable."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def status(self) -> Status:
        """Ask how it is."""
        return self._ask("GET", "/status", Status, patience=30.0)

    def collect(self) -> Collected:
        """Let it free what nothing needs."""
        return self._ask("POST", "/gc", Collected)

    def scrub(self) -> Verified:
        """Let it read every file again."""
        return self._ask("POST", "/scrub", Verified)

    def adopt(self, image: str, root: Path) -> Taken:
        """Let it take an image's files from a directory."""
        return self._ask("POST", "/adopt", Taken, content=msgspec.json.encode(_Adopt(image, str(root))))

    def revoke(self, node: str) -> None:
        """Let it throw a node out of the cluster, whose authority it holds."""
        self._ask("POST", "/revoke", NoneType, content=msgspec.json.encode(_Revoke(node)))

    def prefetch(self, image: str) -> Prefetched:
        """Let it bring an image; returns when the image is here."""
        return self._ask("POST", "/prefetch", Prefetched, content=msgspec.json.encode(_Prefetch(image)))

    def _ask(self, method: str, path: str, kind: type[T], *, content: bytes = b"", patience: float | None = None) -> T:
        connection = HTTPConnection("agent")
        connection.sock = socket(AF_UNIX, SOCK_STREAM)
        connection.sock.settimeout(patience)
        try:
            connection.sock.connect(str(self._socket))
            connection.request(method, path, content)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, HTTPException) as error:
            raise Unavailable(
                f"no agent answers at {self._socket}", "start it: systemctl start naru-agent, or naru agent run"
            ) from error
        finally:
            connection.close()
        if answer.status == 200:
            return msgspec.json.decode(said, type=kind)
        try:
            problem = msgspec.json.decode(said, type=_Problem)
        except msgspec.DecodeError:
            raise Unavailable(f"the agent failed with status {answer.status}", "look at its log") from None
        raise _KINDS.get(answer.status, Unavailable)(problem.cause, problem.mend)
