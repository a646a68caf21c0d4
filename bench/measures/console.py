"""How heavy a page of the console is, and how soon it is ready in Chromium."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
from playwright.sync_api import Browser, sync_playwright

from bench.figures import Figure, measured
from bench.measures import Absent
from bench.stand import Stand, stand

REPEATS = 9
PAGES = {"console-apps": ("the apps", "/"), "console-new": ("a new app", "/new")}
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


def measure() -> Iterator[Figure]:
    """Open pages with an empty cache each time."""
    chromium = shutil.which("chromium")
    if not chromium:
        raise Absent("the program chromium is not installed")
    day = datetime.now(UTC).date()
    with stand() as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        cookie = _sign_in(server)
        for name, (what, path) in PAGES.items():
            loads = [_load(browser, f"{server.url}{path}", cookie, server.url) for _ in range(REPEATS)]
            yield measured(
                f"{name}-weight",
                f"bytes transferred for the page of {what}, nothing cached",
                [weight / 1000 for weight, _ in loads],
                unit="KB",
                goal=100,
                better="lower",
                day=day,
            )
            yield measured(
                f"{name}-ready",
                f"the page of {what} ready in Chromium, nothing cached",
                [seconds for _, seconds in loads],
                unit="s",
                goal=1.0,
                better="lower",
                day=day,
            )
        browser.close()


def _sign_in(server: Stand) -> str:
    with httpx.Client(base_url=f"{server.url}/api/v1") as client:
        bearer = {"Authorization": f"Bearer {server.token}"}
        code = client.post("/session/link", headers=bearer).raise_for_status().json()["code"]
        return client.post("/session", json={"code": code}).raise_for_status().cookies["naru_session"]


def _load(browser: Browser, url: str, cookie: str, origin: str) -> tuple[float, float]:
    """Return the bytes that came over the network, headers included, and the seconds until the load event's end."""
    context = browser.new_context()
    context.add_cookies([{"name": "naru_session", "value": cookie, "url": origin}])
    page = context.new_page()
    weight = 0.0
    session = context.new_cdp_session(page)
    session.send("Network.enable")

    def count(event: dict[str, float]) -> None:
        nonlocal weight
        weight += event["encodedDataLength"]

    session.on("Network.loadingFinished", count)
    page.goto(url, wait_until="load")
    seconds = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd / 1000")
    page.wait_for_timeout(100)
    context.close()
    return weight, seconds
