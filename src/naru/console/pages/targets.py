"""Where instances can run, and what happened anywhere."""

from starlette.responses import Response

from naru.console.desk import Visit


async def index(visit: Visit) -> Response:
    """List the targets with what they have and lack."""
    return visit.page("targets.html", targets=await visit.platform.targets())


async def events(visit: Visit) -> Response:
    """List what happened to all apps, newest first."""
    return visit.page("events.html", events=await visit.platform.apps.latest_events(limit=200))
