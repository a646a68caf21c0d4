"""The page of nodes and of how images went to them."""

from dataclasses import replace
from datetime import UTC, datetime

from tests.unit.console.conftest import Stage

from naru.domain.distribution import Carried, Distribution, Estimate, Holding, NodeReport, Way

GULL = NodeReport(
    "gull",
    "busan",
    "10.1.0.2",
    7071,
    "passthrough",
    used=3 << 20,
    images=(Holding("sha256:" + "a" * 64, 5, 5), Holding("sha256:" + "b" * 64, 1, 5)),
    carried=Carried(from_site=7 << 20, from_outside=2 << 20),
)


async def test_a_site_without_agents_is_told_how_to_get_one(browser):
    page = await browser.get("/nodes")
    assert page.status_code == 200
    assert "Create a join token below" in page.text
    assert "Nothing was sent to nodes yet." in page.text


async def test_nodes_show_what_they_have_and_carried(browser, stage: Stage):
    await stage.platform.nodes.report(GULL)
    await stage.platform.nodes.report(replace(GULL, name="tern", mode="eager"))
    page = (await browser.get("/nodes")).text
    assert page.count("reports</span>") == 2
    assert "1 / 2" in page
    assert "passthrough" in page
    assert "eager" in page


async def test_what_was_expected_stands_beside_what_happened(browser, stage: Stage):
    course = Distribution("r1", "shop", "sha256:" + "a" * 64, "busan", Way.PEERS, 8, datetime(2026, 3, 1, tzinfo=UTC))
    await stage.platform.pipeline.store.nodes.save(
        replace(course, estimate=Estimate(Way.PEERS, 2.5, 14.0, 1e6), ready=2.75, egress=1 << 20)
    )
    page = (await browser.get("/nodes")).text
    assert "2.5 s" in page
    assert "2.8 s" in page or "2.7 s" in page
    assert "peers" in page


async def test_a_node_is_let_in_by_a_token_that_is_shown_once(browser, stage: Stage):
    refused = await browser.post("/nodes/tokens", {"node": "", "hours": "1", "uses": "1"})
    assert refused.status_code == 503
    await stage.platform.nodes.report(replace(GULL, authority="ab" * 32))
    made = await browser.post("/nodes/tokens", {"node": "", "hours": "8", "uses": "2"})
    assert "naru agent join naru1." in made.text
    page = (await browser.get("/nodes")).text
    assert "naru1." not in page
    assert "2 nodes" in page
    (token,) = await stage.platform.joining.tokens()
    assert (await browser.post("/nodes/tokens/revoke", {"id": token.id})).status_code == 303
    assert await stage.platform.joining.tokens() == []


async def test_a_node_is_removed_by_a_button(browser, stage: Stage):
    await stage.platform.nodes.report(GULL)
    assert (await browser.post("/nodes/gull/remove", {})).status_code == 303
    assert await stage.platform.nodes.all() == []


async def test_the_ways_that_were_not_gone_are_shown(browser, stage: Stage):
    course = Distribution("r1", "shop", "sha256:" + "a" * 64, "busan", Way.SEED, 8, datetime(2026, 3, 1, tzinfo=UTC))
    await stage.platform.pipeline.store.nodes.save(
        replace(
            course,
            estimate=Estimate(Way.SEED, 2.5, 14.0, 1e6),
            alternatives=(Estimate(Way.DIRECT, 30.0, 31.0, 8e6),),
            waves=(1, 7),
        )
    )
    page = (await browser.get("/nodes")).text
    assert "seed (1 + 7)" in page
    assert "direct 30.0 s" in page


async def test_a_rollout_shows_how_its_image_went_to_nodes(browser, stage: Stage):
    rollout = await stage.deploy()
    assert 'id="distribution"' not in (await browser.get(f"/rollouts/{rollout.id}")).text
    course = Distribution(rollout.id, "shop", "sha256:" + "a" * 64, "busan", Way.DIRECT, 0, rollout.requested_at)
    await stage.platform.pipeline.store.nodes.save(course)
    page = (await browser.get(f"/rollouts/{rollout.id}")).text
    assert 'id="distribution"' in page
    assert "engine alone" in page
