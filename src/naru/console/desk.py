"""The front desk: turns a request into a Visit, lets a page handle it, and turns errors into pages."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from urllib.parse import quote

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from naru.console import guard, words
from naru.console.live import Channel, EventStream
from naru.console.render import Renderer, Viewer, said, viewer
from naru.control.accounts import SESSION_COOKIE
from naru.control.platform import Platform
from naru.domain.account import Subject
from naru.domain.errors import NaruError, SignInRequired, Unavailable, http_status

_log = logging.getLogger(__name__)

NOBODY = Subject("")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of one viewer, with everything that a page needs to answer it."""

    request: Request
    platform: Platform
    renderer: Renderer
    viewer: Viewer
    clock: Callable[[], datetime]
    session: str = ""
    subject: Subject = NOBODY
    section: str = ""

    @property
    def now(self) -> datetime:
        """The time: a stream outlives the moment at which it was opened."""
        return self.clock()

    def path(self, name: str) -> str:
        """Return a parameter of the URL's path."""
        return str(self.request.path_params[name])

    def query(self, name: str, otherwise: str = "") -> str:
        """Return a parameter of the URL's query."""
        return self.request.query_params.get(name, otherwise)

    async def form(self) -> FormData:
        """Return the form that was sent."""
        return await self.request.form()

    @property
    def by_htmx(self) -> bool:
        """Whether htmx asks, so that the answer is the part of a page."""
        return self.request.headers.get("hx-request") == "true"

    def html(self, template: str, /, **values: object) -> str:
        """Render a template or a part."""
        return self.renderer.render(template, self.viewer, self._always() | values)

    def said(self, text: str) -> str:
        """Say a text of the server in the viewer's language."""
        return said(text, self.viewer.language)

    def page(self, template: str, http: int = HTTPStatus.OK, /, **values: object) -> Response:
        """Answer with a page, and `http` as the status of the answer."""
        return HTMLResponse(self.html(template, **values), status_code=http)

    def go(self, path: str) -> Response:
        """Answer with the page to look at next (303: fetch it with GET)."""
        return RedirectResponse(path, status_code=HTTPStatus.SEE_OTHER)

    def stream(self, produce: Callable[[Channel], Awaitable[None]]) -> ASGIApp:
        """Answer with a stream that lasts as long as the session does."""
        return EventStream(produce, lambda: self.platform.accounts.who(self.session))

    def refuse(self, error: NaruError) -> Response:
        """Answer with the error, as a whole page or, for htmx, as a part."""
        template = "parts/error.html" if self.by_htmx else "error.html"
        answer = self.page(template, http_status(error), error=error, status_code=http_status(error))
        if isinstance(error, Unavailable):
            answer.headers["Retry-After"] = f"{error.retry_after:.0f}"
        return answer

    def _always(self) -> dict[str, object]:
        return {
            "now": self.now,
            "subject": self.subject,
            "csrf": self.platform.accounts.csrf_token(self.session) if self.session else "",
            "here": self.request.url.path,
            "section": self.section,
            "notice": words.NOTICES.get(self.query("notice"), ""),
        }


Answer = Response | ASGIApp
Handler = Callable[[Visit], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Page:
    """One row of the table of pages. A guest page needs no sign-in; an upload checks size and token itself."""

    method: str
    path: str
    handler: Handler
    section: str = ""
    guest: bool = False
    upload: bool = False


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything that all pages share."""

    platform: Platform
    renderer: Renderer
    clock: Callable[[], datetime]

    def endpoint(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """Return what Starlette calls for a page."""

        async def answer(request: Request) -> Response:
            try:
                return await self._answer(page, request)  # type: ignore[return-value]
            finally:
                await request.close()

        return answer

    async def _answer(self, page: Page, request: Request) -> Answer:
        visit = self._guest(page, request)
        try:
            if not page.guest:
                visit = await self._signed_in(visit)
            await self._check(page, visit)
            return await page.handler(visit)
        except SignInRequired as error:
            return visit.refuse(error) if page.guest else _to_sign_in(visit)
        except NaruError as error:
            return visit.refuse(error)
        except Exception:
            _log.exception("%s %s failed", request.method, request.url.path)
            return visit.page("failed.html", HTTPStatus.INTERNAL_SERVER_ERROR)

    def _guest(self, page: Page, request: Request) -> Visit:
        return Visit(request, self.platform, self.renderer, viewer(request), self.clock, section=page.section)

    async def _signed_in(self, visit: Visit) -> Visit:
        session = visit.request.cookies.get(SESSION_COOKIE, "")
        subject = await self.platform.accounts.who(session)
        return Visit(
            visit.request, self.platform, self.renderer, visit.viewer, visit.clock, session, subject, visit.section
        )

    async def _check(self, page: Page, visit: Visit) -> None:
        guard.check_origin(visit.request)
        if visit.request.method in guard.SAFE:
            return
        if not page.upload:
            guard.check_size(visit.request)
        if page.guest:
            return
        given = visit.request.headers.get("x-csrf-token") or str((await visit.form()).get("csrf", ""))
        guard.check_token(given, self.platform.accounts.csrf_token(visit.session))


def _to_sign_in(visit: Visit) -> Response:
    """Send the viewer to the sign-in page and, after a page was asked for, back."""
    wanted = visit.request.url.path if visit.request.method == "GET" else "/apps"
    if visit.by_htmx:
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": "/login"})
    return RedirectResponse(f"/login?next={quote(wanted)}", status_code=HTTPStatus.SEE_OTHER)
