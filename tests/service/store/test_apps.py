"""Apps and their releases."""

import asyncio
from dataclasses import replace

import pytest
from tests.service.store.values import IMAGE, NOON, app, workload

from naru.domain.app import AppState
from naru.domain.errors import Conflict, NotFound, Stale
from naru.domain.release import ReleaseState
from naru.domain.verdict import Evidence, Refused
from naru.domain.workload import Address, Tls
from naru.store import Store


async def test_an_app_comes_back_as_it_was_stored(store: Store) -> None:
    shop = replace(app(), address=Address("shop.example.org", tls=Tls.ACME), target="docker")
    assert await store.apps.create(shop) == shop
    assert await store.apps.get("shop") == shop


async def test_an_app_that_does_not_exist_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="there is no app shop"):
        await store.apps.get("shop")


async def test_a_name_belongs_to_one_app(store: Store) -> None:
    await store.apps.create(app())
    with pytest.raises(Conflict, match="there is an app shop already"):
        await store.apps.create(app())


@pytest.mark.parametrize(
    ("address", "words"),
    [({"host": "shop.example.org"}, "host shop.example.org"), ({"port": 8000}, "port 8000")],
)
async def test_an_address_belongs_to_one_app_and_the_refusal_names_it(
    store: Store, address: dict[str, object], words: str
) -> None:
    await store.apps.create(app("shop", **address))
    other = await store.apps.create(app("other"))
    with pytest.raises(Conflict, match=f"the {words} belongs to the app shop"):
        await store.apps.create(app("third", **address))
    with pytest.raises(Conflict, match=f"the {words} belongs to the app shop"):
        await store.apps.update(replace(other, address=Address(**address)), other.version)
    assert await store.apps.get("other") == other


async def test_many_apps_may_have_no_address_yet(store: Store) -> None:
    await store.apps.create(app("one"))
    await store.apps.create(app("two"))
    assert await store.apps.ports_in_use() == set()
    assert await store.apps.by_host("") is None
    assert await store.apps.by_port(0) is None


async def test_of_two_that_take_a_port_at_once_one_gets_it(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(store.apps.create(app(f"app-{n}", port=8000)) for n in range(5)), return_exceptions=True
    )
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    assert len(refusals) == 4
    assert await store.apps.ports_in_use() == {8000}
    holder = await store.apps.by_port(8000)
    assert holder is not None
    assert all(f"belongs to the app {holder.name}" in str(refusal) for refusal in refusals)


async def test_the_version_grows_by_one_with_every_change(store: Store) -> None:
    first = await store.apps.create(app())
    second = await store.apps.update(replace(first, target="docker"), first.version)
    assert second == replace(first, target="docker", version=2)
    with pytest.raises(Stale, match="at version 2, not 1"):
        await store.apps.update(replace(first, target="swarm"), first.version)
    assert await store.apps.get("shop") == second


async def test_of_changes_made_at_once_to_one_version_one_wins(store: Store) -> None:
    first = await store.apps.create(app())
    outcomes = await asyncio.gather(
        *(store.apps.update(replace(first, target=f"t{n}"), 1) for n in range(5)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Stale) for outcome in outcomes) == 4
    assert (await store.apps.get("shop")).version == 2


async def test_a_removed_app_frees_its_name_and_address_and_keeps_its_history(store: Store) -> None:
    created = await store.apps.create(app(port=8000))
    await store.releases.add("shop", workload(), IMAGE, "admin", NOON)
    removed = await store.apps.update(replace(created, state=AppState.REMOVED), 1)

    with pytest.raises(NotFound):
        await store.apps.get("shop")
    with pytest.raises(NotFound):
        await store.apps.update(removed, removed.version)
    assert await store.apps.get("shop", include_removed=True) == removed
    assert await store.apps.page() == []
    assert await store.apps.ports_in_use() == set()
    await store.apps.create(app("other", port=8000))

    revived = await store.apps.create(app())
    assert (revived.state, revived.version) == (AppState.NEW, 3)
    assert (await store.releases.add("shop", workload(), IMAGE, "admin", NOON)).number == 2


async def test_apps_are_listed_by_name_page_by_page(store: Store) -> None:
    for name in ("c", "a", "d", "b"):
        await store.apps.create(app(name))
    assert [a.name for a in await store.apps.page(limit=3)] == ["a", "b", "c"]
    assert [a.name for a in await store.apps.page(after="c", limit=3)] == ["d"]


async def test_the_holder_of_a_host_is_found(store: Store) -> None:
    shop = await store.apps.create(app(host="shop.example.org"))
    assert await store.apps.by_host("shop.example.org") == shop


async def test_a_release_comes_back_as_it_was_stored(store: Store) -> None:
    await store.apps.create(app())
    release = await store.releases.add("shop", workload(), IMAGE, "kim", NOON)
    assert (release.number, release.state, release.created_by) == (1, ReleaseState.PENDING, "kim")
    assert await store.releases.get("shop", 1) == release
    with pytest.raises(NotFound, match="no release 2 of shop"):
        await store.releases.get("shop", 2)


async def test_a_release_needs_an_app(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.releases.add("shop", workload(), IMAGE, "admin", NOON)


async def test_releases_added_at_once_get_numbers_without_gaps(store: Store) -> None:
    await store.apps.create(app())
    added = await asyncio.gather(*(store.releases.add("shop", workload(), IMAGE, "admin", NOON) for _ in range(8)))
    assert sorted(release.number for release in added) == list(range(1, 9))


async def test_releases_are_listed_newest_first_page_by_page(store: Store) -> None:
    await store.apps.create(app())
    for _ in range(4):
        await store.releases.add("shop", workload(), IMAGE, "admin", NOON)
    assert [r.number for r in await store.releases.page("shop", limit=3)] == [4, 3, 2]
    assert [r.number for r in await store.releases.page("shop", before=2)] == [1]


async def test_a_verdict_stays_with_its_release(store: Store) -> None:
    await store.apps.create(app())
    await store.releases.add("shop", workload(), IMAGE, "admin", NOON)
    verdict = Refused((Evidence("signature", passed=False, detail="nobody signed it"),))
    await store.releases.set_verdict("shop", 1, verdict)
    await store.releases.set_state("shop", 1, ReleaseState.REFUSED)
    release = await store.releases.get("shop", 1)
    assert (release.verdict, release.state) == (verdict, ReleaseState.REFUSED)
    with pytest.raises(NotFound):
        await store.releases.set_state("shop", 2, ReleaseState.FAILED)


async def test_a_release_that_goes_live_supersedes_the_former(store: Store) -> None:
    await store.apps.create(app())
    for _ in range(2):
        await store.releases.add("shop", workload(), IMAGE, "admin", NOON)
    await store.releases.go_live("shop", 1)

    live = await store.releases.go_live("shop", 2)

    assert (live.live, live.state, live.version) == (2, AppState.LIVE, 3)
    assert await store.apps.get("shop") == live
    assert [r.state for r in await store.releases.page("shop")] == [ReleaseState.LIVE, ReleaseState.SUPERSEDED]


async def test_live_releases_are_listed_by_app(store: Store) -> None:
    for name in ("c", "a", "b", "new"):
        await store.apps.create(app(name))
        await store.releases.add(name, workload(name), IMAGE, "admin", NOON)
    for name in ("c", "a", "b"):
        await store.releases.go_live(name, 1)
    assert [release.app for release in await store.releases.live()] == ["a", "b", "c"]
    assert [release.app for release in await store.releases.live(after="a", limit=1)] == ["b"]


async def test_going_live_twice_changes_nothing(store: Store) -> None:
    await store.apps.create(app())
    await store.releases.add("shop", workload(), IMAGE, "admin", NOON)
    live = await store.releases.go_live("shop", 1)
    assert await store.releases.go_live("shop", 1) == live


async def test_a_release_that_does_not_exist_leaves_the_live_one_alone(store: Store) -> None:
    await store.apps.create(app())
    await store.releases.add("shop", workload(), IMAGE, "admin", NOON)
    live = await store.releases.go_live("shop", 1)
    with pytest.raises(NotFound):
        await store.releases.go_live("shop", 7)
    assert await store.apps.get("shop") == live
    assert (await store.releases.get("shop", 1)).state is ReleaseState.LIVE


async def test_no_release_is_made_live_without_its_app(store: Store) -> None:
    await store.apps.create(app())
    await store.releases.add("shop", workload(), IMAGE, "admin", NOON)
    with pytest.raises(Conflict):
        await store.releases.set_state("shop", 1, ReleaseState.LIVE)
