"""The console in Chromium, on the real server, engine and front door."""

import re
import secrets

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect
from tests.e2e.console.conftest import Console, Open

pytestmark = pytest.mark.needs("dockerd", "caddy", "chromium", "busybox")

PATIENCE = 90_000
MAX_WEIGHT = 100_000
MAX_SHIFT = 0.1
SHOP = f"shop-{secrets.token_hex(3)}"
"""The app's name, which no other app on the engine has, also where a person uses Naru."""
APP_PAGES = ("", "/logs", "/request", "/releases", "/releases/1", "/rollouts", "/events", "/edit", "/scale")
PAGES = (
    "/apps",
    "/new",
    "/images",
    "/targets",
    "/comparisons",
    "/nodes",
    "/events",
    "/settings",
    *(f"/apps/{SHOP}{page}" for page in APP_PAGES),
)


def tab_to(page: Page, target: Locator, most: int = 80) -> None:
    """Reach an element as the keyboard does."""
    for _ in range(most):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{target} was not reached by {most} tabs")


def wait_for(page: Page, state: str) -> None:
    expect(page.locator("#rollout .rollout-head .badge")).to_have_text(re.compile(state), timeout=PATIENCE)


@pytest.fixture(scope="module")
def shop() -> dict[str, str]:
    """What the first test leaves for the others: the app's endpoint."""
    return {}


def test_the_main_job_by_keyboard_alone(window: Open, archives, shop: dict[str, str]):
    console = window()
    page = console.page
    console.go("/apps")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    tab_to(page, page.locator(".head").get_by_role("link", name="New app"))
    page.keyboard.press("Enter")
    page.wait_for_url("**/new")
    expect(page.get_by_label("Name", exact=True)).to_be_focused()

    page.keyboard.type("Shop!")
    for archive, reference in zip(archives, ("shop:1", "shop:2"), strict=True):
        page.locator(".upload input[type=file]").set_input_files(archive)
        expect(page.locator(".upload output")).to_contain_text(reference, timeout=PATIENCE)
    page.get_by_label("Name", exact=True).focus()
    tab_to(page, page.get_by_label("Image", exact=True))
    page.keyboard.press("Control+a")
    page.keyboard.type("shop:1")
    tab_to(page, page.get_by_label("Port in the container"))
    page.keyboard.type("8080")
    tab_to(page, page.get_by_label("Replicas"))
    page.keyboard.press("Control+a")
    page.keyboard.type("2")
    tab_to(page, page.locator("#fold-resources summary"))
    page.keyboard.press("Space")
    tab_to(page, page.get_by_label("Time to stop, seconds"))
    page.keyboard.press("Control+a")
    page.keyboard.type("1")
    console.picture("new-app")
    page.keyboard.press("Enter")

    expect(page.get_by_role("alert")).to_contain_text("'Shop!' is no name for an app")
    expect(page.get_by_role("alert")).to_be_focused()
    expect(page.get_by_label("Time to stop, seconds")).to_have_value("1")
    console.picture("new-app-refused")
    tab_to(page, page.get_by_label("Name", exact=True))
    page.keyboard.press("Control+a")
    page.keyboard.type(SHOP)
    page.keyboard.press("Enter")

    page.wait_for_url(f"**/apps/{SHOP}")
    expect(page.locator("#rollout .steps li")).to_have_count(7)
    console.picture("rollout-under-way")
    wait_for(page, "succeeded")
    expect(page.locator("#app_state")).to_contain_text("2/2")
    shop["endpoint"] = page.locator("#app_state").get_by_role("link").first.inner_text().strip()
    assert httpx.get(shop["endpoint"], trust_env=False).text == "hello 1\n"
    assert page.evaluate("window.shifted") < MAX_SHIFT
    console.picture("app-live")


def test_an_update_is_proven_and_an_earlier_release_comes_back_with_one_click(window: Open, shop: dict[str, str]):
    console = window()
    page = console.page
    console.go(f"/apps/{SHOP}")
    opener = page.get_by_role("link", name="Update image")
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    dialog.get_by_label("Image").fill("shop:2")
    console.picture("dialog")
    dialog.get_by_role("button", name="Deploy").click()
    wait_for(page, "succeeded")
    expect(page.locator("#rollout .figures div").nth(1)).to_have_text(re.compile(r"failed\s*0"))
    assert httpx.get(shop["endpoint"], trust_env=False).text == "hello 2\n"

    page.get_by_role("button", name="Roll back to release 1").click()
    expect(page.locator("#rollout h2")).to_contain_text("Rollback")
    wait_for(page, "succeeded")
    assert httpx.get(shop["endpoint"], trust_env=False).text == "hello 1\n"
    expect(page.locator("#app_state")).to_contain_text("shop:1")


def test_charts_are_drawn_from_what_instances_use(window: Open):
    console = window()
    console.go(f"/apps/{SHOP}")
    for chart in ("cpu", "memory"):
        expect(console.page.locator(f"[data-chart={chart}] canvas")).to_be_visible()
        expect(console.page.locator(f"[data-chart={chart}] .u-series")).to_have_count(3)
    console.picture("charts")


def test_a_test_request_is_answered_beside_its_form(window: Open):
    console = window()
    page = console.page
    console.go(f"/apps/{SHOP}/request")
    page.get_by_label("The body contains").fill("hello 1")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#answer")).to_contain_text("as expected")
    expect(page.locator("#answer")).to_contain_text("200")
    page.get_by_label("The body contains").fill("something else")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#answer")).to_contain_text("not as expected")
    page.get_by_label("Path").fill("nowhere")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#answer").get_by_role("alert")).to_contain_text("is not absolute")
    console.picture("test-request")


def test_log_lines_arrive_while_they_are_written_and_can_be_held(window: Open):
    console = window()
    page = console.page
    # The web server of the test image writes nothing by itself; a second app does.
    console.go("/new")
    page.get_by_label("Name", exact=True).fill("talker")
    page.get_by_label("Image", exact=True).fill("shop:1")
    page.get_by_label("Port in the container").fill("8080")
    page.locator("#fold-resources summary").click()
    page.get_by_label("Time to stop, seconds").fill("0")
    page.locator("#fold-command summary").click()
    script = r"httpd -p 8080 -h /www; while :; do printf '\033[31m<b>tick</b>\033[0m\n'; sleep 0.2; done"
    page.get_by_label("Command, instead").fill(f'/bin/sh -c "{script}"')
    page.get_by_role("button", name="Deploy").click()
    wait_for(page, "succeeded")
    console.go("/apps/talker/logs")
    lines = page.locator("#log div span")
    expect(lines.first).to_have_text("<b>tick</b>")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name=re.compile(r"Resume \([2-9]\)"))).to_be_visible()
    held = lines.count()
    page.get_by_role("button", name="Resume").click()
    expect(lines.nth(held + 2)).to_be_visible()
    console.picture("logs")

    console.go("/apps/talker")
    page.get_by_role("link", name="Remove").click()
    page.get_by_role("dialog").get_by_label("Type talker").fill("talker")
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    page.wait_for_url("**/rollouts/**")
    wait_for(page, "succeeded")
    console.go("/apps")
    expect(page.get_by_role("rowheader", name="talker")).to_have_count(0)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("light", {"color_scheme": "light"}),
        ("dark", {"color_scheme": "dark"}),
        ("korean", {"locale": "ko-KR"}),
        ("phone", {"width": 360, "height": 740, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}),
    ],
)
def test_every_page_fits_its_window_and_the_policy(name: str, how: dict[str, object], window: Open):
    console = window(**how)
    for path in PAGES:
        console.go(path)
        console.picture(f"{name}{path.replace('/', '-')}")
        wide, room = console.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= room, f"{path} is {wide} pixels wide"
        assert console.page.evaluate("window.shifted") < MAX_SHIFT, path
    language = "ko" if name == "korean" else "en"
    assert console.page.locator("html").get_attribute("lang") == language


def test_the_theme_and_the_language_change_with_a_click(window: Open):
    console = window()
    page = console.page
    console.go("/apps")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Theme").click()
    assert page.evaluate(ground) != light
    page.get_by_role("button", name="한국어").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("앱")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Apps")


def test_a_first_visit_to_a_page_transfers_less_than_100_kb(window: Open):
    console = window()
    network = console.page.context.new_cdp_session(console.page)
    network.send("Network.enable")
    for path in PAGES:
        network.send("Network.clearBrowserCache")
        assert weight(console, network, path) < MAX_WEIGHT, path


def test_a_second_visit_transfers_the_page_alone(window: Open):
    console = window()
    network = console.page.context.new_cdp_session(console.page)
    network.send("Network.enable")
    weight(console, network, f"/apps/{SHOP}")
    assert weight(console, network, f"/apps/{SHOP}") < 15_000


def weight(console: Console, network, path: str) -> float:
    """Bytes on the wire, headers included, until the page and what it loads are there."""
    received: list[float] = []

    def finished(event: dict[str, float]) -> None:
        received.append(event["encodedDataLength"])

    network.on("Network.loadingFinished", finished)
    console.go(path)
    console.page.wait_for_load_state("load")
    network.remove_listener("Network.loadingFinished", finished)
    return sum(received)


def test_the_essential_flow_needs_no_javascript(window: Open, archives):
    console = window(java_script_enabled=False)
    page = console.page
    console.go("/images")
    page.get_by_label("Archive").set_input_files(archives[1])
    page.get_by_role("button", name="Load").click()
    expect(page.get_by_role("status").first).to_have_text("The archive is loaded.")
    console.go(f"/apps/{SHOP}")
    page.get_by_role("link", name="Scale").click()
    page.wait_for_url("**/scale")
    page.get_by_label("Replicas").fill("1")
    page.get_by_role("button", name="Scale").click()
    page.wait_for_url(f"**/apps/{SHOP}")
    expect(page.locator("#rollout h2")).to_contain_text("Scaling")
    console.go(f"/apps/{SHOP}/request")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#answer")).to_contain_text("as expected")


def test_the_target_of_a_new_app_is_shown_while_its_form_is_filled_in(window: Open):
    page = window().page
    page.goto(page.url.rpartition("/")[0] + "/new")
    page.get_by_label("Name", exact=True).fill("chosen")
    page.get_by_label("Image", exact=True).fill("shop:1")
    page.get_by_label("Port in the container").fill("8080")
    page.get_by_label("Replicas").focus()

    choice = page.locator("#choice")
    choice.get_by_text("which alone can run it").wait_for()
    choice.locator("summary").click()
    choice.get_by_text("a lost node is all of it").wait_for()
