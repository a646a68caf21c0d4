"""Targets, their URLs encrypted at rest."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.service.store.values import MINUTE, NOON, app, rollout

from naru.domain.app import AppState
from naru.domain.errors import Conflict, NotFound
from naru.domain.target import CONFIGURED, Enrolment, TargetState
from naru.store import Store, open_store

PLANT = Enrolment("plant", "marathon+https://kim:pass word@plant.example.org", "busan", "kim", NOON)
HOME = Enrolment("docker", "unix:///var/run/docker.sock", "home", CONFIGURED, NOON - MINUTE)


async def test_targets_come_back_as_they_were_added_the_first_one_first(store: Store) -> None:
    await store.targets.add(PLANT)
    await store.targets.add(HOME)
    assert await store.targets.all() == [HOME, PLANT]


async def test_a_name_is_given_once(store: Store) -> None:
    await store.targets.add(PLANT)
    with pytest.raises(Conflict, match="a target plant already"):
        await store.targets.add(replace(PLANT, url="tcp://elsewhere"))
    assert await store.targets.all() == [PLANT]


async def test_the_url_is_not_readable_in_the_file(tmp_path: Path, key: bytes) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'naru.db'}", key) as store:
        await store.targets.add(PLANT)
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())  # noqa: ASYNC240 - nothing else runs
    assert b"busan" in kept
    assert b"plant.example.org" not in kept


async def test_the_configured_target_moves_and_stays_cordoned(store: Store) -> None:
    await store.targets.put(HOME)
    await store.targets.set_state("docker", TargetState.CORDONED)
    moved = replace(HOME, url="unix:///run/podman/podman.sock", added_at=NOON)
    await store.targets.put(moved)
    assert await store.targets.all() == [replace(HOME, url=moved.url, state=TargetState.CORDONED)]


async def test_an_unknown_target_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="no target plant"):
        await store.targets.set_state("plant", TargetState.CORDONED)
    with pytest.raises(NotFound, match="no target plant"):
        await store.targets.delete("plant")


async def test_a_target_stays_while_apps_live_there_or_come_to_it(store: Store) -> None:
    await store.targets.add(PLANT)
    await store.apps.create(replace(app(), target="plant"))
    await store.apps.create(app("till"))
    await store.rollouts.enqueue(replace(rollout("till-1", "till"), target="plant"))
    with pytest.raises(Conflict, match="plant runs shop, till"):
        await store.targets.delete("plant")
    assert await store.targets.all() == [PLANT]


async def test_a_target_that_is_left_can_go(store: Store) -> None:
    await store.targets.add(PLANT)
    await store.apps.create(replace(app(), target="plant", state=AppState.REMOVED))
    await store.targets.delete("plant")
    assert await store.targets.all() == []
