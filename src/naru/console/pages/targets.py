"""Where instances can run, and what happened anywhere."""

from collections.abc import Awaitable
from http import HTTPStatus

from starlette.responses import Response

from naru.console.desk import Visit
from naru.domain.errors import NaruError, http_status
from naru.domain.evacuation import Evacuation


async def index(visit: Visit) -> Response:
    """List the targets with what they have and lack."""
    return await _page(visit)


async def add(visit: Visit) -> Response:
    """Add an engine, once it has answered."""
    form = await visit.form()
    name, url, site = (str(form.get(key, "")).strip() for key in ("name", "url", "site"))
    force = form.get("force") == "on"
    adding = visit.platform.fleet.add(name, url, site=site, force=force, subject=visit.subject)
    return await _done(visit, adding, "target-added")


async def cordon(visit: Visit) -> Response:
    """Let nothing new come to the target."""
    cordoning = visit.platform.fleet.cordon(visit.path("target"), subject=visit.subject)
    return await _done(visit, cordoning, "target-cordoned")


async def uncordon(visit: Visit) -> Response:
    """Let the target take new apps again."""
    freeing = visit.platform.fleet.uncordon(visit.path("target"), subject=visit.subject)
    return await _done(visit, freeing, "target-uncordoned")


async def drain(visit: Visit) -> Response:
    """Begin to move the target's apps away, and say which cannot go."""
    copy_volumes = (await visit.form()).get("volumes") == "on"
    try:
        evacuation = await visit.platform.fleet.drain(
            visit.path("target"), copy_volumes=copy_volumes, subject=visit.subject
        )
    except NaruError as error:
        return await _page(visit, error)
    return await _page(visit, evacuation=evacuation)


async def remove(visit: Visit) -> Response:
    """Forget a target on which no app lives."""
    removing = visit.platform.fleet.remove(visit.path("target"), subject=visit.subject)
    return await _done(visit, removing, "target-removed")


async def events(visit: Visit) -> Response:
    """List what happened to all apps, newest first."""
    return visit.page("events.html", events=await visit.platform.apps.latest_events(limit=200))


async def _done(visit: Visit, work: Awaitable[object], notice: str) -> Response:
    try:
        await work
    except NaruError as error:
        return await _page(visit, error)
    return visit.go(f"/targets?notice={notice}")


async def _page(visit: Visit, error: NaruError | None = None, evacuation: Evacuation | None = None) -> Response:
    typed = await visit.form() if error else {}
    kept = ("name", "site") if "@" in str(typed.get("url", "")) else ("name", "site", "url")  # a password is not shown
    return visit.page(
        "targets.html",
        http_status(error) if error else HTTPStatus.OK,
        targets=await visit.platform.targets(),
        error=error,
        evacuation=evacuation,
        typed={key: value for key, value in typed.items() if key in kept},
    )
