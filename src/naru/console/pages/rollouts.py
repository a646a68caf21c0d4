"""Rollouts: the steps of one as they happen, and all of an app."""

from starlette.responses import Response
from starlette.types import ASGIApp

from naru.console.desk import Visit
from naru.console.live import Channel

PAGE = 50


async def of_app(visit: Visit) -> Response:
    """List an app's rollouts, newest first."""
    name = visit.path("app")
    status = await visit.platform.apps.status(name)
    found = await visit.platform.apps.rollouts(name, before=visit.query("before"), limit=PAGE + 1)
    more = found[PAGE - 1].id if len(found) > PAGE else ""
    return visit.page("rollouts.html", status=status, rollouts=found[:PAGE], next=more)


async def one(visit: Visit) -> Response:
    """Show one rollout whole, with how its image went to nodes."""
    rollout = await visit.platform.apps.rollout(visit.path("rollout"))
    gone = await visit.platform.nodes.distributions(rollout=rollout.id)
    return visit.page("rollout.html", rollout=rollout, distributions=gone)


async def live(visit: Visit) -> ASGIApp:
    """Show each change of a rollout until it ends."""

    async def produce(channel: Channel) -> None:
        async for rollout in visit.platform.apps.follow(visit.path("rollout")):
            await channel.show({"rollout": visit.html("parts/rollout.html", rollout=rollout)})
        await channel.tell("ended", True)

    return visit.stream(produce)


async def cancel(visit: Visit) -> Response:
    """Ask a rollout to stop and go back."""
    rollout = await visit.platform.apps.cancel(visit.path("rollout"), subject=visit.subject)
    return visit.go(f"/rollouts/{rollout.id}?notice=cancelled")
