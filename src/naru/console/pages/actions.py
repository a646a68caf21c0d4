"""What can be done to an app. Each action has a form of its own, which the app's page also shows as a dialog."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.datastructures import FormData
from starlette.responses import Response

from naru.console.desk import Visit
from naru.console.forms import number
from naru.domain.errors import Invalid, NaruError, http_status
from naru.domain.rollout import Rollout


async def ask_image(visit: Visit) -> Response:
    """Ask which image to run from now on."""
    return await _ask(visit, "image")


async def ask_replicas(visit: Visit) -> Response:
    """Ask how many instances to run."""
    return await _ask(visit, "scale")


async def ask_target(visit: Visit) -> Response:
    """Ask where to run from now on."""
    return await _ask(visit, "move")


async def ask_removal(visit: Visit) -> Response:
    """Ask whether the app is really to go."""
    return await _ask(visit, "remove")


async def update(visit: Visit) -> Response:
    """Run another image."""

    def act(app: str, form: FormData, version: int | None) -> Awaitable[Rollout]:
        image = str(form.get("image", "")).strip()
        return visit.platform.apps.update(app, image=image, subject=visit.subject, if_version=version)

    return await _act(visit, "image", act)


async def scale(visit: Visit) -> Response:
    """Run more or fewer instances."""

    def act(app: str, form: FormData, version: int | None) -> Awaitable[Rollout]:
        replicas = number(str(form.get("replicas", "")))
        return visit.platform.apps.scale(app, replicas=replicas, subject=visit.subject, if_version=version)

    return await _act(visit, "scale", act)


async def move(visit: Visit) -> Response:
    """Run the app on another target."""

    def act(app: str, form: FormData, version: int | None) -> Awaitable[Rollout]:
        to, copy_volumes = str(form.get("target", "")), form.get("volumes") == "on"
        return visit.platform.apps.move(
            app, to=to, copy_volumes=copy_volumes, subject=visit.subject, if_version=version
        )

    return await _act(visit, "move", act)


async def remove(visit: Visit) -> Response:
    """Remove the app, once its name was typed."""

    def act(app: str, form: FormData, version: int | None) -> Awaitable[Rollout]:
        if str(form.get("confirm", "")).strip() != app:
            raise Invalid("the name that was typed is not the app's", f"type {app} to remove it")
        volumes = form.get("volumes") == "on"
        return visit.platform.apps.remove(app, volumes=volumes, subject=visit.subject, if_version=version)

    return await _act(visit, "remove", act, "/rollouts/{rollout.id}")


async def roll_back(visit: Visit) -> Response:
    """Go back to an earlier release: the one that was named, else the one before the live one."""
    app, form = visit.path("app"), await visit.form()
    wanted = str(form.get("release", ""))
    await visit.platform.apps.roll_back(app, release=number(wanted) if wanted else None, subject=visit.subject)
    return visit.go(f"/apps/{app}")


async def _act(
    visit: Visit,
    action: str,
    act: Callable[[str, FormData, int | None], Awaitable[Rollout]],
    then: str = "/apps/{rollout.app}",
) -> Response:
    app, form = visit.path("app"), await visit.form()
    version = str(form.get("version", ""))
    try:
        rollout = await act(app, form, number(version) if version else None)
    except NaruError as error:
        return await _ask(visit, action, error)
    return visit.go(then.format(rollout=rollout))


async def _ask(visit: Visit, action: str, error: NaruError | None = None) -> Response:
    status = await visit.platform.apps.status(visit.path("app"))
    images = await visit.platform.images.images() if action == "image" else ()
    targets = await visit.platform.targets() if action == "move" else ()
    typed = await visit.form() if visit.request.method == "POST" else FormData()
    return visit.page(
        "action.html",
        http_status(error) if error else HTTPStatus.OK,
        action=action,
        status=status,
        images=images,
        targets=targets,
        typed={key: value for key, value in typed.items() if isinstance(value, str)},
        error=error,
    )
