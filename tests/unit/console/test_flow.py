"""The main job through forms alone, as a browser without JavaScript does it."""

from tests.unit.console.conftest import ADMIN_SUBJECT, Browser, Stage, words
from tests.unit.oci.archives import docker_members, tar

from naru.domain.errors import Conflict, Unavailable
from naru.domain.rollout import RolloutState

NEW = {"app": "shop", "image": "shop:1", "port": "80", "replicas": "2"}


async def live(stage: Stage) -> str:
    rollout = (await stage.platform.apps.status("shop")).rollout
    assert rollout is not None
    return (await stage.end_of(rollout)).reason


async def test_an_image_a_port_and_a_replica_count_become_an_endpoint(browser: Browser, stage: Stage):
    stage.build("shop:1")
    answer = await browser.post("/new", NEW)
    assert (answer.status_code, answer.headers["location"]) == (303, "/apps/shop")
    assert await live(stage) == ""
    page = words((await browser.get("/apps/shop")).text)
    assert "http://127.0.0.1:20000" in page
    assert "Ready 2/2" in page


async def test_a_name_in_use_is_refused_and_nothing_typed_is_lost(browser: Browser, stage: Stage):
    await stage.deploy()
    answer = await browser.post("/new", {**NEW, "image": "other:9", "env_name": ["GREETING"], "env_value": ["hi"]})
    assert answer.status_code == 409
    assert "there is already an app named shop" in answer.text
    assert 'value="other:9"' in answer.text
    assert 'value="GREETING"' in answer.text
    assert len(await stage.platform.apps.releases("shop")) == 1


async def test_what_the_platform_refuses_is_told_with_cause_and_mend(browser: Browser, stage: Stage, monkeypatch):
    async def refuse(*_: object, **__: object) -> None:
        raise Unavailable("the registry does not answer", "try again later")

    monkeypatch.setattr(stage.platform.apps, "deploy", refuse)
    answer = await browser.post("/new", NEW)
    assert answer.status_code == 503
    assert "the registry does not answer" in answer.text
    assert "try again later" in answer.text
    assert 'value="shop:1"' in answer.text


async def test_mistakes_are_shown_beside_their_fields_in_both_languages(browser: Browser):
    for language, summary in (("en", "3 things are not right yet."), ("ko", "3개 항목을 확인해 주세요.")):
        answer = await browser.post(
            "/new", {**NEW, "app": "Shop!", "port": "", "memory": "much"}, **{"Accept-Language": language}
        )
        assert answer.status_code == 422
        assert summary in answer.text
        assert 'aria-describedby="error-app"' in answer.text
        assert 'id="error-resources"' in answer.text
        assert '<details class="fold" id="fold-resources" open>' in answer.text


async def test_editing_keeps_what_was_not_touched(browser: Browser, stage: Stage):
    await stage.deploy(environment={"GREETING": "two\nlines"})
    page = (await browser.get("/apps/shop/edit")).text
    assert ">two\nlines</textarea>" in page
    form = {**NEW, "version": str((await stage.platform.apps.status("shop")).app.version)}
    form |= {"env_name": ["GREETING"], "env_value": ["two\r\nlines"], "address_port": "20000", "replicas": "3"}
    assert (await browser.post("/apps/shop/edit", form)).status_code == 303
    assert await live(stage) == ""
    release = (await stage.platform.apps.status("shop")).release
    assert release is not None
    assert (release.workload.replicas, release.workload.environment) == (3, {"GREETING": "two\nlines"})


async def test_a_form_older_than_the_app_is_refused(browser: Browser, stage: Stage):
    await stage.deploy()
    version = (await stage.platform.apps.status("shop")).app.version
    stage.build("shop:2")
    await stage.end_of(await stage.platform.apps.update("shop", image="shop:2", subject=ADMIN_SUBJECT))
    for path, form in (("edit", NEW), ("scale", {"replicas": "9"}), ("image", {"image": "shop:1"})):
        answer = await browser.post(f"/apps/shop/{path}", {**form, "version": str(version - 1)})
        assert answer.status_code == 412, path
        assert "is at version" in answer.text


async def test_image_replicas_and_earlier_releases_are_one_form_each(browser: Browser, stage: Stage):
    await stage.deploy()
    stage.build("shop:2")
    assert (await browser.post("/apps/shop/image", {"image": "shop:2"})).status_code == 303
    assert await live(stage) == ""
    assert (await browser.post("/apps/shop/scale", {"replicas": "4"})).status_code == 303
    assert await live(stage) == ""
    assert 'value="1"' in (await browser.get("/apps/shop/releases")).text
    assert (await browser.post("/apps/shop/rollback", {"release": "1"})).status_code == 303
    assert await live(stage) == ""
    release = (await stage.platform.apps.status("shop")).release
    assert release is not None
    assert (release.number, release.workload.image, release.workload.replicas) == (4, "shop:1", 2)


async def test_an_app_goes_only_when_its_name_is_typed(browser: Browser, stage: Stage):
    await stage.deploy()
    refused = await browser.post("/apps/shop/remove", {"confirm": "sho"})
    assert refused.status_code == 422
    assert 'value="sho"' in refused.text
    removal = await browser.post("/apps/shop/remove", {"confirm": "shop", "volumes": "on"})
    assert await live(stage) == ""
    page = words((await browser.get(removal.headers["location"])).text)
    assert "Removal with volumes" in page
    assert (await browser.get("/apps/shop")).status_code == 404
    stage.build("shop:1")
    assert (await browser.post("/new", NEW)).status_code == 303


async def test_a_rollout_can_be_cancelled(browser: Browser, stage: Stage):
    stage.build("shop:1")
    with stage.engine.hold("apply"):
        await browser.post("/new", NEW)
        rollout = (await stage.platform.apps.status("shop")).rollout
        assert rollout is not None
        assert (await browser.post(f"/rollouts/{rollout.id}/cancel")).status_code == 303
    assert (await stage.end_of(rollout)).state is RolloutState.CANCELLED


async def test_a_test_request_shows_status_headers_body_and_timing(browser: Browser, stage: Stage):
    await stage.deploy()
    stage.prober.sent.clear()
    form = {"method": "POST", "path": "/pay", "headers": "X-Key: 1", "body": "a\r\nb", "status": "201", "timeout": "2"}
    whole = await browser.post("/apps/shop/request", form)
    part = await browser.post("/apps/shop/request", form, **{"HX-Request": "true"})
    assert "200" in words(part.text)
    assert "12 ms" in words(part.text)
    assert "content-type" in words(part.text)
    assert "<html" not in part.text
    assert "<html" in whole.text
    assert 'value="/pay"' in whole.text
    sent = stage.prober.sent[0]
    assert (sent.method, sent.path, sent.headers, sent.body, sent.expect_status) == (
        "POST", "/pay", {"X-Key": "1"}, "a\nb", 201,
    )  # fmt: skip


async def test_a_wrong_test_request_is_told_where_the_answer_would_be(browser: Browser, stage: Stage):
    await stage.deploy()
    answer = await browser.post("/apps/shop/request", {"method": "GET", "path": "no"}, **{"HX-Request": "true"})
    assert answer.status_code == 422
    assert "is not absolute" in words(answer.text)
    assert "<html" not in answer.text


async def test_an_archive_is_loaded_raw_and_by_form(browser: Browser, stage: Stage):
    token = {"X-CSRF-Token": browser.csrf, "Sec-Fetch-Site": "same-origin"}
    raw = await browser.client.put("/images", content=tar(docker_members(tags=("raw:1",))), headers=token)
    assert raw.json() == {"references": ["docker.io/library/raw:1"]}
    form = await browser.client.post(
        "/images", data={"csrf": browser.csrf}, files={"archive": ("a.tar", tar(docker_members(tags=("form:1",))))}
    )
    assert form.headers["location"] == "/images?notice=image-loaded"
    page = (await browser.get("/images?notice=image-loaded")).text
    assert "The archive is loaded." in page
    assert "docker.io/library/raw:1" in page
    assert "docker.io/library/form:1" in page
    assert (await browser.post("/images/remove", {"reference": "raw:1"})).status_code == 303
    assert "raw:1" not in (await browser.get("/images")).text


async def test_a_broken_archive_says_what_is_wrong(browser: Browser):
    token = {"X-CSRF-Token": browser.csrf}
    answer = await browser.client.put("/images", content=b"not a tar", headers=token)
    assert answer.status_code == 422
    assert answer.json()["cause"]


async def test_settings_keep_passwords_tokens_secrets_and_logins(browser: Browser, stage: Stage):
    wrong = await browser.post("/settings/password", {"password": "a" * 12, "again": "b" * 12})
    assert "the two passwords differ" in wrong.text
    assert (await browser.post("/settings/password", {"password": "a" * 12, "again": "a" * 12})).status_code == 303
    assert await stage.platform.accounts.has_password()

    made = await browser.post("/settings/tokens", {"name": "ci", "days": "30"})
    token = (await stage.platform.accounts.tokens())[0]
    assert "naru_" in made.text
    assert "naru_" not in words((await browser.get("/settings")).text).replace("naru_session", "")
    assert (await browser.post("/settings/tokens", {"name": "odd", "days": "31"})).status_code == 422
    assert (await browser.post("/settings/tokens/revoke", {"id": token.id})).status_code == 303

    assert (await browser.post("/settings/secrets", {"name": "key", "value": "s3cret\r\n"})).status_code == 303
    assert await stage.platform.pipeline.store.secrets.value("key", 1) == b"s3cret\n"
    login = {"registry": "registry.example.org", "username": "me", "password": "hush"}
    assert (await browser.post("/settings/registries", login)).status_code == 303
    page = (await browser.get("/settings?notice=registry-saved")).text
    assert "registry.example.org" in page
    assert "s3cret" not in page
    assert "hush" not in page
    assert (await browser.post("/settings/secrets/remove", {"name": "key"})).status_code == 303
    assert (await browser.post("/settings/registries/remove", {"registry": login["registry"]})).status_code == 303
    bad = await browser.post("/settings/secrets", {"name": "Bad Name", "value": "x"})
    assert bad.status_code == 422
    assert 'value="Bad Name"' in bad.text


async def test_language_and_theme_are_kept_without_a_sign_in(browser: Browser):
    browser.client.cookies.clear()
    form = {"language": "ko", "theme": "dark", "next": "/login"}
    answer = await browser.client.post("/settings/display", data=form)
    assert answer.headers["location"] == "/login"
    page = (await browser.client.get("/login")).text
    assert '<html lang="ko" data-theme="dark">' in page
    assert "나루에 로그인" in page


async def test_a_conflict_on_one_click_is_a_page(browser: Browser, stage: Stage, monkeypatch):
    await stage.deploy()

    async def refuse(*_: object, **__: object) -> None:
        raise Conflict("a rollout of shop is under way", "wait for its end, or cancel it")

    monkeypatch.setattr(stage.platform.apps, "roll_back", refuse)
    answer = await browser.post("/apps/shop/rollback", {"release": "1"})
    assert answer.status_code == 409
    assert "wait for its end" in answer.text


async def test_a_new_app_shows_where_it_will_run_before_it_is_deployed(browser: Browser, stage: Stage):
    half = await browser.post("/new/choice", {"app": "shop", "image": ""})
    assert "the target appears here" in words(half.text)

    shown = words((await browser.post("/new/choice", NEW)).text)
    assert "which alone can run it" in shown
    assert "a lost node is all of it" in shown
    stage.engine.features = ()
    refused = words((await browser.post("/new/choice", {**NEW, "memory": "64"})).text)
    assert "fake cannot do limits" in refused
    assert (await browser.get("/apps/shop")).status_code == 404


async def test_a_rollout_shows_what_it_was_placed_by(browser: Browser, stage: Stage):
    rollout = await stage.deploy()

    shown = words((await browser.get(f"/rollouts/{rollout.id}")).text)
    assert "Why there" in shown
    assert "nothing was published about it" in shown
