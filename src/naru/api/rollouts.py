"""Rollouts and events."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import Response

from naru.api.answers import Page, document, page
from naru.api.apps import Limit, Number
from naru.api.idempotency import IdempotentRoute
from naru.api.identity import By, Naru
from naru.api.streams import Message, stream
from naru.domain.app import Event
from naru.domain.rollout import Rollout

router = APIRouter(route_class=IdempotentRoute, tags=["rollouts"])


@router.get("/rollouts", response_model=Page[Rollout])
async def list_rollouts(
    request: Request, naru: Naru, by: By, app: str = "", before: str = "", limit: Limit = 50
) -> Response:
    """List rollouts, newest first."""
    rollouts = await naru.apps.rollouts(app, before=before, limit=limit)
    return page(request, Rollout, rollouts, limit, "before", lambda rollout: rollout.id)


@router.get("/rollouts/{rollout}", response_model=Rollout)
async def show_rollout(request: Request, naru: Naru, by: By, rollout: str) -> Response:
    """Show one rollout with its steps."""
    return document(request, Rollout, await naru.apps.rollout(rollout))


@router.get("/rollouts/{rollout}/stream")
async def follow_rollout(naru: Naru, by: By, rollout: str) -> Response:
    """Stream the rollout at each change until its end, as events named `rollout`."""
    await naru.apps.rollout(rollout)

    async def messages() -> AsyncIterator[Message]:
        async for seen in naru.apps.follow(rollout):
            yield Message("rollout", Rollout, seen)

    return stream(messages())


@router.post("/rollouts/{rollout}/cancel", response_model=Rollout)
async def cancel_rollout(request: Request, naru: Naru, by: By, rollout: str) -> Response:
    """Stop a rollout; what was live before comes back."""
    return document(request, Rollout, await naru.apps.cancel(rollout, subject=by))


@router.get("/events", response_model=Page[Event])
async def list_events(
    request: Request, naru: Naru, by: By, app: str = "", after: Number | None = None, limit: Limit = 100
) -> Response:
    """List events: after a number, oldest first, or without one the latest, newest first."""
    if after is None:
        return page(request, Event, await naru.apps.latest_events(app, limit), limit)
    events = await naru.apps.events(app, after=after, limit=limit)
    return page(request, Event, events, limit, "after", lambda event: str(event.number))


@router.get("/events/stream")
async def follow_events(request: Request, naru: Naru, by: By, app: str = "", after: Number | None = None) -> Response:
    """Stream events as they happen; Last-Event-ID or `after` resumes behind an earlier one."""
    resumed = request.headers.get("last-event-id", "")

    async def messages() -> AsyncIterator[Message]:
        last = int(resumed) if resumed.isdecimal() and len(resumed) < 10 else after
        if last is None:
            latest = await naru.apps.latest_events(app, 1)
            last = latest[0].number if latest else 0
        async for _ in naru.apps.watch(app):
            for event in await naru.apps.events(app, after=last, limit=500):
                last = event.number
                yield Message("event", Event, event, str(event.number))

    return stream(messages())
