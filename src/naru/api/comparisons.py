"""Comparisons of targets by measurement."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import Response

from naru.api.answers import Page, document, page
from naru.api.apps import Limit
from naru.api.idempotency import IdempotentRoute
from naru.api.identity import By, Naru
from naru.api.streams import Message, stream
from naru.domain.comparison import Comparison

router = APIRouter(route_class=IdempotentRoute, tags=["comparisons"])


@dataclass(frozen=True, slots=True)
class ComparisonAsk:
    """Which targets to compare, all of them when none is named, and how often to measure each.

    `image` is the study's image in a registry from which the targets pull; without it Naru brings its own.
    """

    targets: tuple[str, ...] = ()
    repeats: int = 6
    image: str = ""


@router.get("/comparisons", response_model=Page[Comparison])
async def list_comparisons(request: Request, naru: Naru, by: By, limit: Limit = 20) -> Response:
    """List comparisons, newest first."""
    return page(request, Comparison, await naru.comparisons.latest(limit), limit + 1)


@router.post("/comparisons", status_code=HTTPStatus.ACCEPTED, response_model=Comparison)
async def start_comparison(request: Request, naru: Naru, by: By, ask: ComparisonAsk) -> Response:
    """Start to compare targets: instances are made, crashed and removed on each of them, under names of their own."""
    started = await naru.comparisons.start(ask.targets, repeats=ask.repeats, image=ask.image, subject=by)
    location = f"{request.scope['root_path']}/comparisons/{started.id}"
    return document(request, Comparison, started, status=HTTPStatus.ACCEPTED, location=location)


@router.get("/comparisons/{comparison}", response_model=Comparison)
async def show_comparison(request: Request, naru: Naru, by: By, comparison: str) -> Response:
    """Show one comparison with its results so far."""
    return document(request, Comparison, await naru.comparisons.get(comparison))


@router.get("/comparisons/{comparison}/stream")
async def follow_comparison(naru: Naru, by: By, comparison: str) -> Response:
    """Stream the comparison at each change until its end, as events named `comparison`."""
    await naru.comparisons.get(comparison)

    async def messages() -> AsyncIterator[Message]:
        async for seen in naru.comparisons.follow(comparison):
            yield Message("comparison", Comparison, seen)

    return stream(messages())


@router.post("/comparisons/{comparison}/cancel", response_model=Comparison)
async def cancel_comparison(request: Request, naru: Naru, by: By, comparison: str) -> Response:
    """Stop a comparison and remove all that it made."""
    return document(request, Comparison, await naru.comparisons.cancel(comparison, subject=by))
