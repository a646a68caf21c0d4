"""Every message is in both catalogues, and every translation can be formatted."""

import re
from collections.abc import Iterator
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from naru.console import words
from naru.console.language import LANGUAGES, catalogue, choose
from naru.domain.target import Feature

CONSOLE = Path(str(files("naru.console")))


def extracted() -> set[str]:
    methods = [("templates/**.html", "jinja2"), ("**.py", "python")]
    keywords = {"_": None, "gettext": None, "ngettext": (1, 2), "mark": None}
    found = extract_from_dir(CONSOLE, methods, {"templates/**.html": {"silent": "false"}}, keywords)
    return {message if isinstance(message, str) else message[0] for _, _, message, _, _ in found}


def stored(language: str) -> Catalog:
    return read_po(BytesIO((CONSOLE / f"locale/{language}/LC_MESSAGES/naru.po").read_bytes()), locale=language)


def messages(language: str) -> Iterator[Message]:
    return (message for message in stored(language) if message.id)


def key(message: Message) -> str:
    return message.id if isinstance(message.id, str) else message.id[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_catalogue_holds_exactly_the_messages_of_the_console(language: str):
    assert {key(message) for message in messages(language)} == extracted()
    assert not any(message.fuzzy for message in messages(language))


def test_every_message_is_translated_into_korean():
    bare = [key(message) for message in messages("ko") if not all(_texts(message))]
    assert bare == []


def test_every_translation_takes_the_values_of_its_message():
    for message in messages("ko"):
        wanted = set(re.findall(r"%\((\w+)\)s", key(message)))
        for text in _texts(message):
            named = set(re.findall(r"%\((\w+)\)s", text))
            assert named <= wanted | {"num"}, key(message)
            assert wanted <= named | {"num"}, key(message)
            assert text % dict.fromkeys(wanted | {"num"}, "1"), text


def test_every_word_for_a_state_is_a_message():
    known = {key(message) for message in messages("ko")}
    assert set(words.NOTICES.values()) <= known
    assert {words.name(value) for value in words._NAMES} <= known
    assert {shown.word for shown in words._BADGES.values()} <= known
    assert {words.name(feature) for feature in Feature} <= known


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [
        ("", "", "en"),
        ("", "ko", "ko"),
        ("", "ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("", "fr-FR,fr;q=0.9", "en"),
        ("", "fr;q=1,en;q=0.4,ko;q=0.5", "ko"),
        ("", "en;q=0,ko;q=0.1", "ko"),
        ("en", "ko", "en"),
        ("tlh", "ko", "ko"),
        ("", ";;;,q=,ko;q=x," + "x" * 10_000, "en"),
    ],
)
def test_the_viewer_s_choice_goes_before_the_browser_s(cookie: str, accepted: str, language: str):
    assert choose(cookie, accepted) == language


def test_plurals_follow_the_language():
    assert catalogue("ko").ngettext("%(num)s day", "%(num)s days", 3) % {"num": 3} == "3일"
    assert catalogue("en").ngettext("%(num)s day", "%(num)s days", 1) == "%(num)s day"


def _texts(message: Message) -> tuple[str, ...]:
    return (message.string,) if isinstance(message.string, str) else tuple(message.string)
