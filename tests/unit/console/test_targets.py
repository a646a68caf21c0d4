"""The page of targets: adding, cordoning, draining and removing them, and moving an app."""

import re

from naru.domain.workload import Volume


async def added(browser, name: str = "plant") -> None:
    answer = await browser.post("/targets", {"name": name, "url": f"fake://kim:secret@{name}", "site": "busan"})
    assert answer.headers["location"] == "/targets?notice=target-added"


async def test_an_added_target_is_listed_without_its_password(browser):
    await added(browser)
    page = (await browser.get("/targets")).text
    assert "fake://plant" in page
    assert "kim:secret" not in page
    assert 'action="/targets/plant/remove"' in page
    assert 'action="/targets/fake/remove"' not in page


async def test_what_can_be_no_target_is_told_with_its_mend(browser):
    answer = await browser.post("/targets", {"name": "plant", "url": "gopher://plant"})
    assert answer.status_code == 422
    assert "no engine is reached by gopher" in answer.text
    assert 'value="plant"' in answer.text
    assert 'value="gopher://plant"' in answer.text


async def test_a_target_that_does_not_answer_is_refused_with_the_box_that_adds_it(browser):
    asked = {"name": "plant", "url": "fake://away"}
    refused = await browser.post("/targets", asked)
    assert refused.status_code == 503
    assert "To do it all the same, choose “Add it even if it does not answer yet”." in refused.text
    refused = await browser.post("/targets", asked, **{"Accept-Language": "ko"})
    assert "그래도 하려면 ‘아직 응답하지 않아도 추가’를 선택하세요." in refused.text
    assert "plant을(를) 추가하지 않았습니다" in refused.text
    assert (await browser.post("/targets", asked | {"force": "on"})).headers["location"].startswith("/targets?notice")
    shown = (await browser.get("/targets")).text
    assert "fake://away" in shown
    assert "0 B" not in shown  # nobody knows yet what it has room for


async def test_an_address_with_a_password_is_to_be_typed_again(browser):
    answer = await browser.post("/targets", {"name": "plant", "url": "gopher://kim:secret@plant"})
    assert answer.status_code == 422
    assert 'value="gopher:' not in answer.text


async def test_a_target_is_cordoned_and_freed(browser):
    await browser.post("/targets/fake/cordon")
    assert "/targets/fake/uncordon" in (await browser.get("/targets")).text
    await browser.post("/targets/fake/uncordon")
    assert "/targets/fake/cordon" in (await browser.get("/targets")).text


async def test_a_drain_leads_to_its_moves_and_names_what_stays(browser, stage):
    await added(browser)
    await stage.deploy()
    page = (await browser.post("/targets/fake/drain")).text
    assert "shop stays:" in page
    assert "built on another engine" in page
    await browser.post("/targets/plant/remove")
    assert "plant" not in (await browser.get("/targets")).text


async def test_an_app_is_moved_by_its_form(browser, stage):
    await added(browser)
    await stage.deploy()
    form = (await browser.get("/apps/shop/move")).text
    assert re.findall(r'<option value="(\w*)"', form) == ["", "plant"]
    refused = await browser.post("/apps/shop/move", {"target": "plant"})
    assert (refused.status_code, "it does not hold" in refused.text) == (409, True)


async def test_an_app_with_volumes_is_moved_once_it_may_be_stopped(browser, stage):
    await added(browser)
    await stage.deploy(volumes=(Volume("orders", "/data"),))
    form = (await browser.get("/apps/shop/move")).text
    assert 'name="volumes"' in form
    assert "It keeps data in orders" in form

    unasked = await browser.post("/apps/shop/move", {"target": "plant"})
    asked = await browser.post("/apps/shop/move", {"target": "plant", "volumes": "on"})

    assert "its volumes are on fake" in unasked.text
    assert "its volumes are on fake" not in asked.text
    assert 'name="volumes" checked' in asked.text


async def test_a_drain_asks_whether_what_keeps_data_may_be_stopped(browser, stage):
    await added(browser)
    await stage.deploy(volumes=(Volume("orders", "/data"),))
    page = (await browser.post("/targets/fake/drain")).text
    assert "its volumes are on fake" in page
    assert "Stop them and copy their volumes" in page
    again = (await browser.post("/targets/fake/drain", {"volumes": "on"})).text
    assert "its volumes are on fake" not in again
