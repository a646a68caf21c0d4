"""Every page of the console in one table, and the one way in."""

from collections.abc import Callable
from datetime import UTC, datetime

from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute, Mount, Route

from naru.console import assets
from naru.console.desk import Desk, Page
from naru.console.guard import SecurityHeaders
from naru.console.pages import (
    actions,
    app,
    apps,
    comparisons,
    images,
    missing,
    nodes,
    rollouts,
    settings,
    sign_in,
    targets,
    test_request,
)
from naru.console.render import Renderer
from naru.control.platform import Platform

PAGES: tuple[Page, ...] = (
    Page("GET", "/login", sign_in.ask, guest=True),
    Page("POST", "/login", sign_in.enter, guest=True),
    Page("POST", "/logout", sign_in.leave),
    Page("GET", "/", apps.home),
    Page("GET", "/apps", apps.index, "apps"),
    Page("GET", "/live/apps", apps.live),
    Page("GET", "/new", apps.new, "apps"),
    Page("POST", "/new", apps.create, "apps"),
    Page("POST", "/new/choice", apps.choose, "apps"),
    Page("GET", "/apps/{app}", app.overview, "apps"),
    Page("GET", "/live/apps/{app}", app.live),
    Page("GET", "/apps/{app}/edit", apps.edit, "apps"),
    Page("POST", "/apps/{app}/edit", apps.change, "apps"),
    Page("GET", "/apps/{app}/image", actions.ask_image, "apps"),
    Page("POST", "/apps/{app}/image", actions.update, "apps"),
    Page("GET", "/apps/{app}/scale", actions.ask_replicas, "apps"),
    Page("POST", "/apps/{app}/scale", actions.scale, "apps"),
    Page("GET", "/apps/{app}/move", actions.ask_target, "apps"),
    Page("POST", "/apps/{app}/move", actions.move, "apps"),
    Page("GET", "/apps/{app}/remove", actions.ask_removal, "apps"),
    Page("POST", "/apps/{app}/remove", actions.remove, "apps"),
    Page("GET", "/apps/{app}/releases", app.releases, "apps"),
    Page("GET", "/apps/{app}/releases/{number:int}", app.release, "apps"),
    Page("POST", "/apps/{app}/rollback", actions.roll_back, "apps"),
    Page("GET", "/apps/{app}/rollouts", rollouts.of_app, "apps"),
    Page("GET", "/apps/{app}/logs", app.logs, "apps"),
    Page("GET", "/live/apps/{app}/logs", app.logs_live),
    Page("GET", "/apps/{app}/logs.txt", app.logs_text),
    Page("GET", "/apps/{app}/request", test_request.ask, "apps"),
    Page("POST", "/apps/{app}/request", test_request.send, "apps"),
    Page("GET", "/apps/{app}/events", app.events, "apps"),
    Page("GET", "/rollouts/{rollout}", rollouts.one, "apps"),
    Page("GET", "/live/rollouts/{rollout}", rollouts.live),
    Page("POST", "/rollouts/{rollout}/cancel", rollouts.cancel),
    Page("GET", "/images", images.index, "images"),
    Page("POST", "/images", images.upload_form, "images", upload=True),
    Page("PUT", "/images", images.upload, upload=True),
    Page("POST", "/images/remove", images.remove, "images"),
    Page("GET", "/targets", targets.index, "targets"),
    Page("POST", "/targets", targets.add, "targets"),
    Page("POST", "/targets/{target}/cordon", targets.cordon, "targets"),
    Page("POST", "/targets/{target}/uncordon", targets.uncordon, "targets"),
    Page("POST", "/targets/{target}/drain", targets.drain, "targets"),
    Page("POST", "/targets/{target}/remove", targets.remove, "targets"),
    Page("GET", "/comparisons", comparisons.index, "comparisons"),
    Page("POST", "/comparisons", comparisons.start, "comparisons"),
    Page("GET", "/comparisons/{comparison}", comparisons.one, "comparisons"),
    Page("GET", "/comparisons/{comparison}/report.html", comparisons.download, "comparisons"),
    Page("POST", "/comparisons/{comparison}/cancel", comparisons.cancel, "comparisons"),
    Page("GET", "/live/comparisons/{comparison}", comparisons.live),
    Page("GET", "/nodes", nodes.index, "nodes"),
    Page("POST", "/nodes/tokens", nodes.invite, "nodes"),
    Page("POST", "/nodes/tokens/revoke", nodes.uninvite, "nodes"),
    Page("POST", "/nodes/{node}/remove", nodes.remove, "nodes"),
    Page("GET", "/events", targets.events, "events"),
    Page("GET", "/settings", settings.index, "settings"),
    Page("POST", "/settings/display", settings.display, guest=True),
    Page("POST", "/settings/password", settings.save_password, "settings"),
    Page("POST", "/settings/secrets", settings.save_secret, "settings"),
    Page("POST", "/settings/secrets/remove", settings.remove_secret, "settings"),
    Page("POST", "/settings/registries", settings.save_registry, "settings"),
    Page("POST", "/settings/registries/remove", settings.remove_registry, "settings"),
    Page("POST", "/settings/tokens", settings.create_token, "settings"),
    Page("POST", "/settings/tokens/revoke", settings.revoke_token, "settings"),
)
"""The first row whose method and path fit answers."""


def routes(platform: Platform, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> list[BaseRoute]:
    """Return the console as routes for the application that also serves the API: append them last.

    They answer every path that nothing before them does, under strict security headers, compressed, and each page
    but the sign-in one only to a valid session cookie (`naru.control.accounts.SESSION_COOKIE`).
    """
    files = assets.packaged()
    desk = Desk(platform, Renderer(files), now)
    pages = [Route(page.path, desk.endpoint(page), methods=[page.method]) for page in PAGES]
    nowhere = Page("GET", "/{path:path}", missing.page, guest=True)
    return [
        Mount(
            "",
            routes=[
                Route(assets.PREFIX + "/{path:path}", files.answer),
                *pages,
                Route(nowhere.path, desk.endpoint(nowhere)),
            ],
            middleware=[Middleware(SecurityHeaders), Middleware(GZipMiddleware, minimum_size=700, compresslevel=6)],
        )
    ]
