"""Templates, and how figures read: dates, durations, bytes and digests in the viewer's language and time zone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import partial
from importlib.resources import files
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel.dates import format_date
from babel.numbers import format_decimal
from jinja2 import DictLoader, Environment, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.requests import Request

from naru.console import language, words
from naru.console.assets import Assets

LANGUAGE_COOKIE = "naru_language"
THEME_COOKIE = "naru_theme"
ZONE_COOKIE = "naru_zone"
THEMES = ("system", "light", "dark")
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\|$)|[ -/]*[0-~])", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Viewer:
    """How the person in front of the browser reads: all of it from cookies and headers, none of it trusted."""

    language: str = language.DEFAULT
    zone: tzinfo = UTC
    theme: str = "system"


def viewer(request: Request) -> Viewer:
    """Read the viewer's preferences; whatever is malformed counts as not given."""
    cookies, accepted = request.cookies, request.headers.get("accept-language", "")
    theme = cookies.get(THEME_COOKIE, "")
    return Viewer(
        language=language.choose(cookies.get(LANGUAGE_COOKIE, ""), accepted),
        zone=_zone(cookies.get(ZONE_COOKIE, "")),
        theme=theme if theme in THEMES else "system",
    )


class Renderer:
    """Renders a template for a viewer; everything is escaped, and a name that the page does not set is an error."""

    def __init__(self, assets: Assets) -> None:
        self._environments = {name: _environment(name, assets) for name in language.LANGUAGES}

    def render(self, template: str, viewer: Viewer, values: Mapping[str, object]) -> str:
        """Return the page, or the part of one, as HTML."""
        return self._environments[viewer.language].get_template(template).render(viewer=viewer, **values)


def clean(text: str) -> str:
    """Drop terminal control sequences (ECMA-48, section 5.4), control characters and direction overrides."""
    return _CONTROL.sub("", _TERMINAL.sub("", text))


def said(text: str, reader: str) -> str:
    """Return what the server said, cleaned as above, in the reader's language as far as it is known there."""
    return language.sentences(reader).said(clean(text))


def _environment(name: str, assets: Assets) -> Environment:
    environment = Environment(
        loader=DictLoader(_templates()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(language.catalogue(name), newstyle=True)  # type: ignore[attr-defined]
    environment.filters |= {
        "when": _when,
        "moment": _moment,
        "seconds": _seconds,
        "bytes": _bytes,
        "number": _number,
        "digest": _digest,
        "tail": _tail,
        "clean": clean,
        "said": partial(said, reader=name),
        "badge": words.badge,
        "still_to_come": words.still_to_come,
        "name": words.name,
    }
    environment.globals |= {
        "overrides": words.OVERRIDES,
        "asset": assets.url,
        "languages": language.LANGUAGES,
        "themes": THEMES,
    }
    return environment


def _templates() -> dict[str, str]:
    folder = files("naru.console") / "templates"
    top = {entry.name: entry for entry in folder.iterdir() if entry.name.endswith(".html")}
    parts = {f"parts/{entry.name}": entry for entry in (folder / "parts").iterdir() if entry.name.endswith(".html")}
    return {name: entry.read_text("utf-8") for name, entry in (top | parts).items()}


def _zone(key: str) -> tzinfo:
    try:
        return ZoneInfo(key) if key and len(key) < 64 else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def _viewer(context: Context) -> Viewer:
    found = context["viewer"]
    assert isinstance(found, Viewer)  # noqa: S101 - the renderer always sets it
    return found


@pass_context
def _when(context: Context, at: datetime) -> str:
    """The whole moment with its zone, for titles and single values."""
    reader = _viewer(context)
    there = at.astimezone(reader.zone)
    return f"{format_date(there, 'long', locale=reader.language)} {there:%H:%M:%S %Z}"


@pass_context
def _moment(context: Context, at: datetime) -> str:
    """Short, for tables: the time of day, and the day unless it is today's."""
    reader = _viewer(context)
    there = at.astimezone(reader.zone)
    if there.date() == context["now"].astimezone(reader.zone).date():
        return f"{there:%H:%M:%S}"
    return f"{format_date(there, 'medium', locale=reader.language)} {there:%H:%M}"


@pass_context
def _seconds(context: Context, value: float) -> str:
    """A duration: 12 ms, 1.2 s, 3 min 4 s, 2 h 5 min."""
    gettext = partial(context.call, context["gettext"])
    if value < 0.0995:
        return str(gettext("%(n)s ms", n=_decimal(context, value * 1000, "0.#" if value < 0.00995 else "0")))
    if value < 60:
        return str(gettext("%(n)s s", n=_decimal(context, value, "0.0")))
    if value < 3600:
        return str(gettext("%(m)s min %(s)s s", m=int(value // 60), s=int(value % 60)))
    return str(gettext("%(h)s h %(m)s min", h=int(value // 3600), m=int(value % 3600 // 60)))


@pass_context
def _bytes(context: Context, value: int) -> str:
    """A size in the binary unit that leaves one to four digits before the point."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= scale:
            return f"{_decimal(context, value / scale, '#,##0.0')}\u00a0{unit}"
    return f"{value}\u00a0B"


@pass_context
def _number(context: Context, value: float) -> str:
    return _decimal(context, value, "#,##0.##")


def _decimal(context: Context, value: float, pattern: str) -> str:
    return format_decimal(value, pattern, locale=_viewer(context).language)


def _digest(value: str) -> str:
    """The first twelve digits of a digest, as `docker images` shows them."""
    return value.removeprefix("sha256:")[:12]


def _tail(instance: str) -> str:
    """The end of a long name: instances of one app differ there, and begin alike."""
    return instance if len(instance) <= 20 else f"…{instance[-19:]}"
