"""A test request by hand: through the app's endpoint, as its users reach it."""

from http import HTTPStatus

from starlette.responses import Response

from naru.console.desk import Visit
from naru.console.forms import probe_request, request_texts, typed
from naru.domain.errors import NaruError, http_status
from naru.domain.proof import METHODS, Answer, ProbeRequest
from naru.domain.status import AppStatus


async def ask(visit: Visit) -> Response:
    """Show the form, filled with the request that proves the app."""
    return await _page(visit)


async def send(visit: Visit) -> Response:
    """Send the request and show what came back."""
    app, form = visit.path("app"), await visit.form()
    text = typed(form, request_texts(ProbeRequest()))
    try:
        answer = await visit.platform.apps.request(app, probe_request(text), subject=visit.subject)
    except NaruError as error:
        if visit.by_htmx:
            return visit.refuse(error)
        return await _page(visit, text=text, error=error)
    if visit.by_htmx:
        return visit.page("parts/answer.html", answer=answer)
    return await _page(visit, text=text, answer=answer)


async def _page(
    visit: Visit,
    *,
    text: dict[str, str] | None = None,
    answer: Answer | None = None,
    error: NaruError | None = None,
) -> Response:
    status = await visit.platform.apps.status(visit.path("app"))
    return visit.page(
        "test_request.html",
        http_status(error) if error else HTTPStatus.OK,
        status=status,
        typed=_usual(status) if text is None else text,
        answer=answer,
        error=error,
        methods=METHODS,
    )


def _usual(status: AppStatus) -> dict[str, str]:
    return request_texts(status.release.workload.proof.request if status.release else ProbeRequest())
