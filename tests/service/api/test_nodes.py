"""Nodes over HTTP: who joins, and who is removed."""

from dataclasses import replace

import pytest
from tests.service.api.test_doors import problem

from naru.domain.distribution import NodeReport
from naru.domain.membership import Token

HEAD = NodeReport("head", "hall", "10.9.0.1", 7071, "passthrough", authority="ab" * 32)


async def test_a_join_token_is_shown_once(client, naru):
    await naru.platform.nodes.report(HEAD)
    made = await client.post("/join-tokens", json={"hours": 2, "uses": 3})
    assert made.status_code == 201
    told = made.json()
    assert told["via"] == "10.9.0.1:7071"
    secret = Token.parse(told["value"]).secret
    for path in ("/join-tokens", "/nodes", "/events"):
        assert secret not in (await client.get(path)).text
    (listed,) = (await client.get("/join-tokens")).json()["items"]
    assert (listed["id"], listed["uses"], listed["spent"]) == (told["token"]["id"], 3, False)

    assert (await client.delete(f"/join-tokens/{listed['id']}")).status_code == 204
    assert (await client.get("/join-tokens")).json()["items"] == []
    problem(await client.delete(f"/join-tokens/{listed['id']}"), 404, "NotFound")


async def test_without_an_agent_that_signs_nobody_is_invited(client):
    problem(await client.post("/join-tokens", json={}), 503, "Unavailable")


@pytest.mark.parametrize("body", [{"hours": 0}, {"hours": 10_000}, {"uses": -1}, {"node": "No Name"}, {"days": 1}])
async def test_what_can_be_no_join_token_is_refused(client, naru, body):
    await naru.platform.nodes.report(HEAD)
    problem(await client.post("/join-tokens", json=body), 422, "Invalid")


async def test_a_node_is_removed_once(client, naru):
    gull = replace(HEAD, name="gull", authority="")
    await naru.platform.nodes.report(gull)
    assert (await client.delete("/nodes/gull")).status_code == 204
    problem(await client.delete("/nodes/gull"), 404, "NotFound")
    report = await client.put("/nodes/gull", json={"name": "gull", "site": "hall", "host": "h", "port": 1, "mode": "x"})
    problem(report, 403, "Forbidden")
