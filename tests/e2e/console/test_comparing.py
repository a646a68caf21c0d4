"""Comparisons in Chromium: what is asked for by keyboard; a finished one with its figures, its plots, its report."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Route, expect
from tests.e2e.console.conftest import Open, Server
from tests.e2e.console.test_console import tab_to
from tests.unit.console.test_comparisons import FOUND

from naru.domain.comparison import Comparison
from naru.store import open_store

pytestmark = pytest.mark.needs("dockerd", "caddy", "chromium", "busybox")


async def keep(server: Server, comparison: Comparison) -> None:
    """Let the server have a comparison that somebody else made."""
    state = Path(server.environment["NARU_STATE"])
    async with open_store(f"sqlite:///{state / 'naru.db'}", (state / "key").read_bytes().strip()) as store:
        await store.comparisons.save(comparison, "another server")


@pytest.fixture(scope="module")
def finished(server: Server) -> Comparison:
    with ThreadPoolExecutor(1) as aside:  # Playwright has an event loop here
        aside.submit(lambda: asyncio.run(keep(server, FOUND))).result()
    return FOUND


def test_a_comparison_is_asked_for_by_keyboard(window: Open, finished: Comparison):
    """What the service does with it is a test of its own, which needs no engine: tests/unit/console."""
    console = window()
    page = console.page
    shown = f"{console.server.url}/comparisons/{finished.id}"
    asked: list[dict[str, list[str]]] = []

    def instead(route: Route) -> None:
        asked.append(parse_qs(route.request.post_data or ""))
        route.fulfill(status=303, headers={"Location": shown})

    console.go("/comparisons")
    page.route("**/comparisons", lambda route: instead(route) if route.request.method == "POST" else route.continue_())
    page.get_by_role("checkbox", name=re.compile("docker")).check()  # it is not ticked while it has not answered yet
    tab_to(page, page.get_by_label("Repeats"))
    page.keyboard.press("Control+a")
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    page.wait_for_url(shown)
    assert [(one["target"], one["repeats"]) for one in asked] == [(["docker"], ["3"])]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("light", {}),
        ("dark", {"color_scheme": "dark"}),
        ("korean", {"locale": "ko-KR"}),
        ("phone", {"width": 360, "height": 740, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}),
    ],
)
def test_a_finished_comparison_is_shown_with_plots(
    name: str, how: dict[str, object], window: Open, finished: Comparison
):
    console = window(**how)
    page = console.page
    console.go(f"/comparisons/{finished.id}")
    plot = page.locator("[data-measure=start-1] canvas")
    expect(plot).to_be_visible()
    assert plot.bounding_box()["width"] > 100
    expect(page.locator("[data-measure=node-loss]")).to_be_hidden()
    console.picture(f"comparison-{name}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_its_report_is_downloaded(window: Open, finished: Comparison):
    console = window()
    console.go(f"/comparisons/{finished.id}")
    with console.page.expect_download() as report:
        console.page.get_by_role("link", name="Download the report").click()
    assert "Comparison of engines" in report.value.path().read_text()
