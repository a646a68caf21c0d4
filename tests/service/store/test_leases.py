"""Two owners, time that passes, and kills: a rollout has one holder at most, and nothing acknowledged is lost."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.service.store.values import NOON, app, rollout

from naru.domain.errors import Conflict
from naru.domain.rollout import RolloutState
from naru.store.apps import Apps
from naru.store.database import Database
from naru.store.migrations import migrate
from naru.store.rollouts import Rollouts
from naru.store.schema import apps, rollouts, steps

OWNERS = ("one", "two")
APPS = ("shop", "other", "third")
TTL = timedelta(seconds=10)

owners = st.sampled_from(OWNERS)


@dataclass(frozen=True)
class Held:
    """What a rollout should look like: who may write, until when, and what was acknowledged last."""

    id: str
    app: str
    lease: int = 0
    until: datetime | None = None
    reason: str = ""
    ended: bool = False

    def free(self, now: datetime) -> bool:
        return not self.ended and (self.until is None or self.until <= now)


class Leases(RuleBasedStateMachine):
    """The owners' beliefs beside a model of the truth; the store must agree with the model at every step."""

    def __init__(self, runner: asyncio.Runner, database: Database) -> None:
        super().__init__()
        self.run, self.store = runner.run, Rollouts(database)
        self.database = database
        self.now = NOON
        self.truth: dict[str, Held] = {}
        self.beliefs: dict[str, list[tuple[str, int]]] = {owner: [] for owner in OWNERS}

    @initialize()
    def empty(self) -> None:
        async def clear() -> None:
            async with self.database.write() as connection:
                for table in (steps, rollouts, apps):
                    await connection.execute(sa.delete(table))
            for name in APPS:
                await Apps(self.database).create(app(name))

        self.run(clear())

    @rule(name=st.sampled_from(APPS))
    def enqueue(self, name: str) -> None:
        id_ = f"r{len(self.truth)}"
        busy = any(held.app == name and not held.ended for held in self.truth.values())
        if self._accepted(self.store.enqueue(rollout(id_, name)), expected=not busy):
            self.truth[id_] = Held(id_, name)

    @rule(owner=owners)
    def claim(self, owner: str) -> None:
        claim = self.run(self.store.claim(owner, self.now, TTL))
        expected = next((held for held in self.truth.values() if held.free(self.now)), None)
        if expected is None:
            assert claim is None
            return
        assert claim is not None
        found, lease = claim
        assert (found.id, found.reason) == (expected.id, expected.reason)
        assert lease > expected.lease, "a lease is never given twice"
        self.truth[found.id] = replace(expected, lease=lease, until=self.now + TTL)
        self.beliefs[owner].append((found.id, lease))

    @rule(by=st.integers(1, 12))
    def time_passes(self, by: int) -> None:
        self.now += timedelta(seconds=by)

    @rule(owner=owners)
    def killed(self, owner: str) -> None:
        self.beliefs[owner].clear()

    @rule(data=st.data(), owner=owners)
    def renew(self, data: st.DataObject, owner: str) -> None:
        if belief := self._belief(data, owner):
            id_, lease = belief
            renewed = self.run(self.store.renew(id_, lease, self.now, TTL))
            assert renewed == self._holds(belief)
            if renewed:
                self.truth[id_] = replace(self.truth[id_], until=self.now + TTL)

    @rule(data=st.data(), owner=owners)
    def give_back(self, data: st.DataObject, owner: str) -> None:
        if belief := self._belief(data, owner):
            id_, lease = belief
            self.run(self.store.release_lease(id_, lease))
            if self._holds(belief):
                self.truth[id_] = replace(self.truth[id_], until=None)

    @rule(data=st.data(), owner=owners, reason=st.text(max_size=5), end=st.booleans())
    def save(self, data: st.DataObject, owner: str, reason: str, end: bool) -> None:
        if belief := self._belief(data, owner):
            id_, lease = belief
            truth = self.truth[id_]
            state = RolloutState.CANCELLED if end or truth.ended else RolloutState.QUEUED
            written = replace(rollout(id_, truth.app), reason=reason, state=state)
            if self._accepted(self.store.save(written, lease), expected=self._holds(belief)):
                self.truth[id_] = replace(truth, reason=reason.replace("\0", "\ufffd"), ended=truth.ended or end)

    @invariant()
    def what_was_acknowledged_is_there(self) -> None:
        stored = self.run(self.store.page(limit=1000)) if self.truth else []
        assert {r.id: (r.reason, r.state.ended) for r in stored} == {
            held.id: (held.reason, held.ended) for held in self.truth.values()
        }

    def _belief(self, data: st.DataObject, owner: str) -> tuple[str, int] | None:
        beliefs = self.beliefs[owner]
        return data.draw(st.sampled_from(beliefs)) if beliefs else None

    def _holds(self, belief: tuple[str, int]) -> bool:
        id_, lease = belief
        return self.truth[id_].lease == lease and self.truth[id_].until is not None

    def _accepted(self, work: Any, *, expected: bool) -> bool:
        try:
            self.run(work)
        except Conflict:
            assert not expected
            return False
        assert expected
        return True


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgresql"))])
def test_a_rollout_has_one_holder_at_most_and_nothing_acknowledged_is_lost(
    kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    with asyncio.Runner() as runner:
        database = runner.run(_open(url))
        try:
            run_state_machine_as_test(
                lambda: Leases(runner, database),
                settings=settings(
                    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
                ),
            )
        finally:
            runner.run(database.close())


async def _open(url: str) -> Database:
    database = Database(url)
    async with database.write() as connection:
        await connection.run_sync(migrate)
    return database
