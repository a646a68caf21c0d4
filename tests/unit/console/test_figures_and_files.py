"""How figures read, and how files are served."""

import gzip
from datetime import UTC, datetime

import httpx
import pytest

from naru.console.assets import FOREVER, Assets, packaged
from naru.console.render import Renderer, Viewer, clean
from naru.console.words import badge, name
from naru.domain.app import AppState
from naru.domain.image import Origin
from naru.domain.instance import InstanceState
from naru.domain.release import ReleaseState
from naru.domain.rollout import Kind, RolloutState, StepName, StepState

renderer = Renderer(packaged())


def shown(text: str, language: str = "en", **values: object) -> str:
    environment = renderer._environments[language]
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    return environment.from_string(text).render(viewer=Viewer(language), now=now, **values)


@pytest.mark.parametrize(
    ("seconds", "english", "korean"),
    [
        (0.0012, "1.2 ms", "1.2ms"),
        (0.012, "12 ms", "12ms"),
        (1.24, "1.2 s", "1.2초"),
        (184, "3 min 4 s", "3분 4초"),
        (7500, "2 h 5 min", "2시간 5분"),
    ],
)
def test_durations(seconds: float, english: str, korean: str):
    assert shown("{{ value|seconds }}", value=seconds) == english
    assert shown("{{ value|seconds }}", "ko", value=seconds) == korean


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (900, "900 B"), (2048, "2.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 30, "3.0 GiB")],
)
def test_sizes(size: int, text: str):
    assert shown("{{ value|bytes }}", value=size) == text.replace(" ", "\u00a0")


def test_moments_of_today_are_times_and_others_have_their_day():
    assert shown("{{ value|moment }}", value=datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)) == "03:04:05"
    assert shown("{{ value|moment }}", value=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "Jan 2, 2026 03:04"
    assert shown("{{ value|moment }}", "ko", value=datetime(2026, 1, 2, 3, 4, tzinfo=UTC)) == "2026. 1. 2. 03:04"


def test_every_state_and_name_has_its_words():
    for kind in (AppState, InstanceState, ReleaseState, RolloutState, StepState):
        assert all(badge(state).word for state in kind)
    for kind in (Kind, StepName, Origin):
        assert all(name(value) for value in kind)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x00b\rc\x9b31m", "abc31m"),
        ("\u202eevil\u202c", "evil"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("\x1b", ""),
    ],
)
def test_terminal_codes_are_dropped(raw: str, text: str):
    assert clean(raw) == text


async def test_files_are_named_by_content_compressed_and_kept(guest: httpx.AsyncClient):
    url = packaged().url("console.css")
    answer = await guest.get(url, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["cache-control"] == FOREVER
    assert answer.headers["content-encoding"] == "gzip"
    plain = await guest.get(url, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == answer.text
    assert answer.headers["content-type"] == "text/css; charset=utf-8"


async def test_only_the_package_s_files_are_served(guest: httpx.AsyncClient):
    for path in ("/assets/000000000000/console.css", "/assets/../site.py", "/assets/%2e%2e/site.py", "/assets/"):
        assert (await guest.get(path)).status_code == 404, path


def test_a_file_s_name_changes_with_its_content():
    one, two = Assets({"a.css": b"a"}), Assets({"a.css": b"b"})
    assert one.url("a.css") != two.url("a.css")


def test_a_missing_file_says_how_to_get_it():
    with pytest.raises(LookupError, match=r"hatch_build\.py"):
        Assets({}).url("vendor/htmx.min.js")


def test_what_a_page_loads_is_small():
    everything = packaged()._by_name
    page = ("console.css", "console.js", "charts.js", "naru.svg", "vendor/htmx.min.js", "vendor/hx-sse.min.js")
    page += ("vendor/uplot.min.js", "vendor/uplot.min.css")
    assert sum(len(gzip.compress(everything[name].plain)) for name in page) < 60_000
