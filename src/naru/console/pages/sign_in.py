"""Signing in with a password or a one-time link, and signing out."""

from starlette.responses import Response

from naru.console.desk import Visit
from naru.console.guard import local_path
from naru.control.accounts import ADMIN, SESSION_COOKIE, SESSION_SECONDS
from naru.domain.errors import Invalid, NaruError, NotFound, SignInRequired, http_status


async def ask(visit: Visit) -> Response:
    """Show the form; a one-time code in the URL waits for a button, so that a link preview cannot use it up."""
    return visit.page(
        "sign_in.html", error=None, code=visit.query("code"), next=local_path(visit.query("next")), account=ADMIN
    )


async def enter(visit: Visit) -> Response:
    """Sign in, and after the first time by link ask for a password."""
    form = await visit.form()
    code, wanted = str(form.get("code", "")), local_path(str(form.get("next", "")))
    accounts = visit.platform.accounts
    try:
        if code:
            session = await accounts.sign_in_by_link(code)
        else:
            session = await accounts.sign_in(str(form.get("password", "")))
    except (SignInRequired, Invalid, NotFound) as error:
        return _again(visit, error, wanted)
    answer = visit.go(wanted if await accounts.has_password() else "/settings?first=1#password")
    answer.set_cookie(
        SESSION_COOKIE,
        session,
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="lax",  # strict would sign people out whenever they follow a link from elsewhere
        secure=visit.request.url.scheme == "https",
    )
    return answer


async def leave(visit: Visit) -> Response:
    """Sign out."""
    await visit.platform.accounts.sign_out(visit.session)
    answer = visit.go("/login")
    answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax")
    return answer


def _again(visit: Visit, error: NaruError, wanted: str) -> Response:
    return visit.page("sign_in.html", http_status(error), error=error, code="", next=wanted, account=ADMIN)
