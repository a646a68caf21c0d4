"""The mirror over HTTP: the pull part of the registry API (distribution-spec 1.1), on loopback without a login."""

import re
from collections.abc import AsyncIterator
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from naru.agent.mirror.blobs import Blobs
from naru.agent.mirror.manifests import Manifests
from naru.agent.mirror.upstream import Upstream, repository
from naru.domain.errors import Forbidden, Invalid, NaruError, NotFound, Unavailable, http_status
from naru.oci.reference import DOCKER_HUB, Digest, Reference

_API: Final = {"Docker-Distribution-Api-Version": "registry/2.0"}
_RANGE: Final = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")
_CODES: Final[tuple[tuple[type[NaruError], str], ...]] = (
    (NotFound, "NAME_UNKNOWN"),
    (Forbidden, "DENIED"),
    (Invalid, "NAME_INVALID"),
    (Unavailable, "UNAVAILABLE"),
    (NaruError, "UNKNOWN"),
)


def mirror(blobs: Blobs, manifests: Manifests, upstream: Upstream, default: str = DOCKER_HUB) -> Starlette:
    """Return the application; `default` is the registry of requests that name none."""
    answers = _Answers(blobs, manifests, upstream, default)
    reads = ["GET", "HEAD"]
    application = Starlette(
        routes=[
            Route("/v2/", _greeting, methods=reads),
            Route("/v2/{name:path}/manifests/{wanted}", answers.manifest, methods=reads),
            Route("/v2/{name:path}/blobs/{digest}", answers.blob, methods=reads),
            Route("/v2/{name:path}/referrers/{digest}", answers.referrers, methods=["GET"]),
            Route("/v2/{name:path}/tags/list", answers.tags, methods=["GET"]),
        ],
        exception_handlers={NaruError: _refusal},
    )
    application.router.redirect_slashes = False
    return application


async def _greeting(_: Request) -> Response:
    return JSONResponse({}, headers=_API)


class _Answers:
    def __init__(self, blobs: Blobs, manifests: Manifests, upstream: Upstream, default: str) -> None:
        self._blobs = blobs
        self._manifests = manifests
        self._upstream = upstream
        self._default = default

    async def manifest(self, request: Request) -> Response:
        """Answer a manifest or an index by tag or digest."""
        wanted, accept = request.path_params["wanted"], ", ".join(request.headers.getlist("accept"))
        document = await self._manifests.get(self._of(request), wanted, accept)
        headers = _API | {
            "Content-Type": document.media_type,
            "Content-Length": str(len(document.content)),
            "Docker-Content-Digest": str(document.digest),
            "ETag": f'"{document.digest}"',
        }
        return Response(b"" if request.method == "HEAD" else document.content, headers=headers)

    async def blob(self, request: Request) -> Response:
        """Answer a blob, or one range of it, as it arrives."""
        of, digest = self._of(request), Digest.parse(request.path_params["digest"])
        headers = _API | {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": str(digest),
            "Accept-Ranges": "bytes",
            "ETag": f'"{digest}"',
        }
        if request.method == "HEAD":
            return Response(headers=headers | {"Content-Length": str(await self._blobs.size(of, digest))})
        size = await self._blobs.open(of, digest)
        start, end = 0, size
        asked = _RANGE.fullmatch(request.headers.get("range", ""))
        if asked:
            start, end = int(asked[1]), min(int(asked[2]) + 1 if asked[2] else size, size)
            if start >= end:
                return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{size}"})
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        headers["Content-Length"] = str(end - start)
        body: AsyncIterator[bytes] = self._blobs.read(of, digest, start, end)
        return StreamingResponse(body, 206 if asked else 200, headers)

    async def referrers(self, request: Request) -> Response:
        """Pass on what refers to a manifest: signatures, inventories, indexes."""
        digest = Digest.parse(request.path_params["digest"])
        return await self._passed_on(request, f"referrers/{digest}")

    async def tags(self, request: Request) -> Response:
        """Pass on the list of tags."""
        return await self._passed_on(request, "tags/list")

    async def _passed_on(self, request: Request, target: str) -> Response:
        query = "&".join(f"{key}={value}" for key, value in request.query_params.multi_items() if key != "ns")
        document = await self._upstream.document(self._of(request), target, query)
        return Response(document.content, media_type=document.media_type, headers=_API)

    def _of(self, request: Request) -> Reference:
        return repository(request.path_params["name"], request.query_params.get("ns", ""), self._default)


async def _refusal(_: Request, error: Exception) -> Response:
    if not isinstance(error, NaruError):
        raise error
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    # Clients take 422 for a mistake of ours; the specification answers a wrong name or digest with 400.
    status = 400 if isinstance(error, Invalid) else http_status(error)
    return JSONResponse({"errors": [{"code": code, "message": str(error)}]}, status, headers=_API)
