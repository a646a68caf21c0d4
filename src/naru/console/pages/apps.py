"""All apps, and describing one: new or changed."""

import asyncio
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import ASGIApp

from naru.console.desk import Visit
from naru.console.forms import Draft, blank, filled, read
from naru.console.live import Channel
from naru.domain.errors import Conflict, NaruError, NotFound, http_status
from naru.domain.status import AppStatus

PAGE = 50


async def home(visit: Visit) -> Response:
    """Start at the list of apps."""
    return visit.go("/apps")


async def index(visit: Visit) -> Response:
    """List the apps."""
    after = visit.query("after")
    return visit.page("apps.html", **await _list(visit, after))


async def live(visit: Visit) -> ASGIApp:
    """Keep the list up to date."""
    after = visit.query("after")

    async def produce(channel: Channel) -> None:
        async for _ in visit.platform.apps.watch():
            await channel.show({"apps": visit.html("parts/apps.html", **await _list(visit, after))})

    return visit.stream(produce)


async def new(visit: Visit) -> Response:
    """Ask for an image, a port and a replica count; the rest is folded away."""
    return await _ask(visit, blank(image=visit.query("image")), app="")


async def create(visit: Visit) -> Response:
    """Deploy a new app; a name in use is refused here, for the API would take it for a new release."""
    draft = read(await visit.form())
    if draft.workload is None:
        return await _ask(visit, draft, app="", http=HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        if await _exists(visit, draft.workload.app):
            raise Conflict(
                f"there is already an app named {draft.workload.app}", "choose another name, or edit that app"
            )
        await visit.platform.apps.deploy(draft.workload, subject=visit.subject)
    except NaruError as error:
        return await _ask(visit, draft, app="", error=error, http=http_status(error))
    return visit.go(f"/apps/{draft.workload.app}")


async def choose(visit: Visit) -> Response:
    """Show where the app of a half-typed form would run; nothing while it describes none."""
    draft = read(await visit.form())
    decided = await visit.platform.choose(draft.workload) if draft.workload else None
    return visit.page("parts/choice.html", decided=decided)


async def edit(visit: Visit) -> Response:
    """Show what the live release, or else the one under way, was asked to be."""
    status = await visit.platform.apps.status(visit.path("app"))
    return await _ask(visit, _draft(status), app=status.app.name)


async def change(visit: Visit) -> Response:
    """Make a new release of the app."""
    name = visit.path("app")
    draft = read(await visit.form(), app=name)
    if draft.workload is None:
        return await _ask(visit, draft, app=name, http=HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        await visit.platform.apps.deploy(draft.workload, subject=visit.subject, if_version=draft.version)
    except NaruError as error:
        return await _ask(visit, draft, app=name, error=error, http=http_status(error))
    return visit.go(f"/apps/{name}")


async def _list(visit: Visit, after: str) -> dict[str, object]:
    found = await visit.platform.apps.statuses(after=after, limit=PAGE + 1)
    more = len(found) > PAGE
    return {"apps": found[:PAGE], "after": after, "next": found[PAGE - 1].app.name if more else ""}


async def _ask(
    visit: Visit, draft: Draft, *, app: str, error: NaruError | None = None, http: int = HTTPStatus.OK
) -> Response:
    images, secrets = await asyncio.gather(visit.platform.images.images(), visit.platform.vault.secrets())
    decided = await visit.platform.choose(draft.workload) if draft.workload and not app else None
    return visit.page(
        "workload.html", http, draft=draft, app=app, error=error, images=images, secrets=secrets, decided=decided
    )


async def _exists(visit: Visit, app: str) -> bool:
    try:
        await visit.platform.apps.status(app)
    except NotFound:
        return False
    return True


def _draft(status: AppStatus) -> Draft:
    if status.release is not None:
        return filled(status.release.workload, status.app.version)
    if status.rollout is not None:
        return filled(status.rollout.workload, status.app.version)
    return blank()
