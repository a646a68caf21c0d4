"""Nodes as they last reported, what is wanted near them, and how images went there."""

import asyncio
from dataclasses import replace

import pytest
from tests.service.store.values import IMAGE, MINUTE, NOON, app, rollout

from naru.domain.distribution import Carried, Course, Distribution, Estimate, Holding, NodeReport, Way
from naru.domain.errors import NotFound
from naru.domain.rollout import RolloutState
from naru.store import Store, open_store
from naru.store.nodes import Wanted

GULL = NodeReport("gull", "busan", "10.1.0.2", 7071, "passthrough", images=(Holding(IMAGE.digest, 10, 20, 5, 5),))
TERN = NodeReport("tern", "jeju", "10.2.0.2", 7071, "eager", carried=Carried(from_site=7))
BEGUN = Distribution("r1", "shop", IMAGE.digest, "busan", Way.PEERS, 3, NOON, Estimate(Way.PEERS, 1.5, 9.0, 1e6))


async def test_a_node_is_as_it_reported_last(store: Store) -> None:
    await store.nodes.put(GULL, NOON)
    await store.nodes.put(TERN, NOON)
    later = replace(GULL, used=5, site="jeju")
    await store.nodes.put(later, NOON + MINUTE)
    assert await store.nodes.all() == [(later, NOON + MINUTE), (TERN, NOON)]
    assert await store.nodes.all("jeju") == [(later, NOON + MINUTE), (TERN, NOON)]
    assert await store.nodes.all("busan") == []


async def test_a_forgotten_node_is_gone(store: Store) -> None:
    await store.nodes.put(GULL, NOON)
    await store.nodes.delete("gull")
    assert await store.nodes.all() == []
    with pytest.raises(NotFound, match="no node gull"):
        await store.nodes.delete("gull")


async def test_what_is_live_or_coming_is_wanted(store: Store) -> None:
    other = replace(IMAGE, digest="sha256:" + "c" * 64)
    shop = await store.apps.create(replace(app("shop"), target="plant"))
    made = await store.releases.add("shop", rollout("r0").workload, IMAGE, "admin", NOON)
    assert await store.nodes.wanted(["plant"]) == []
    await store.releases.go_live("shop", made.number)
    await store.rollouts.enqueue(replace(rollout("r1"), target="plant", image=other))
    assert [one.image.digest for one in await store.nodes.wanted(["plant"])] == [IMAGE.digest, other.digest]
    assert await store.nodes.wanted(["elsewhere"]) == []
    claimed = await store.rollouts.claim("me", NOON, MINUTE)
    assert claimed
    await store.rollouts.save(
        replace(claimed[0], state=RolloutState.CANCELLED, target="plant", image=other), claimed[1]
    )
    assert await store.nodes.wanted(["plant"]) == [Wanted("shop", 1, "plant", IMAGE, "")]
    assert shop.target == "plant"


async def test_a_release_names_the_index_that_was_said_first(store: Store) -> None:
    await store.apps.create(replace(app("shop"), target="plant"))
    await store.releases.add("shop", rollout("r0").workload, IMAGE, "admin", NOON)
    await store.releases.go_live("shop", 1)
    wanted = await store.nodes.wanted(["plant"])
    await store.nodes.pin(wanted, "sha256:one")
    await store.nodes.pin(wanted, "sha256:two")
    assert (await store.releases.get("shop", 1)).index_digest == "sha256:one"
    assert [one.index for one in await store.nodes.wanted(["plant"])] == ["sha256:one"]


async def test_a_distribution_is_as_it_was_saved_last(store: Store) -> None:
    await store.nodes.save(BEGUN)
    await store.nodes.save(replace(BEGUN, rollout="r2", begun_at=NOON + MINUTE, estimate=None))
    ended = replace(BEGUN, ready=1.25, complete=8.5, egress=1_000_100)
    await store.nodes.save(ended)
    assert [one.rollout for one in await store.nodes.distributions()] == ["r2", "r1"]
    assert (await store.nodes.distributions(limit=5))[1] == ended
    assert [one.rollout for one in await store.nodes.distributions(since=NOON + MINUTE)] == ["r2"]


COURSE = Course(BEGUN, (("gull",), ("tern", "mew")), {"gull": 5, "tern": 0, "mew": 0})


def next_wave(course: Course) -> Course:
    return replace(course, begun=course.begun + 1, wave_at=NOON, distribution=replace(course.distribution, ready=2.5))


async def test_what_is_under_way_is_found_again_by_the_next_server(url: str, key: bytes) -> None:
    async with open_store(url, key) as before:
        await before.nodes.begin(COURSE)
    async with open_store(url, key) as store:
        assert await store.nodes.courses("busan") == [COURSE]
        assert await store.nodes.courses("jeju") == []
        assert await store.nodes.distributions() == [BEGUN]
        await store.nodes.advance("r1", "busan", next_wave)
        assert await store.nodes.courses("busan") == [next_wave(COURSE)]
        assert (await store.nodes.distributions())[0].ready == 2.5
        await store.nodes.end(next_wave(COURSE))
        assert await store.nodes.courses("busan") == []
        await store.nodes.advance("r1", "busan", next_wave)
        assert await store.nodes.courses("busan") == []


async def test_servers_take_a_course_on_one_after_another(url: str, key: bytes) -> None:
    def counted(course: Course) -> Course:
        return replace(course, carried={**course.carried, "gull": course.carried["gull"] + 1})

    async with open_store(url, key) as one, open_store(url, key) as other:
        await one.nodes.begin(COURSE)
        async with asyncio.TaskGroup() as tasks:
            for store in (one, other) * 10:
                tasks.create_task(store.nodes.advance("r1", "busan", counted))
        (course,) = await other.nodes.courses("busan")
    assert course.carried["gull"] == 25


async def test_an_image_that_is_coming_is_begun_when_its_distribution_is(store: Store) -> None:
    await store.apps.create(replace(app("shop"), target="plant"))
    await store.rollouts.enqueue(replace(rollout("r1"), target="plant", image=IMAGE))
    assert [one.begun for one in await store.nodes.wanted(["plant"])] == [False]
    await store.nodes.begin(COURSE)
    assert [one.begun for one in await store.nodes.wanted(["plant"])] == [True]


async def test_what_is_old_is_forgotten(store: Store) -> None:
    await store.nodes.save(BEGUN)
    await store.nodes.put(GULL, NOON)
    await store.nodes.put(TERN, NOON + MINUTE)
    await store.nodes.prune(NOON + MINUTE)
    assert await store.nodes.distributions() == []
    assert [report.name for report, _ in await store.nodes.all()] == ["tern"]
