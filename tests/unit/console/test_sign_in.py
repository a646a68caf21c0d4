"""Who gets in, and which requests a browser was tricked into."""

import httpx
import pytest
from tests.unit.console.conftest import ADMIN_SUBJECT, Browser, Stage, words

from naru.console.guard import local_path
from naru.control.accounts import SESSION_COOKIE

PASSWORD = "correct horse battery"


async def test_every_page_but_the_sign_in_page_asks_to_sign_in(guest: httpx.AsyncClient):
    for path in ("/", "/apps", "/apps/shop", "/new", "/images", "/settings", "/live/apps", "/apps/shop/logs.txt"):
        answer = await guest.get(path)
        assert answer.status_code == 303, path
        assert answer.headers["location"] == f"/login?next={path}"
    assert (await guest.get("/login")).status_code == 200


async def test_htmx_is_sent_to_the_sign_in_page_as_a_whole(guest: httpx.AsyncClient):
    answer = await guest.get("/live/apps", headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/login"


async def test_a_password_signs_in_and_leads_back(guest: httpx.AsyncClient, stage: Stage):
    await stage.platform.accounts.set_password(PASSWORD, subject=ADMIN_SUBJECT)
    answer = await guest.post("/login", data={"password": PASSWORD, "next": "/apps/shop/logs"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/apps/shop/logs"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    assert (await guest.get("/apps")).status_code == 200


async def test_over_https_the_cookie_is_secure(site, stage: Stage):
    await stage.platform.accounts.set_password(PASSWORD, subject=ADMIN_SUBJECT)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="https://console.test") as client:
        answer = await client.post("/login", data={"password": PASSWORD})
    assert "Secure" in answer.headers["set-cookie"]


async def test_a_wrong_password_says_so_and_does_not_come_back(guest: httpx.AsyncClient, stage: Stage):
    await stage.platform.accounts.set_password(PASSWORD, subject=ADMIN_SUBJECT)
    answer = await guest.post("/login", data={"password": "wrong wrong wrong", "next": "/images"})
    assert answer.status_code == 401
    assert "the password is wrong" in words(answer.text)
    assert "wrong wrong wrong" not in answer.text
    assert 'value="/images"' in answer.text


async def test_too_many_wrong_passwords_are_held_up(guest: httpx.AsyncClient, stage: Stage):
    await stage.platform.accounts.set_password(PASSWORD, subject=ADMIN_SUBJECT)
    answers = [await guest.post("/login", data={"password": "no"}) for _ in range(6)]
    assert answers[-1].status_code == 503
    assert int(answers[-1].headers["retry-after"]) > 0


async def test_looking_at_a_link_does_not_use_it_up(guest: httpx.AsyncClient, stage: Stage):
    code = await stage.platform.accounts.login_link()
    for _ in range(2):
        page = (await guest.get(f"/login?code={code}")).text
        assert f'name="code" value="{code}"' in page
    answer = await guest.post("/login", data={"code": code})
    assert answer.headers["location"] == "/settings?first=1#password"
    again = await guest.post("/login", data={"code": code})
    assert again.status_code == 401


async def test_signing_out_ends_the_session(browser: Browser):
    session = browser.client.cookies[SESSION_COOKIE]
    answer = await browser.post("/logout")
    assert answer.headers["location"] == "/login"
    browser.client.cookies.set(SESSION_COOKIE, session, domain="console.test")
    assert (await browser.get("/apps")).status_code == 303


@pytest.mark.parametrize("token", ["", "wrong", "ü"])
async def test_a_form_without_the_session_s_token_is_refused(token: str, browser: Browser, stage: Stage):
    rollout = await stage.deploy()
    browser.csrf = token
    for path, form in (
        ("/new", {"app": "other", "image": "shop:1", "port": "80"}),
        ("/apps/shop/remove", {"confirm": "shop"}),
        ("/apps/shop/scale", {"replicas": "0"}),
        (f"/rollouts/{rollout.id}/cancel", {}),
        ("/images/remove", {"reference": "shop:1"}),
        ("/settings/tokens", {"name": "mine"}),
        ("/settings/password", {"password": "a" * 12, "again": "a" * 12}),
        ("/logout", {}),
    ):
        assert (await browser.post(path, form)).status_code == 403, path
    assert [status.app.name for status in await stage.platform.apps.statuses()] == ["shop"]


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}])
async def test_a_form_from_another_site_is_refused_with_the_right_token_too(headers: dict[str, str], browser: Browser):
    assert (await browser.post("/settings/tokens", {"name": "mine"}, **headers)).status_code == 403
    assert (await browser.client.post("/login", data={"password": "x"}, headers=headers)).status_code == 403
    assert (await browser.client.put("/images", content=b"x", headers=headers)).status_code == 403


async def test_where_there_is_no_fetch_metadata_the_origin_decides(browser: Browser):
    for origin, status in (
        ("http://evil.test", 403),
        ("null", 403),
        ("http://console.test:81", 403),
        ("http://console.test", 303),
    ):
        answer = await browser.client.post("/logout", data={"csrf": browser.csrf}, headers={"Origin": origin})
        assert answer.status_code == status, origin


async def test_a_huge_form_is_refused_before_it_is_read(browser: Browser):
    answer = await browser.post("/new", {"app": "a" * (5 << 20)})
    assert answer.status_code == 422
    assert "larger than 4 MiB" in answer.text


@pytest.mark.parametrize(
    "elsewhere",
    ["//evil.test", "https://evil.test", "/\\evil.test", "javascript:alert(1)", "/a\r\nSet-Cookie: x=1", "", "apps"],
)
def test_no_redirect_leaves_the_console(elsewhere: str):
    assert local_path(elsewhere) == "/apps"


def test_a_path_of_ours_is_kept():
    assert local_path("/apps/shop/logs?since=1h") == "/apps/shop/logs?since=1h"
