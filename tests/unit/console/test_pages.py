"""Every page renders, is escaped, and carries nothing that the content security policy would have to allow."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest
from tests.contract.fake_behaviour import Exits
from tests.unit.console.conftest import ADMIN_SUBJECT, Browser, Outline, Stage, words
from tests.unit.console.test_comparisons import FOUND

from naru.console.assets import packaged
from naru.console.render import Renderer, Viewer
from naru.console.site import PAGES
from naru.domain.app import App, AppState
from naru.domain.kind import WorkloadKind
from naru.domain.proof import Answer
from naru.domain.rollout import Kind, LayerProgress, Rollout, RolloutState, Step, StepName, StepState
from naru.domain.workload import Address, CommandCheck, Health, Resources, SecretFile, Volume, Workload

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'

APP_PAGES = (
    "/apps/shop",
    "/apps/shop/edit",
    "/apps/shop/image",
    "/apps/shop/scale",
    "/apps/shop/move",
    "/apps/shop/remove",
    "/apps/shop/releases",
    "/apps/shop/releases/1",
    "/apps/shop/rollouts",
    "/apps/shop/logs",
    "/apps/shop/request",
    "/apps/shop/events",
)
OTHER_PAGES = ("/apps", "/new", "/images", "/targets", "/comparisons", "/nodes", "/events", "/settings")


@pytest.mark.parametrize("language", ["en", "ko"])
async def test_every_page_renders_under_a_strict_policy(language: str, browser: Browser, stage: Stage):
    rollout = await stage.deploy()
    await stage.platform.pipeline.store.comparisons.save(FOUND, "test")
    kept = (f"/rollouts/{rollout.id}", f"/comparisons/{FOUND.id}")
    for path in (*APP_PAGES, *OTHER_PAGES, *kept, "/nowhere", "/apps/unknown"):
        answer = await browser.get(path, **{"Accept-Language": language})
        assert answer.status_code == (404 if path in ("/nowhere", "/apps/unknown") else 200), (path, answer.text)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';"), path
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert Outline(answer.text).inline == [], path
        assert Outline(answer.text).unnamed == [], path
        assert f'<html lang="{language}"' in answer.text


async def test_what_answers_nobody_has_no_endpoint_on_its_page_and_can_be_edited_as_it_is(browser, stage):
    stage.engine.behave(Exits(0))
    await stage.deploy(kind=WorkloadKind.BATCH, port=0, project="mall")

    page = (await browser.get("/apps/shop")).text

    assert "Endpoint" not in words(page)
    assert "/apps/shop/request" not in page
    assert {"completed", "batch", "mall"} <= set(words(page).split())
    form = (await browser.get("/apps/shop/edit")).text
    assert '<option value="batch" selected>' in form
    assert 'name="project" value="mall"' in form


async def test_the_table_of_pages_is_covered(browser: Browser, stage: Stage):
    shown = {*APP_PAGES, *OTHER_PAGES, "/rollouts/{rollout}", "/comparisons/{comparison}", "/login", "/"}
    plain = {path.replace("shop", "{app}").replace("/1", "/{number:int}") for path in shown}
    pages = {page.path for page in PAGES if page.method == "GET" and not page.path.startswith("/live")}
    assert pages - plain == {"/apps/{app}/logs.txt", "/comparisons/{comparison}/report.html"}


async def test_hostile_values_stay_text(browser: Browser, stage: Stage):
    await stage.deploy(
        environment={"GREETING": HOSTILE},
        arguments=(HOSTILE,),
        health=Health(CommandCheck((HOSTILE,))),
    )
    instance = stage.engine.instances("shop")[0].id
    stage.engine.sicken(instance, HOSTILE)
    stage.engine.drift(instance, HOSTILE)
    stage.engine.write(instance, f"\x1b[31m{HOSTILE}\x1b[0m\x1b]8;;http://evil\x07link")
    stage.prober.answer = Answer(200, (("x-evil", HOSTILE),), HOSTILE, len(HOSTILE), 0.1, HOSTILE)
    await stage.platform.pipeline.worlds["fake"].look("shop")

    pages = [(await browser.get(path)).text for path in APP_PAGES]
    pages.append((await browser.post("/apps/shop/request", {"path": "/", "method": "GET"})).text)
    pages.append((await browser.post("/new", {"app": HOSTILE, "image": HOSTILE, "port": HOSTILE})).text)
    pages.append((await browser.get(f"/apps/shop/logs?instance={HOSTILE}&since={HOSTILE}")).text)
    pages.append((await browser.get(f"/new?image={HOSTILE}")).text)
    pages.append((await browser.get(f"/{HOSTILE}")).text)

    for page in pages:
        assert Outline(page).inline == []
        assert "<script>alert" not in page
        assert "<img src=x" not in page
    assert "Failing check" in words(pages[0])


async def test_an_app_shows_what_it_is_made_of(browser: Browser, stage: Stage):
    await stage.platform.vault.save_secret("key", b"hidden value", subject=ADMIN_SUBJECT)
    await stage.deploy(
        volumes=(Volume("data", "/data", read_only=True),),
        secrets=(SecretFile("key", "/run/key"),),
        resources=Resources(0.5, 64 << 20),
    )
    page = words((await browser.get("/apps/shop/releases/1")).text)
    assert "data → /data (read only)" in page
    assert "key → /run/key" in page
    assert "0.5 CPU 64.0 MiB" in page
    assert "hidden value" not in page


async def test_a_failed_rollout_says_why(browser: Browser, stage: Stage):
    stage.prober.answer = Answer(500, (), "", 0, 0.01, "answered 500 where a status below 400 was expected")
    rollout = await stage.deploy()
    page = words((await browser.get(f"/rollouts/{rollout.id}")).text)
    assert "failed" in page
    assert "answered 500 where a status below 400 was expected" in page
    assert "requests failed 0" not in page
    for path in ("/apps", "/apps/shop"):
        state = re.search(r'class="badge ([a-z]+)">.*?</svg>([^<]+)<', (await browser.get(path)).text, re.DOTALL)
        assert state
        assert state.groups() == ("bad", "failed")


def test_a_rollout_shows_how_far_each_layer_is_and_what_is_still_to_come():
    now = datetime.now(UTC)
    rollout = Rollout(
        id="shop-1",
        app="shop",
        kind=Kind.DEPLOY,
        workload=Workload("shop", "shop:1", 80, 1),
        state=RolloutState.RUNNING,
        requested_by="admin",
        requested_at=now,
        steps=(Step(StepName.DISTRIBUTE, StepState.RUNNING, now),),
        progress=(
            LayerProgress(f"sha256:{'a' * 64}", "downloading", 1 << 20, 4 << 20),
            LayerProgress(f"sha256:{'b' * 64}", "waiting", 0, 0),
        ),
    )
    page = Renderer(packaged()).render("parts/rollout.html", Viewer(), {"rollout": rollout, "now": now, "csrf": ""})
    assert '<progress max="4194304" value="1048576"' in page
    assert "1.0 MiB / 4.0 MiB" in words(page)
    assert "aaaaaaaaaaaa" in words(page)
    assert "Prove the release" in words(page)
    assert page.count("<li") == 7 + 2


async def test_nothing_running_leads_to_a_new_app(browser: Browser):
    page = (await browser.get("/apps")).text
    assert "Nothing is running yet" in page
    assert page.count('href="/new"') == 2


async def test_lists_go_on_with_a_link(browser: Browser, stage: Stage):
    for number in range(51):
        await stage.platform.pipeline.store.apps.create(_app(f"app-{number:02}"))
    first = (await browser.get("/apps")).text
    assert "/apps?after=app-49" in first
    second = (await browser.get("/apps?after=app-49")).text
    assert 'id="app-app-50"' in second
    assert 'id="app-app-49"' not in second


async def test_dates_are_in_the_zone_of_the_viewer(browser: Browser, stage: Stage):
    await stage.deploy()
    browser.client.cookies.set("naru_zone", "Asia/Seoul", domain="console.test")
    seoul = (await browser.get("/apps/shop/releases/1", **{"Accept-Language": "ko"})).text
    made = (await stage.platform.apps.release("shop", 1)).created_at + timedelta(hours=9)
    assert f"{made:%Y}년 {made.month}월 {made.day}일 {made:%H:%M:%S} KST" in seoul


@pytest.mark.parametrize("zone", ["../../etc/passwd", "Mars/Olympus", "\x00", "a" * 5000, ""])
async def test_a_zone_that_nobody_knows_is_ignored(zone: str, browser: Browser):
    assert (await browser.get("/settings", Cookie=f"{browser_cookie(browser)}; naru_zone={zone!r}")).status_code == 200


async def test_log_text_is_free_of_terminal_codes(browser: Browser, stage: Stage):
    await stage.deploy()
    instance = stage.engine.instances("shop")[0].id
    stage.engine.write(instance, "\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain\x08\u202e")
    answer = await browser.get("/apps/shop/logs.txt")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.endswith(" red plain\n")


async def test_a_mistake_of_ours_is_a_page_too(browser: Browser, stage: Stage, monkeypatch: pytest.MonkeyPatch):
    async def broken() -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(stage.platform, "targets", broken)
    answer = await browser.get("/targets")
    assert answer.status_code == 500
    assert "boom" not in answer.text


async def test_many_viewers_are_answered_at_once(browser: Browser, stage: Stage):
    await stage.deploy()
    answers = await asyncio.gather(*(browser.get("/apps/shop") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}


def browser_cookie(browser: Browser) -> str:
    return "; ".join(f"{name}={value}" for name, value in browser.client.cookies.items())


def _app(name: str):
    return App(name, AppState.NEW, Address(), 0, "admin", datetime.now(UTC))


async def test_instances_of_a_long_name_are_told_apart(browser: Browser, stage: Stage):
    await stage.deploy("a-name-of-forty-characters-but-for-three", replicas=3)
    page = (await browser.get("/apps/a-name-of-forty-characters-but-for-three")).text
    assert len(set(re.findall(r"<code>(…[^<]+)</code></a></th>", page))) == 3
