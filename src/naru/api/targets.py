"""Targets, where instances can run, and the choice among them."""

from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import Response

from naru.api.answers import Page, document, page
from naru.api.idempotency import IdempotentRoute
from naru.api.identity import By, Naru
from naru.domain.choice import Choice
from naru.domain.evacuation import Evacuation
from naru.domain.target import Target, TargetState
from naru.domain.workload import Workload

router = APIRouter(route_class=IdempotentRoute, tags=["targets"])


@dataclass(frozen=True, slots=True)
class TargetAsk:
    """An engine to add as a target; `force` adds one that does not answer yet, `site` is its name unless given."""

    name: str
    url: str
    site: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True)
class TargetChange:
    """Whether the target takes new apps."""

    state: TargetState


@router.get("/targets", response_model=Page[Target])
async def list_targets(request: Request, naru: Naru, by: By) -> Response:
    """List the targets with what they can do and have room for."""
    targets = await naru.targets()
    return page(request, Target, targets, len(targets) + 1)


@router.post("/targets", status_code=HTTPStatus.CREATED, response_model=Target)
async def add_target(request: Request, naru: Naru, by: By, ask: TargetAsk) -> Response:
    """Add a target, once it has answered."""
    added = await naru.fleet.add(ask.name, ask.url, site=ask.site, force=ask.force, subject=by)
    location = f"{request.scope['root_path']}/targets/{added.name}"
    return document(request, Target, added, status=HTTPStatus.CREATED, location=location)


@router.get("/targets/{target}", response_model=Target)
async def show_target(request: Request, naru: Naru, by: By, target: str) -> Response:
    """Show one target."""
    return document(request, Target, await naru.fleet.show(target))


@router.patch("/targets/{target}", response_model=Target)
async def change_target(request: Request, naru: Naru, by: By, target: str, change: TargetChange) -> Response:
    """Cordon the target, or let it take new apps again."""
    changed = (
        naru.fleet.cordon(target, subject=by)
        if change.state is TargetState.CORDONED
        else naru.fleet.uncordon(target, subject=by)
    )
    return document(request, Target, await changed)


@dataclass(frozen=True, slots=True)
class DrainAsk:
    """Whether apps may be stopped to copy their volumes; those that have some stay otherwise."""

    copy_volumes: bool = False


@router.post("/targets/{target}/drain", status_code=HTTPStatus.ACCEPTED, response_model=Evacuation)
async def drain_target(request: Request, naru: Naru, by: By, target: str, ask: DrainAsk = DrainAsk()) -> Response:
    """Cordon the target and begin to move its apps away; those that cannot go are named with the reason."""
    evacuation = await naru.fleet.drain(target, copy_volumes=ask.copy_volumes, subject=by)
    return document(request, Evacuation, evacuation, status=HTTPStatus.ACCEPTED)


@router.delete("/targets/{target}", status_code=HTTPStatus.NO_CONTENT)
async def remove_target(naru: Naru, by: By, target: str) -> Response:
    """Forget a target on which no app lives."""
    await naru.fleet.remove(target, subject=by)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.post("/choices", response_model=Choice)
async def choose(request: Request, naru: Naru, by: By, workload: Workload) -> Response:
    """Say on which target the workload would run, and why; nothing is deployed."""
    return document(request, Choice, await naru.choose(workload))
