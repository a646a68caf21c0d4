"""Answers to requests that carry an idempotency key."""

import asyncio

import pytest
from tests.service.store.values import MINUTE, NOON

from naru.domain.errors import Conflict, Invalid
from naru.store import Store, StoredAnswer

ANSWER = StoredAnswer(201, (("location", "/api/v1/apps/shop"), ("location", "twice")), b"\x00{}")


async def test_a_repeated_request_gets_the_first_answer(store: Store) -> None:
    assert await store.answers.begin("k", "kim", "POST /apps", NOON) is None
    await store.answers.finish("k", "kim", ANSWER)
    assert await store.answers.begin("k", "kim", "POST /apps", NOON) == ANSWER


async def test_a_request_under_way_is_not_started_again(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(store.answers.begin("k", "kim", "POST /apps", NOON) for _ in range(5)), return_exceptions=True
    )
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 4


async def test_a_request_whose_server_was_killed_may_be_repeated_after_a_while(store: Store) -> None:
    await store.answers.begin("k", "kim", "POST /apps", NOON)
    assert await store.answers.begin("k", "kim", "POST /apps", NOON + MINUTE, MINUTE) is None
    with pytest.raises(Conflict):
        await store.answers.begin("k", "kim", "POST /apps", NOON + MINUTE, MINUTE)


async def test_a_key_is_for_one_request(store: Store) -> None:
    await store.answers.begin("k", "kim", "POST /apps", NOON)
    with pytest.raises(Invalid, match="used for another request"):
        await store.answers.begin("k", "kim", "DELETE /apps", NOON)


async def test_two_subjects_may_use_the_same_key(store: Store) -> None:
    assert await store.answers.begin("k", "kim", "POST /apps", NOON) is None
    assert await store.answers.begin("k", "lee", "DELETE /apps", NOON) is None


async def test_an_abandoned_key_is_free_and_an_answered_one_is_not(store: Store) -> None:
    await store.answers.begin("k", "kim", "POST /apps", NOON)
    await store.answers.abandon("k", "kim")
    assert await store.answers.begin("k", "kim", "POST /apps", NOON) is None
    await store.answers.finish("k", "kim", ANSWER)
    await store.answers.abandon("k", "kim")
    assert await store.answers.begin("k", "kim", "POST /apps", NOON) == ANSWER


async def test_old_keys_are_forgotten(store: Store) -> None:
    await store.answers.begin("old", "kim", "POST /apps", NOON)
    await store.answers.begin("new", "kim", "POST /apps", NOON + MINUTE)
    assert await store.answers.forget(NOON + MINUTE) == 1
    assert await store.answers.begin("old", "kim", "POST /apps", NOON) is None
