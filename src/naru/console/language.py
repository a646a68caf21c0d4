"""Which language a viewer reads, and the catalogue that holds it."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from io import BytesIO

from babel.core import negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

from naru.console.sentences import Sentences

LANGUAGES = {"en": "English", "ko": "한국어"}
"""Each language under its own name."""
DEFAULT = "en"


def choose(cookie: str, accepted: str) -> str:
    """Say which language to use: the viewer's own choice, else the first that the browser accepts and we speak."""
    if cookie in LANGUAGES:
        return cookie
    return negotiate_locale(_preferences(accepted), list(LANGUAGES), sep="-") or DEFAULT


@cache
def catalogue(language: str) -> NullTranslations:
    """Load a language's messages from their source, so that no compiled copy can be older than it."""
    source = files("naru.console") / "locale" / language / "LC_MESSAGES" / "naru.po"
    compiled = BytesIO()
    write_mo(compiled, read_po(BytesIO(source.read_bytes()), locale=language))
    compiled.seek(0)
    return Translations(compiled)


@cache
def sentences(language: str) -> Sentences:
    """Load what the server says in a language; one without such a catalogue reads it as it was said."""
    source = files("naru.console") / "locale" / language / "LC_MESSAGES" / "sentences.po"
    if not source.is_file():
        return Sentences({})
    known = read_po(BytesIO(source.read_bytes()), locale=language)
    return Sentences({str(message.id): str(message.string) for message in known if message.id})


def _preferences(accepted: str) -> list[str]:
    """Order the tags of an Accept-Language header (RFC 9110, section 12.5.4) by their quality; a bad one is last."""
    weighted = [_weighted(part) for part in accepted.split(",")[:20]]
    return [tag for quality, tag in _by_quality(weighted) if quality > 0 and tag]


def _by_quality(weighted: Iterable[tuple[float, str]]) -> list[tuple[float, str]]:
    return sorted(weighted, key=lambda item: -item[0])


def _weighted(part: str) -> tuple[float, str]:
    tag, _, parameter = part.strip().partition(";")
    if not parameter:
        return 1.0, tag.strip()
    try:
        return min(1.0, float(parameter.strip().removeprefix("q="))), tag.strip()
    except ValueError:
        return 0.0, tag.strip()
