"""Kinds, schedules, projects and affinities over the API: every field comes back, and a typo is an error."""

import pytest
from tests.service.control.site import Site

pytestmark = pytest.mark.asyncio

NIGHTLY = {
    "app": "night",
    "image": "shop:1",
    "port": 0,
    "replicas": 2,
    "kind": "scheduled",
    "schedule": "30 4 * * mon-fri",
    "project": "mall",
    "private": True,
    "affinity": {"targets": ["fake"], "engines": ["fake"], "sites": ["home"], "near": "shop"},
    "proof": {"steady": 0.1},
}
GROWING = {
    "app": "grows",
    "image": "shop:1",
    "port": 80,
    "replicas": 1,
    "resources": {"cpus": 0.5},
    "autoscale": {"min": 1, "max": 4, "cpu_percent": 70},
    "proof": {"count": 1},
}


@pytest.mark.parametrize("asked", [NIGHTLY, GROWING], ids=["scheduled", "autoscaled"])
async def test_what_is_said_of_a_kind_comes_back(naru: Site, client, asked):
    answer = await client.post("/apps", json=asked)
    assert answer.status_code == 202, answer.text
    await naru.settled(asked["app"])

    workload = (await client.get(f"/apps/{asked['app']}")).json()["release"]["workload"]

    for name in asked.keys() - {"proof", "resources", "image"}:
        assert workload[name] == asked[name], name


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"kinds": "batch"}, "kinds"),
        ({"affinity": {"site": ["home"]}}, "affinity.site"),
        ({"autoscale": {"minimum": 1, "max": 2}}, "autoscale.minimum"),
        ({"proof": {"steadi": 1}}, "proof.steadi"),
    ],
)
async def test_a_typo_about_a_kind_is_named(client, wrong, place):
    answer = await client.post("/apps", json=NIGHTLY | wrong)

    assert answer.status_code == 422
    assert place in answer.text


@pytest.mark.parametrize(
    "wrong", [{"kind": "lambda"}, {"schedule": "now"}, {"kind": "service"}, {"strategy": {"kind": "canary"}}]
)
async def test_what_makes_no_sense_for_a_kind_is_refused(client, wrong):
    assert (await client.post("/apps", json=NIGHTLY | wrong)).status_code == 422
