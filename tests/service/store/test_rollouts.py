"""Rollouts and their leases."""

import asyncio
from dataclasses import replace

import pytest
from tests.service.store.values import IMAGE, MINUTE, NOON, app, rollout

from naru.domain.errors import Conflict, NotFound
from naru.domain.proof import Proof
from naru.domain.rollout import LayerProgress, RolloutState, Step, StepName, StepState
from naru.store import Store


@pytest.fixture(autouse=True)
async def _apps(store: Store) -> None:
    await store.apps.create(app("shop"))
    await store.apps.create(app("other"))


async def _claimed(store: Store, id_: str = "r1") -> int:
    """Enqueue a rollout and return the lease of its owner."""
    await store.rollouts.enqueue(rollout(id_))
    claim = await store.rollouts.claim("one", NOON, MINUTE)
    assert claim is not None
    assert claim[0].id == id_
    return claim[1]


async def test_a_rollout_comes_back_as_it_was_stored(store: Store) -> None:
    whole = replace(
        rollout("r1"),
        image=IMAGE,
        release=3,
        restores=2,
        target="docker",
        phase=1,
        reason="it said \0 and \ud800",
        steps=(Step(StepName.RESOLVE, StepState.PASSED, NOON, NOON + MINUTE, "resolved"),),
        proof=Proof(sent=10, failed=1, p50=0.001, p99=0.1, problems=("status 500",)),
        progress=(LayerProgress("sha256:1", "pulling", 10, 100),),
    )
    await store.rollouts.enqueue(whole)
    assert await store.rollouts.get("r1") == replace(whole, reason="it said \ufffd and \ufffd")


async def test_an_app_has_one_unended_rollout_and_the_refusal_names_it(store: Store) -> None:
    await store.rollouts.enqueue(rollout("r1"))
    with pytest.raises(Conflict, match="rollout r1 of shop has not ended"):
        await store.rollouts.enqueue(rollout("r2"))
    await store.rollouts.enqueue(rollout("r3", "other"))
    assert [r.id for r in await store.rollouts.unended()] == ["r1", "r3"]
    assert [r.id for r in await store.rollouts.unended("other")] == ["r3"]


async def test_of_rollouts_asked_for_at_once_one_is_accepted(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(store.rollouts.enqueue(rollout(f"r{n}")) for n in range(5)), return_exceptions=True
    )
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    (accepted,) = await store.rollouts.unended()
    assert len(refusals) == 4
    assert all(f"rollout {accepted.id} of shop" in str(refusal) for refusal in refusals)


async def test_a_rollout_needs_an_app_and_a_new_id(store: Store) -> None:
    with pytest.raises(NotFound, match="there is no app nowhere"):
        await store.rollouts.enqueue(rollout("r1", "nowhere"))
    await store.rollouts.enqueue(rollout("r1"))
    with pytest.raises(Conflict, match="there is a rollout r1 already"):
        await store.rollouts.enqueue(rollout("r1", "other"))


async def test_the_oldest_rollout_is_claimed_first(store: Store) -> None:
    await store.rollouts.enqueue(rollout("r1"))
    await store.rollouts.enqueue(rollout("r2", "other"))
    claims = [await store.rollouts.claim("one", NOON, MINUTE) for _ in range(3)]
    assert [claim and claim[0].id for claim in claims] == ["r1", "r2", None]


async def test_owners_that_claim_at_once_never_share_a_rollout(store: Store) -> None:
    for n in range(6):
        await store.apps.create(app(f"app-{n}"))
        await store.rollouts.enqueue(rollout(f"r{n}", f"app-{n}"))
    claims = await asyncio.gather(*(store.rollouts.claim(f"owner-{n}", NOON, MINUTE) for n in range(10)))
    taken = [claim[0].id for claim in claims if claim]
    assert sorted(taken) == [f"r{n}" for n in range(6)]


async def test_a_lease_whose_time_is_over_goes_to_the_next_owner_and_fences_the_former(store: Store) -> None:
    lease = await _claimed(store)
    assert await store.rollouts.claim("two", NOON + MINUTE / 2, MINUTE) is None

    claim = await store.rollouts.claim("two", NOON + MINUTE, MINUTE)

    assert claim is not None
    assert claim[1] > lease
    assert not await store.rollouts.renew("r1", lease, NOON + MINUTE, MINUTE)
    step = Step(StepName.GATE, StepState.RUNNING, NOON)
    with pytest.raises(Conflict, match="lease of rollout r1 is lost"):
        await store.rollouts.save(replace(claim[0], reason="late"), lease)
    with pytest.raises(Conflict, match="lease of rollout r1 is lost"):
        await store.rollouts.put_steps("r1", lease, [step])
    with pytest.raises(Conflict, match="lease of rollout r1 is lost"):
        await store.rollouts.set_progress("r1", lease, ())
    await store.rollouts.release_lease("r1", lease)
    assert await store.rollouts.claim("three", NOON + MINUTE, MINUTE) is None
    assert await store.rollouts.get("r1") == claim[0]


async def test_a_renewed_lease_holds_longer(store: Store) -> None:
    lease = await _claimed(store)
    assert await store.rollouts.renew("r1", lease, NOON + MINUTE, MINUTE)
    assert await store.rollouts.claim("two", NOON + 1.5 * MINUTE, MINUTE) is None


async def test_a_rollout_given_back_may_be_claimed_at_once(store: Store) -> None:
    lease = await _claimed(store)
    await store.rollouts.release_lease("r1", lease)
    assert not await store.rollouts.renew("r1", lease, NOON, MINUTE)
    claim = await store.rollouts.claim("two", NOON, MINUTE)
    assert claim is not None


async def test_saving_keeps_what_changed_and_leaves_steps_and_progress(store: Store) -> None:
    lease = await _claimed(store)
    step = Step(StepName.RESOLVE, StepState.PASSED, NOON)
    layers = (LayerProgress("sha256:1", "pulling", 10, 0),)
    await store.rollouts.put_steps("r1", lease, [step])
    await store.rollouts.set_progress("r1", lease, layers)
    changed = replace(
        rollout("r1"), state=RolloutState.RUNNING, image=IMAGE, release=1, target="docker", phase=2, reason="because"
    )

    await store.rollouts.save(changed, lease)

    assert await store.rollouts.get("r1") == replace(changed, steps=(step,), progress=layers)


async def test_steps_are_replaced_by_name_and_told_in_the_order_in_which_they_are_taken(store: Store) -> None:
    lease = await _claimed(store)
    for name in (StepName.ROLL, StepName.RESOLVE, StepName.GATE):
        await store.rollouts.put_steps("r1", lease, [Step(name, StepState.RUNNING, NOON)])
    done = Step(StepName.ROLL, StepState.FAILED, NOON, NOON + MINUTE, "it exited", "exit code 1\n\0")
    await store.rollouts.put_steps("r1", lease, [done])
    steps = (await store.rollouts.get("r1")).steps
    assert [step.name for step in steps] == [StepName.RESOLVE, StepName.GATE, StepName.ROLL]
    assert steps[-1] == done


async def test_a_state_only_follows_one_that_it_can_follow(store: Store) -> None:
    lease = await _claimed(store)
    with pytest.raises(Conflict, match="rollout r1 is queued and cannot become succeeded"):
        await store.rollouts.save(replace(rollout("r1"), state=RolloutState.SUCCEEDED), lease)
    await store.rollouts.save(replace(rollout("r1"), state=RolloutState.RUNNING), lease)
    ended = replace(rollout("r1"), state=RolloutState.FAILED, ended_at=NOON, reason="it exited")
    await store.rollouts.save(ended, lease)
    with pytest.raises(Conflict, match="is failed and cannot become running"):
        await store.rollouts.save(replace(rollout("r1"), state=RolloutState.RUNNING), lease)
    assert await store.rollouts.get("r1") == ended


async def test_an_ended_rollout_is_never_claimed_and_makes_room_for_the_next(store: Store) -> None:
    lease = await _claimed(store)
    await store.rollouts.save(replace(rollout("r1"), state=RolloutState.CANCELLED), lease)
    assert await store.rollouts.claim("two", NOON + 2 * MINUTE, MINUTE) is None
    assert await store.rollouts.unended() == []
    await store.rollouts.enqueue(rollout("r2"))


async def test_cancelling_is_asked_for_until_the_rollout_ends(store: Store) -> None:
    lease = await _claimed(store)
    assert not await store.rollouts.cancel_requested("r1")
    await store.rollouts.request_cancel("r1")
    assert await store.rollouts.cancel_requested("r1")
    await store.rollouts.save(replace(rollout("r1"), state=RolloutState.CANCELLED), lease)
    with pytest.raises(Conflict, match="it was cancelled"):
        await store.rollouts.request_cancel("r1")


async def test_an_unknown_rollout_is_not_found(store: Store) -> None:
    for question in (store.rollouts.get, store.rollouts.request_cancel, store.rollouts.cancel_requested):
        with pytest.raises(NotFound, match="there is no rollout r9"):
            await question("r9")


async def test_the_leases_of_a_dead_owner_are_given_back_together(store: Store) -> None:
    await store.rollouts.enqueue(rollout("r0", "other"))
    assert await store.rollouts.claim("two", NOON, MINUTE)
    lease = await _claimed(store)
    await store.rollouts.release_leases_of("one")
    assert not await store.rollouts.renew("r1", lease, NOON, MINUTE)
    claims = [await store.rollouts.claim("three", NOON, MINUTE) for _ in range(2)]
    assert [claim and claim[0].id for claim in claims] == ["r1", None]


async def test_the_newest_rollout_of_each_app_is_found(store: Store) -> None:
    await store.rollouts.enqueue(rollout("r0", "other"))
    claim = await store.rollouts.claim("one", NOON, MINUTE)
    assert claim is not None
    await store.rollouts.save(replace(claim[0], state=RolloutState.CANCELLED), claim[1])
    await _claimed(store, "r1")
    await store.rollouts.enqueue(rollout("r2", "other"))
    assert [r.id for r in await store.rollouts.latest(["shop", "other", "nowhere"])] == ["r2", "r1"]
    assert [r.id for r in await store.rollouts.latest(["shop"])] == ["r1"]
    assert await store.rollouts.latest([]) == []


async def test_rollouts_are_listed_newest_first_page_by_page(store: Store) -> None:
    for n in range(4):
        lease = await _claimed(store, f"r{n}")
        await store.rollouts.save(replace(rollout(f"r{n}"), state=RolloutState.CANCELLED), lease)
    await store.rollouts.enqueue(rollout("other", "other"))
    assert [r.id for r in await store.rollouts.page(limit=2)] == ["other", "r3"]
    assert [r.id for r in await store.rollouts.page("shop", limit=2)] == ["r3", "r2"]
    assert [r.id for r in await store.rollouts.page("shop", before="r2")] == ["r1", "r0"]
