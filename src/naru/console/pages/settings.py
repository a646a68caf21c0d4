"""Password, language, secrets, registry credentials and API tokens."""

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timedelta
from http import HTTPStatus

from starlette.responses import Response

from naru.console.desk import Visit
from naru.console.forms import number
from naru.console.guard import local_path
from naru.console.language import LANGUAGES
from naru.console.render import LANGUAGE_COOKIE, THEME_COOKIE, THEMES
from naru.domain.errors import Invalid, NaruError, http_status

YEAR = 365 * 24 * 3600
LIFETIMES = (7, 30, 90, 365)
"""Days for which a token may be valid."""


async def index(visit: Visit) -> Response:
    """Show everything that can be set."""
    return await _page(visit)


async def display(visit: Visit) -> Response:
    """Keep the viewer's language or theme in a cookie; needs no sign-in."""
    form = await visit.form()
    answer = visit.go(local_path(str(form.get("next", ""))))
    for field, cookie, known in (("language", LANGUAGE_COOKIE, LANGUAGES), ("theme", THEME_COOKIE, THEMES)):
        if (chosen := form.get(field)) in known:
            answer.set_cookie(cookie, str(chosen), max_age=YEAR, samesite="lax")
    return answer


async def save_password(visit: Visit) -> Response:
    """Set the password, once it was typed twice the same."""
    form = await visit.form()
    password = str(form.get("password", ""))
    if password != str(form.get("again", "")):
        return await _page(visit, "password", Invalid("the two passwords differ", "type the same one twice"))
    setting = visit.platform.accounts.set_password(password, subject=visit.subject)
    return await _done(visit, "password", setting, "password-saved")


async def save_secret(visit: Visit) -> Response:
    """Store a new value of a secret."""
    form = await visit.form()
    value = str(form.get("value", "")).replace("\r\n", "\n").encode()
    saving = visit.platform.vault.save_secret(str(form.get("name", "")).strip(), value, subject=visit.subject)
    return await _done(visit, "secrets", saving, "secret-saved")


async def remove_secret(visit: Visit) -> Response:
    """Forget a secret."""
    name = str((await visit.form()).get("name", ""))
    return await _done(
        visit, "secrets", visit.platform.vault.remove_secret(name, subject=visit.subject), "secret-removed"
    )


async def save_registry(visit: Visit) -> Response:
    """Store the credentials of a registry host."""
    form = await visit.form()
    registry, username, password = (str(form.get(key, "")) for key in ("registry", "username", "password"))
    saving = visit.platform.vault.save_registry(registry.strip(), username.strip(), password, subject=visit.subject)
    return await _done(visit, "registries", saving, "registry-saved")


async def remove_registry(visit: Visit) -> Response:
    """Forget the credentials of a registry host."""
    registry = str((await visit.form()).get("registry", ""))
    removing = visit.platform.vault.remove_registry(registry, subject=visit.subject)
    return await _done(visit, "registries", removing, "registry-removed")


async def create_token(visit: Visit) -> Response:
    """Make an API token and show its value this once."""
    form = await visit.form()
    try:
        expires_at = _expiry(str(form.get("days", "")), visit.now)
        token, value = await visit.platform.accounts.create_token(
            str(form.get("name", "")).strip(), expires_at=expires_at, subject=visit.subject
        )
    except NaruError as error:
        return await _page(visit, "tokens", error)
    return await _page(visit, "tokens", made=(token.name, value))


async def revoke_token(visit: Visit) -> Response:
    """Refuse a token from now on."""
    token = str((await visit.form()).get("id", ""))
    return await _done(
        visit, "tokens", visit.platform.accounts.revoke_token(token, subject=visit.subject), "token-revoked"
    )


async def _done(visit: Visit, part: str, work: Awaitable[object], notice: str) -> Response:
    try:
        await work
    except NaruError as error:
        return await _page(visit, part, error)
    return visit.go(f"/settings?notice={notice}#{part}")


async def _page(
    visit: Visit, part: str = "", error: NaruError | None = None, made: tuple[str, str] | None = None
) -> Response:
    platform = visit.platform
    secrets, registries, tokens, has_password = await asyncio.gather(
        platform.vault.secrets(),
        platform.vault.registries(),
        platform.accounts.tokens(),
        platform.accounts.has_password(),
    )
    typed = await visit.form() if visit.request.method == "POST" else {}
    return visit.page(
        "settings.html",
        http_status(error) if error else HTTPStatus.OK,
        part=part,
        error=error,
        made=made,
        typed={key: value for key, value in typed.items() if key in ("name", "registry", "username") and error},
        secrets=secrets,
        registries=registries,
        tokens=tokens,
        has_password=has_password,
        first=visit.query("first") == "1",
        lifetimes=LIFETIMES,
    )


def _expiry(days: str, now: datetime) -> datetime | None:
    if not days:
        return None
    if number(days) not in LIFETIMES:
        raise Invalid(f"a token for {days} days", "choose one of the periods in the form")
    return now + timedelta(days=int(days))
