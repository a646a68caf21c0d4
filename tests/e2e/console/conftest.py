"""A browser, the real server and the real engine.

Screenshots go to the directory that NARU_SCREENSHOTS names, or to pytest's temporary one.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright
from tests.conftest import program
from tests.images import busybox_image
from tests.ports import free_ports

NARU = [sys.executable, "-c", "from naru.main import cli; cli()"]
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({type: "layout-shift", buffered: true});
"""


@dataclass
class Server:
    """A running `naru serve`."""

    url: str
    environment: dict[str, str]

    def login_link(self) -> str:
        """Ask the command line for a one-time link."""
        command = [*NARU, "login-link"]
        said = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True, timeout=60)
        return re.findall(r"http\S+", said.stdout)[-1]

    def remove_apps(self) -> None:
        """Leave nothing on the engine."""
        listed = subprocess.run([*NARU, "apps", "-o", "json"], env=self.environment, capture_output=True, check=True)
        for status in json.loads(listed.stdout)["items"]:
            command = [*NARU, "rm", status["app"]["name"], "--volumes", "--yes"]
            subprocess.run(command, env=self.environment, capture_output=True, timeout=60, check=False)


@dataclass
class Console:
    """A signed-in browser window that remembers what went wrong in it."""

    page: Page
    server: Server
    pictures: Path
    troubles: list[str] = field(default_factory=list)
    forgiven: tuple[str, ...] = ("status of 422", "status of 409")

    def go(self, path: str) -> None:
        self.page.goto(self.server.url + path)

    def picture(self, name: str) -> None:
        self.page.screenshot(path=self.pictures / f"{name}.png", full_page=True)

    def heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(text in message.text for text in self.forgiven):
            self.troubles.append(message.text)


Open = Callable[..., Console]


@pytest.fixture(scope="session")
def server(docker_socket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("naru")
    port, http, https, *apps = free_ports(13)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NARU_")} | {
        "HOME": str(home),
        "NARU_STATE": str(home / "state"),
        "NARU_ENGINE": docker_socket,
        "NARU_LISTEN": f"127.0.0.1:{port}",
        "NARU_URL": f"http://127.0.0.1:{port}",
        "NARU_HTTP_PORT": str(http),
        "NARU_HTTPS_PORT": str(https),
        "NARU_APP_PORTS": f"{apps[0]}-{apps[-1]}",
    }
    url = f"http://127.0.0.1:{port}"
    with _process([*NARU, "serve"], home / "log", environment, lambda: _serves(url)):
        server = Server(url, environment)
        yield server
        server.remove_apps()
    _stop_what_runs_in(home)


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two versions of a small web server, as archives."""
    home = tmp_path_factory.mktemp("archives")
    paths = [home / "shop-1.tar", home / "shop-2.tar"]
    for number, path in enumerate(paths, start=1):
        busybox_image(path, reference=f"shop:{number}", body=f"hello {number}\n")
    return paths


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser, closed before other tests run: while it is open, Playwright keeps an event loop of its own going."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("NARU_SCREENSHOTS")
    path = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def window(chromium: Browser, server: Server, pictures: Path) -> Iterator[Open]:
    """Opens signed-in windows; at the end none of them may have complained, about the policy least of all."""
    contexts: list[BrowserContext] = []
    consoles: list[Console] = []

    def opened(*, width: int = 1280, height: int = 800, **how: object) -> Console:
        context = chromium.new_context(
            **{"viewport": {"width": width, "height": height}, "locale": "en-US", "timezone_id": "Asia/Seoul", **how}
        )
        contexts.append(context)
        context.set_default_timeout(30_000)
        context.add_init_script(SHIFTS)
        page = context.new_page()
        console = Console(page, server, pictures)
        consoles.append(console)
        page.on("console", console.heard)
        page.on("pageerror", lambda error: console.troubles.append(str(error)))
        page.on("request", lambda request: console.troubles.extend(_foreign(request, server)))
        page.goto(server.login_link())
        page.locator("main button").click()
        page.wait_for_url("**/settings**")
        return console

    yield opened
    for context in contexts:
        context.close()
    assert [trouble for console in consoles for trouble in console.troubles] == []


def _foreign(request: Request, server: Server) -> list[str]:
    return [] if request.url.startswith((server.url, "data:")) else [f"asked {request.url}"]


@contextmanager
def _process(command: list[str], log: Path, environment: dict[str, str], ready: Callable[[], bool]) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        deadline = time.monotonic() + 60
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command[0]} did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(60)


def _stop_what_runs_in(home: Path) -> None:
    """End the front door, which goes on without its server by design."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "cwd").readlink().is_relative_to(home):
                os.kill(int(entry.name), signal.SIGTERM)
        except OSError:
            continue


def _serves(url: str) -> bool:
    try:
        return httpx.get(f"{url}/login", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
