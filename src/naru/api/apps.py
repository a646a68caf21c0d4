"""Apps, their releases, instances, logs, usage, and requests to them."""

from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import Base64Bytes, Field

from naru.api.answers import Page, document, expected_version, page
from naru.api.idempotency import IdempotentRoute
from naru.api.identity import By, Naru
from naru.api.streams import Message, stream
from naru.domain.errors import Invalid
from naru.domain.instance import Instance, LogLine, Usage
from naru.domain.proof import Answer, ProbeRequest
from naru.domain.release import Release
from naru.domain.rollout import Rollout
from naru.domain.status import AppStatus
from naru.domain.workload import Workload

router = APIRouter(route_class=IdempotentRoute, tags=["apps"])

Limit = Annotated[int, Query(ge=1, le=500)]
Number = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""A release or an event: as much as every database holds."""
ACCEPTED = HTTPStatus.ACCEPTED


@dataclass(frozen=True, slots=True)
class AppChange:
    """What to change: another image, another replica count, or both, the rest as it is."""

    image: str | None = None
    replicas: int | None = None


@dataclass(frozen=True, slots=True)
class RollbackAsk:
    """Which release to go back to; null for the one that was live before."""

    release: Number | None = None


@dataclass(frozen=True, slots=True)
class MoveAsk:
    """The target to move to, empty for the best other one; and whether the app may be stopped to copy its volumes."""

    to: str = ""
    copy_volumes: bool = False


@dataclass(frozen=True, slots=True)
class ExecAsk:
    """A command and what it reads from standard input, as base64."""

    command: list[str]
    stdin: Base64Bytes = b""


@dataclass(frozen=True, slots=True)
class ExecAnswer:
    """What a command left behind; what it wrote is base64 (RFC 4648, section 4)."""

    exit_code: int
    stdout: str
    stderr: str


@router.get("/apps", response_model=Page[AppStatus])
async def list_apps(request: Request, naru: Naru, by: By, after: str = "", limit: Limit = 50) -> Response:
    """List the apps by name."""
    return page(
        request, AppStatus, await naru.apps.statuses(after=after, limit=limit), limit, "after", lambda s: s.app.name
    )


@router.post("/apps", status_code=ACCEPTED, response_model=Rollout)
async def deploy(request: Request, naru: Naru, by: By, workload: Workload) -> Response:
    """Deploy an app, or a new release of it."""
    version = expected_version(request)
    return _accepted(request, await naru.apps.deploy(workload, subject=by, if_version=version))


@router.get("/apps/{app}", response_model=AppStatus)
async def show_app(request: Request, naru: Naru, by: By, app: str) -> Response:
    """Show one app."""
    status = await naru.apps.status(app)
    return document(request, AppStatus, status, version=status.app.version)


@router.put("/apps/{app}", status_code=ACCEPTED, response_model=Rollout)
async def redeploy(request: Request, naru: Naru, by: By, app: str, workload: Workload) -> Response:
    """Deploy the app as the body says."""
    if workload.app != app:
        raise Invalid(f"the body is for {workload.app}, the address for {app}", "name the same app in both")
    version = expected_version(request)
    return _accepted(request, await naru.apps.deploy(workload, subject=by, if_version=version))


@router.patch("/apps/{app}", status_code=ACCEPTED, response_model=Rollout)
async def change_app(request: Request, naru: Naru, by: By, app: str, change: AppChange) -> Response:
    """Change the image, the replica count, or both."""
    version = expected_version(request)
    if change.image is None and change.replicas is None:
        raise Invalid("nothing is to change", "give an image, a replica count, or both")
    return _accepted(
        request,
        await naru.apps.change(app, image=change.image, replicas=change.replicas, subject=by, if_version=version),
    )


@router.delete("/apps/{app}", status_code=ACCEPTED, response_model=Rollout)
async def remove_app(request: Request, naru: Naru, by: By, app: str, volumes: bool = False) -> Response:
    """Remove the app, its volumes too when asked."""
    version = expected_version(request)
    return _accepted(request, await naru.apps.remove(app, volumes=volumes, subject=by, if_version=version))


@router.post("/apps/{app}/rollback", status_code=ACCEPTED, response_model=Rollout)
async def roll_back(request: Request, naru: Naru, by: By, app: str, ask: RollbackAsk) -> Response:
    """Go back to an earlier release."""
    version = expected_version(request)
    return _accepted(request, await naru.apps.roll_back(app, release=ask.release, subject=by, if_version=version))


@router.post("/apps/{app}/move", status_code=ACCEPTED, response_model=Rollout)
async def move_app(request: Request, naru: Naru, by: By, app: str, ask: MoveAsk) -> Response:
    """Run the app on another target, without a failed request; volumes are copied, if asked, while it is stopped."""
    version = expected_version(request)
    moving = await naru.apps.move(app, to=ask.to, copy_volumes=ask.copy_volumes, subject=by, if_version=version)
    return _accepted(request, moving)


@router.get("/apps/{app}/releases", response_model=Page[Release])
async def list_releases(
    request: Request, naru: Naru, by: By, app: str, before: Number | None = None, limit: Limit = 50
) -> Response:
    """List the app's releases, newest first."""
    releases = await naru.apps.releases(app, before=before, limit=limit)
    return page(request, Release, releases, limit, "before", lambda release: str(release.number))


@router.get("/apps/{app}/releases/{number}", response_model=Release)
async def show_release(request: Request, naru: Naru, by: By, app: str, number: Number) -> Response:
    """Show one release."""
    return document(request, Release, await naru.apps.release(app, number))


@router.get("/apps/{app}/instances", response_model=Page[Instance])
async def list_instances(request: Request, naru: Naru, by: By, app: str) -> Response:
    """List the app's instances, oldest first."""
    instances = await naru.instances.of(app)
    return page(request, Instance, instances, len(instances) + 1)


@router.get("/apps/{app}/logs")
async def read_logs(
    naru: Naru,
    by: By,
    app: str,
    instance: str = "",
    since: datetime | None = None,
    tail: Annotated[int | None, Query(ge=0, le=100_000)] = None,
    follow: bool = False,
) -> Response:
    """Stream what the app's instances wrote, as events named `line`."""
    if since is not None and since.tzinfo is None:
        raise Invalid(f"{since} names no time zone", "write it as 2026-01-31T12:00:00Z")
    await naru.instances.of(app)

    async def messages() -> AsyncIterator[Message]:
        async for line in naru.instances.logs(app, instance=instance, follow=follow, since=since, tail=tail):
            yield Message("line", LogLine, line)

    return stream(messages())


@router.get("/apps/{app}/usage")
async def read_usage(naru: Naru, by: By, app: str) -> Response:
    """Stream what the instances use, as events named `usage`, about one a second."""
    await naru.instances.of(app)

    async def messages() -> AsyncIterator[Message]:
        async for usage in naru.instances.usage(app):
            yield Message("usage", Sequence[Usage], usage)

    return stream(messages())


@router.post("/apps/{app}/instances/{instance}/exec", response_model=ExecAnswer)
async def execute(request: Request, naru: Naru, by: By, app: str, instance: str, ask: ExecAsk) -> Response:
    """Run a command inside an instance to its end."""
    if not ask.command:
        raise Invalid("there is no command", "name the program to run")
    result = await naru.instances.execute(app, instance, ask.command, stdin=ask.stdin, subject=by)
    stdout, stderr = b64encode(result.stdout).decode(), b64encode(result.stderr).decode()
    return document(request, ExecAnswer, ExecAnswer(result.exit_code, stdout, stderr))


@router.post("/apps/{app}/requests", response_model=Answer)
async def send_request(request: Request, naru: Naru, by: By, app: str, probe: ProbeRequest) -> Response:
    """Send one test request through the app's endpoint."""
    return document(request, Answer, await naru.apps.request(app, probe, subject=by))


def _accepted(request: Request, rollout: Rollout) -> Response:
    return document(
        request, Rollout, rollout, status=ACCEPTED, location=f"{request.scope['root_path']}/rollouts/{rollout.id}"
    )
