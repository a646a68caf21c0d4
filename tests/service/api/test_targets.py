"""Targets over HTTP."""

import pytest
from tests.service.api.test_doors import WORKLOAD, problem

from naru.domain.rollout import RolloutState


async def added(client, naru, name: str = "plant") -> None:
    naru.engine_at(name)
    answer = await client.post("/targets", json={"name": name, "url": f"fake://kim:secret@{name}", "site": "busan"})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"].endswith(f"/targets/{name}")
    assert answer.json()["address"] == f"fake://{name}"


async def test_a_target_comes_is_cordoned_and_goes(client, naru):
    await added(client, naru)
    listed = (await client.get("/targets")).json()["items"]
    assert [(one["name"], one["site"], one["state"], one["problem"]) for one in listed] == [
        ("fake", "home", "active", ""),
        ("plant", "busan", "active", ""),
    ]
    assert (await client.patch("/targets/plant", json={"state": "cordoned"})).json()["state"] == "cordoned"
    assert (await client.get("/targets/plant")).json()["state"] == "cordoned"
    assert (await client.delete("/targets/plant")).status_code == 204
    problem(await client.get("/targets/plant"), 404, "NotFound")


async def test_what_does_not_answer_names_the_field_that_adds_it_all_the_same(client, naru):
    naru.engine_at("plant").go_away()
    body = {"name": "plant", "url": "fake://plant"}
    refused = problem(await client.post("/targets", json=body), 503, "Unavailable")
    assert refused["override"] == "force"
    assert (await client.post("/targets", json=body | {refused["override"]: True})).status_code == 201


async def test_no_answer_holds_a_password(client, naru):
    await added(client, naru)
    for path in ("/targets", "/targets/plant", "/events"):
        assert "kim:secret" not in (await client.get(path)).text


@pytest.mark.parametrize(
    ("body", "status", "title"),
    [
        ({"name": "plant", "url": "gopher://plant"}, 422, "Invalid"),
        ({"name": "Plant", "url": "fake://plant"}, 422, "Invalid"),
        ({"name": "plant"}, 422, "Invalid"),
        ({"name": "plant", "url": "fake://plant", "sight": "busan"}, 422, "Invalid"),
        ({"name": "fake", "url": "fake://plant"}, 409, "Conflict"),
    ],
)
async def test_what_can_be_no_target_is_refused(client, body, status, title):
    problem(await client.post("/targets", json=body), status, title)


async def test_an_app_moves_and_a_target_is_drained(client, naru):
    await added(client, naru)
    rollout = (await client.post("/apps", json=WORKLOAD)).json()
    assert (await naru.end(await naru.apps.rollout(rollout["id"]))).state is RolloutState.SUCCEEDED

    moving = await client.post("/apps/shop/move", json={"to": "plant"})

    assert (moving.status_code, moving.json()["kind"], moving.json()["target"]) == (202, "move", "plant")
    assert (await naru.end(await naru.apps.rollout(moving.json()["id"]))).state is RolloutState.SUCCEEDED
    problem(await client.delete("/targets/plant"), 409, "Conflict")
    await client.patch("/targets/fake", json={"state": "cordoned"})
    drained = await client.post("/targets/plant/drain")
    assert drained.status_code == 202
    assert (drained.json()["moves"], [one["app"] for one in drained.json()["staying"]]) == ([], ["shop"])
    assert "fake: it is cordoned" in drained.json()["staying"][0]["reason"]
    problem(await client.post("/apps/shop/move", json={"to": "nowhere"}), 404, "NotFound")
