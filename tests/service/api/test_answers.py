"""What the API promises beyond its routes: conditions, pages, keys, streams, problems."""

import asyncio
import json

import pytest
from tests.contract.fake_behaviour import Waits
from tests.service.api.test_doors import WORKLOAD, problem
from tests.service.control.site import image


async def deploy(naru, client, **more):
    answer = await client.post("/apps", json={**WORKLOAD, **more})
    assert answer.status_code == 202, answer.text
    ended = await naru.end(await naru.apps.rollout(answer.json()["id"]))
    assert ended.state == "succeeded", ended.reason
    return answer


async def test_a_deployment_tells_where_to_follow_it(naru, client):
    answer = await deploy(naru, client)

    assert answer.headers["location"] == f"/api/v1/rollouts/{answer.json()['id']}"
    followed = await client.get(answer.headers["location"].removeprefix("/api/v1"))
    assert followed.json()["state"] == "succeeded"


async def test_each_kind_of_error_has_its_status(naru, client):
    await deploy(naru, client)
    naru.engine.behave(Waits(), image=image("shop:2").reference)
    tag = (await client.get("/apps/shop")).headers["etag"]
    rollout = (await client.patch("/apps/shop", json={"image": "shop:2"}, headers={"If-Match": tag})).json()

    conflict = problem(await client.patch("/apps/shop", json={"replicas": 1}), 409, "Conflict")
    assert rollout["id"] in conflict["detail"]
    assert conflict["mend"] == "wait for its end, or cancel it"
    assert conflict["instance"] == "/api/v1/apps/shop"
    problem(await client.get("/apps/nope"), 404, "NotFound")
    problem(await client.patch("/apps/shop", json={}), 422, "Invalid")
    problem(await client.put("/apps/other", json=WORKLOAD), 422, "Invalid")
    problem(await client.patch("/apps/shop", json={"replicas": 1}, headers={"If-Match": '"99-x"'}), 412, "Stale")
    problem(await client.post("/apps/shop/releases"), 405, "Method Not Allowed")
    cancelled = await client.post(f"/rollouts/{rollout['id']}/cancel")
    assert cancelled.status_code == 200
    naru.engine.go_away()
    away = await client.post("/apps/shop/instances/x/exec", json={"command": ["true"]})
    problem(away, 404, "NotFound")
    known = (await client.get("/apps/shop/instances")).json()["items"][0]["id"]
    away = await client.post(f"/apps/shop/instances/{known}/exec", json={"command": ["true"]})
    problem(away, 503, "Unavailable")
    assert int(away.headers["retry-after"]) >= 1
    naru.engine.come_back()


async def test_what_the_client_has_already_is_not_sent_again(naru, client):
    await deploy(naru, client)
    first = await client.get("/apps/shop")

    again = await client.get("/apps/shop", headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})

    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == first.headers["etag"]
    await naru.end(await naru.apps.rollout((await client.patch("/apps/shop", json={"replicas": 3})).json()["id"]))
    changed = await client.get("/apps/shop", headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


async def test_if_match_guards_every_change_of_an_app(naru, client):
    await deploy(naru, client)
    old = (await client.get("/apps/shop")).headers["etag"]
    await deploy(naru, client, replicas=1)
    stale = {"If-Match": old}

    for method, path, body in [
        ("POST", "/apps", WORKLOAD),
        ("PUT", "/apps/shop", WORKLOAD),
        ("PATCH", "/apps/shop", {"replicas": 1}),
        ("POST", "/apps/shop/rollback", {}),
        ("DELETE", "/apps/shop", None),
    ]:
        problem(await client.request(method, path, json=body, headers=stale), 412, "Stale")
    problem(await client.delete("/apps/shop", headers={"If-Match": "nonsense"}), 422, "Invalid")
    assert (await client.delete("/apps/shop", headers={"If-Match": "*"})).status_code == 202


async def test_pages_follow_one_another_to_the_end(naru, client):
    for name in ("a", "b", "c", "d", "e"):
        await deploy(naru, client, app=name, replicas=0)

    seen, path = [], "/apps?limit=2"
    while path:
        page = await client.get(path)
        seen.append([item["app"]["name"] for item in page.json()["items"]])
        link = page.headers.get("link", "")
        assert bool(link) is bool(page.json()["next"])
        path = link.partition(">")[0].removeprefix("</api/v1") if link else ""

    assert seen == [["a", "b"], ["c", "d"], ["e"]]
    rollouts = (await client.get("/rollouts?limit=2")).json()
    following = (await client.get(f"/rollouts?limit=9&before={rollouts['next']}")).json()
    assert [r["app"] for r in rollouts["items"] + following["items"]] == ["e", "d", "c", "b", "a"]
    events = (await client.get("/events?after=0&limit=3")).json()
    assert [e["number"] for e in events["items"]] == [1, 2, 3]


# --- idempotency ------------------------------------------------------------------------------------------------


async def test_a_repeated_write_has_one_effect_and_one_answer(naru, client):
    key = {"Idempotency-Key": "a-key"}
    first = await client.post("/apps", json=WORKLOAD, headers=key)
    await naru.end(await naru.apps.rollout(first.json()["id"]))

    again = await client.post("/apps", json=WORKLOAD, headers=key)

    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"
    assert len((await client.get("/rollouts")).json()["items"]) == 1


async def test_a_key_belongs_to_one_request(naru, client):
    key = {"Idempotency-Key": "a-key"}
    await client.post("/apps", json=WORKLOAD, headers=key)

    problem(await client.post("/apps", json={**WORKLOAD, "replicas": 3}, headers=key), 422, "Invalid")
    problem(await client.put("/apps/shop", json=WORKLOAD, headers=key), 422, "Invalid")


async def test_a_key_of_a_request_under_way_conflicts(naru, client):
    key = {"Idempotency-Key": "a-key"}

    answers = await asyncio.gather(*(client.post("/apps", json=WORKLOAD, headers=key) for _ in range(4)))

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 202
    assert set(statuses) <= {202, 409}
    assert len({answer.content for answer in answers if answer.status_code == 202}) == 1
    assert len((await client.get("/rollouts")).json()["items"]) == 1


async def test_a_key_of_a_refused_request_may_be_used_again(naru, client):
    key = {"Idempotency-Key": "a-key"}
    problem(await client.patch("/apps/shop", json={"replicas": 1}, headers=key), 404, "NotFound")
    await deploy(naru, client)

    assert (await client.patch("/apps/shop", json={"replicas": 1}, headers=key)).status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 129])
async def test_a_key_is_a_short_text(client, key):
    problem(await client.post("/apps", json=WORKLOAD, headers={"Idempotency-Key": key}), 422, "Invalid")


# --- streams ----------------------------------------------------------------------------------------------------


async def messages(client, path, *, until="end", headers=None, most=100):
    """Read a stream up to an event of the name, or `most` of them; beats and comments are left out."""
    found = []
    async with asyncio.timeout(20), client.stream("GET", path, headers=headers or {}) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields = {}
        async for line in answer.aiter_lines():
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                found.append(fields)
                if fields["event"] == until or len(found) == most:
                    return found
                fields = {}
    return found


async def test_a_rollout_is_streamed_to_its_end(naru, client):
    started = (await client.post("/apps", json=WORKLOAD)).json()

    found = await messages(client, f"/rollouts/{started['id']}/stream")

    assert [one["event"] for one in found[-2:]] == ["rollout", "end"]
    assert json.loads(found[-2]["data"])["state"] == "succeeded"


async def test_a_rollout_that_has_ended_is_streamed_once(naru, client):
    done = (await deploy(naru, client)).json()["id"]

    assert [one["event"] for one in await messages(client, f"/rollouts/{done}/stream")] == ["rollout", "end"]


async def test_events_are_resumed_behind_the_last_one_seen(naru, client):
    await deploy(naru, client)
    await deploy(naru, client, replicas=1)
    all_ = (await client.get("/events?after=0")).json()["items"]

    resumed = await messages(
        client, "/events/stream?app=shop", headers={"Last-Event-ID": str(all_[0]["number"])}, most=len(all_) - 1
    )

    assert [int(one["id"]) for one in resumed] == [event["number"] for event in all_[1:]]
    assert [json.loads(one["data"]) for one in resumed] == all_[1:]


async def test_events_are_streamed_as_they_happen(naru, client):
    reading = asyncio.create_task(messages(client, "/events/stream", most=2))
    await asyncio.sleep(0.2)
    await deploy(naru, client)

    assert [json.loads(one["data"])["kind"] for one in await reading] == ["deploy", "live"]


async def test_logs_are_streamed_and_followed(naru, client):
    await deploy(naru, client, replicas=1)
    (one,) = naru.engine.instances()
    naru.engine.write(one.id, "first")
    naru.engine.write(one.id, "second")

    found = await messages(client, "/apps/shop/logs")
    assert [json.loads(m["data"])["text"] for m in found[:-1]] == ["first", "second"]

    following = asyncio.create_task(messages(client, "/apps/shop/logs?follow=true&tail=1", most=2))
    await naru.until(lambda: naru.engine.calls.count(("logs", one.id)) == 2)
    await asyncio.sleep(0.05)
    naru.engine.write(one.id, "third")
    assert [json.loads(m["data"])["text"] for m in await following] == ["second", "third"]


async def test_an_error_in_a_stream_is_its_last_event(naru, client):
    await deploy(naru, client, replicas=1)
    naru.engine.go_away()

    found = await messages(client, "/apps/shop/logs", until="error")

    assert json.loads(found[-1]["data"])["detail"] == "fake does not answer"
    naru.engine.come_back()


async def test_a_stream_of_nothing_is_not_found(client):
    for path in ("/apps/nope/logs", "/apps/nope/usage", "/rollouts/nope/stream"):
        problem(await client.get(path), 404, "NotFound")


# --- the rest ---------------------------------------------------------------------------------------------------


async def test_a_command_runs_with_its_input_and_the_author_is_kept(naru, client):
    await deploy(naru, client, replicas=1)
    (one,) = naru.engine.instances()

    answer = await client.post(f"/apps/shop/instances/{one.id}/exec", json={"command": ["cat"], "stdin": "aGk="})

    assert answer.json() == {"exit_code": 0, "stdout": "", "stderr": ""}
    latest = (await client.get("/events?app=shop")).json()["items"][0]
    assert (latest["kind"], latest["subject"]) == ("exec", "admin/tests")


async def test_a_test_request_shows_what_came_back(naru, client):
    await deploy(naru, client)

    answer = (await client.post("/apps/shop/requests", json={"path": "/", "expect_status": 404})).json()

    assert answer["status"] == 200
    assert answer["problem"] == f"GET / answered 200 instead of 404: {answer['body']}"


async def test_a_secret_is_written_and_never_read_back(naru, client):
    saved = await client.put("/secrets/key", content=b"\x00 very secret \xff")
    assert saved.json() == {"name": "key", "version": 1}

    listed = await client.get("/secrets")

    assert [one["name"] for one in listed.json()["items"]] == ["key"]
    assert "very secret" not in listed.text
    problem(await client.put("/secrets/key", content=b"x" * (512 * 1024 + 1)), 422, "Invalid")
    problem(await client.put("/secrets/..%2fkey", content=b"x"), 404, "Not Found")
    assert (await client.delete("/secrets/key")).status_code == 204


async def test_a_registry_login_is_kept_without_its_password_in_any_answer(client):
    saved = await client.put("/registries/registry.example.org", json={"username": "me", "password": "hidden word"})
    assert saved.status_code == 204

    listed = await client.get("/registries")

    assert [one["registry"] for one in listed.json()["items"]] == ["registry.example.org"]
    assert "hidden word" not in listed.text


@pytest.mark.parametrize("last", ["9" * 30, "-1", "x", "٣"])
async def test_a_strange_event_id_is_no_reason_to_fail(naru, client, last):
    reading = asyncio.create_task(messages(client, "/events/stream", headers={"Last-Event-ID": last.encode()}, most=1))
    await asyncio.sleep(0.1)
    await deploy(naru, client, replicas=0)

    assert len(await reading) == 1


async def test_a_mistake_of_our_own_is_a_problem_without_its_insides(naru, client, monkeypatch):
    async def broken(app: str):
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(naru.platform.apps, "status", broken)

    body = problem(await client.get("/apps/shop"), 500, "Internal Server Error")

    assert "a secret" not in str(body)
