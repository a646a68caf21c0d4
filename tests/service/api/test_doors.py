"""Who may come in, and with what."""

import re
from datetime import timedelta
from http import HTTPStatus

import pytest
from tests.service.control.site import ME

from naru.api.limits import MAX_BODY

WORKLOAD = {"app": "shop", "image": "shop:1", "port": 8080, "replicas": 2, "proof": {"count": 2, "interval": 0.005}}


def problem(answer, status: int, title: str) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["title"]) == (status, title)
    assert body["type"] == f"urn:naru:problem:{title.lower().replace(' ', '-')}"
    assert body["detail"]
    return body


async def test_nothing_but_the_entrance_answers_without_a_sign_in(client, guest):
    document = (await client.get("/openapi.json")).json()
    calls = [(path, method) for path, item in document["paths"].items() for method in item]
    assert len(calls) > 30

    for path, method in [*calls, ("/openapi.json", "get")]:
        if (path, method) == ("/session", "post"):
            continue
        filled = re.sub(r"{\w+}", "x", path)
        answer = await guest.request(method, filled, content=b"{nonsense")
        problem(answer, 401, "SignInRequired")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer", "Bearer naru_" + "x" * 43, "Basic YTpi", "bearer"])
async def test_a_wrong_token_opens_nothing(guest, header):
    problem(await guest.get("/apps", headers={"Authorization": header}), 401, "SignInRequired")


async def test_a_revoked_token_opens_nothing(client, guest):
    made = (await client.post("/tokens", json={"name": "short"})).json()
    theirs = {"Authorization": f"Bearer {made['value']}"}
    assert (await guest.get("/session", headers=theirs)).json() == {"account": "admin", "token": "short"}

    assert (await client.delete(f"/tokens/{made['token']['id']}")).status_code == 204

    problem(await guest.get("/session", headers=theirs), 401, "SignInRequired")


async def test_an_expired_token_opens_nothing(naru, guest):
    until = naru.clock() + timedelta(hours=1)
    _, value = await naru.platform.accounts.create_token("short", expires_at=until, subject=ME)
    theirs = {"Authorization": f"Bearer {value}"}
    assert (await guest.get("/session", headers=theirs)).status_code == 200

    naru.clock.advance(3601)

    problem(await guest.get("/session", headers=theirs), 401, "SignInRequired")


async def test_a_token_is_never_shown_again(client):
    value = (await client.post("/tokens", json={"name": "short"})).json()["value"]

    assert value not in (await client.get("/tokens")).text


async def test_the_password_signs_in_and_out(naru, guest):
    await naru.platform.accounts.set_password("correct horse", subject=ME)

    signed_in = await guest.post("/session", json={"password": "correct horse"})

    cookie = signed_in.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert (await guest.get("/session")).json()["account"] == "admin"
    same_site = {"Sec-Fetch-Site": "same-origin"}
    session = guest.cookies["naru_session"]
    assert (await guest.delete("/session", headers=same_site)).status_code == 204
    guest.cookies.set("naru_session", session)
    problem(await guest.get("/session"), 401, "SignInRequired")


async def test_too_many_wrong_passwords_have_to_wait(naru, guest):
    await naru.platform.accounts.set_password("correct horse", subject=ME)
    for _ in range(5):
        problem(await guest.post("/session", json={"password": "wrong horse"}), 401, "SignInRequired")

    refused = await guest.post("/session", json={"password": "correct horse"})

    problem(refused, 503, "Unavailable")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    naru.clock.advance(61)
    assert (await guest.post("/session", json={"password": "correct horse"})).status_code == 200


async def test_a_link_signs_in_once(naru, guest):
    code = await naru.platform.accounts.login_link()

    assert (await guest.post("/session", json={"code": code})).status_code == 200

    guest.cookies.clear()
    problem(await guest.post("/session", json={"code": code}), 401, "SignInRequired")


async def test_other_sites_cannot_act_with_the_cookie(browser, url):
    own = url.removesuffix("/api/v1")
    foreign = [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": own.replace("127.0.0.1", "127.0.0.1.evil.example")},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": own},
        {"Sec-Fetch-Site": "none"},
    ]

    for headers in foreign:
        problem(await browser.post("/session/link", headers=headers), 403, "Forbidden")
    for headers in ({"Origin": own}, {"Sec-Fetch-Site": "same-origin"}):
        assert (await browser.post("/session/link", headers=headers)).status_code == 200
    assert (await browser.get("/apps", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 200


async def test_other_sites_cannot_sign_anyone_in(guest, naru):
    code = await naru.platform.accounts.login_link()

    answer = await guest.post("/session", json={"code": code}, headers={"Origin": "https://evil.example"})

    problem(answer, 403, "Forbidden")


# --- bodies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "detail", "mend"),
    [
        ({"replica": 3}, "there is no field replica", "did you mean replicas?"),
        ({"health": {"intervall": 1}}, "there is no field health.intervall", "did you mean interval?"),
        (
            {"health": {"check": {"kind": "http", "pth": "/"}}},
            "there is no field health.check.pth",
            "did you mean path?",
        ),
        (
            {"strategy": {"kind": "rolling", "max_surg": 1}},
            "there is no field strategy.max_surg",
            "did you mean max_surge?",
        ),
        (
            {"strategy": {"kind": "canary", "steps": [{"percent": 5, "second": 1}]}},
            "no field strategy.steps.0.second",
            "sec",
        ),
        ({"volumes": [{"name": "a", "path": "/a", "readonly": True}]}, "no field volumes.0.readonly", "read_only"),
        ({"environment": {"A": "b\0c"}}, "NUL", "remove it"),
        ({"image": "shop\0:1"}, "NUL", "remove it"),
    ],
)
async def test_what_a_body_says_and_nobody_knows_is_refused(client, wrong, detail, mend):
    body = problem(await client.post("/apps", json={**WORKLOAD, **wrong}), 422, "Invalid")

    assert detail in body["detail"]
    assert mend in body["mend"]
    assert (await client.get("/apps")).json()["items"] == []


async def test_names_that_are_values_are_free(client):
    body = {**WORKLOAD, "environment": {"replica": "1"}, "proof": {"count": 0, "request": {"headers": {"X-Any": "1"}}}}

    assert (await client.post("/apps", json=body)).status_code == 202


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"app": "shop"}',
        b"[" * 200_000,
        b'{"app":' * 900 + b"1" + b"}" * 900,
        b'{"app": "shop", "image": "shop:1", "port": 1e999, "replicas": 1}',
        b'{"app": "shop", "image": "shop:1", "port": 80, "replicas": "many"}',
        b'{"app": "shop", "image": "shop:1", "port": 80, "replicas": 99999999999999999999999999}',
        b'{"app": "shop", "image": "shop:1", "port": 80, "replicas": ' + b"9" * 400 + b"}",
        b'{"app": "shop", "image": "shop:1", "port": 80, "replicas": 1, "stop_grace": NaN}',
        b'{"app": "Shop", "image": "shop:1", "port": 80, "replicas": 1}',
        b'{"app": "../etc", "image": "shop:1", "port": 80, "replicas": 1}',
        b'{"app": "shop", "image": "shop:1", "port": 80, "replicas": 1, "environment": {"A=B": "c"}}',
        b'{"app": "shop", "image": "shop:1", "port": 80, "replicas": 1, "volumes": [{"name": "a", "path": "/../b"}]}',
    ],
)
async def test_a_malformed_body_is_an_error_of_the_client(client, content):
    answer = await client.post("/apps", content=content, headers={"Content-Type": "application/json"})

    assert answer.status_code in (400, 422), answer.text
    problem(answer, answer.status_code, answer.json()["title"])


async def test_a_body_that_is_too_large_is_not_read(client):
    huge = {**WORKLOAD, "environment": {"A": "x" * MAX_BODY}}

    problem(await client.post("/apps", json=huge), 413, answer_title(413))


async def test_a_body_without_a_length_is_cut_off(client):
    async def chunks():
        for _ in range(9):
            yield b"x" * (1024 * 1024)

    answer = await client.post("/apps", content=chunks(), headers={"Content-Type": "application/json"})

    problem(answer, 413, answer_title(413))


def answer_title(status: int) -> str:
    return HTTPStatus(status).phrase


@pytest.mark.parametrize(
    "path",
    [
        "/apps/..%2f..%2fetc",
        "/apps/%00",
        "/apps/shop%00",
        "/apps/" + "x" * 5000,
        "/apps/%F0%9F%9A%A2",
        "/apps/shop/releases/999999999999999999999999",
        "/apps/shop/releases/-1",
        "/rollouts/%00",
        "/nowhere",
        "/tokens/x%00",
    ],
)
async def test_a_path_to_nothing_is_not_found(client, path):
    for method in ("GET", "DELETE") if "tokens" not in path else ("DELETE",):
        answer = await client.request(method, path)
        assert answer.status_code in (404, 405, 422), (method, path, answer.text)
        problem(answer, answer.status_code, answer.json()["title"])


@pytest.mark.parametrize(
    "query",
    [
        "/apps?limit=0",
        "/apps?limit=501",
        "/apps?limit=x",
        "/apps?limit=9999999999999999999999",
        "/events?after=99999999999999999999999",
        "/apps/shop/releases?before=99999999999999999999",
        "/apps/shop/logs?tail=-1",
        "/apps/shop/logs?since=yesterday",
        "/apps/shop/logs?since=2026-01-01T00:00:00",
        "/images?reference=",
    ],
)
async def test_a_wrong_parameter_is_an_error_of_the_client(client, query):
    await client.post("/apps", json=WORKLOAD)
    method = "DELETE" if query.startswith("/images") else "GET"

    answer = await client.request(method, query)

    assert answer.status_code in (404, 422), answer.text
    problem(answer, answer.status_code, answer.json()["title"])
