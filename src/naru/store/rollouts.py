"""Rollouts: a queue of changes, each worked on by one owner at a time.

An owner claims a rollout for a while and holds its lease, a number that grows with every claim. Everything the
owner writes names the lease and is refused once another owner has claimed the rollout, so an owner that was
paused past its time cannot undo what its successor did.

What an owner writes on the way need not last over a loss of power: after it the rollout is taken up from where it was,
and every step can be taken again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from naru.domain.errors import Conflict, NotFound
from naru.domain.rollout import TRANSITIONS, LayerProgress, Rollout, RolloutState, Step, StepName
from naru.store.database import Database, whole
from naru.store.schema import rollouts, steps

_UNENDED = rollouts.c.state.not_in([state for state in RolloutState if state.ended])
_FIXED = ("id", "app", "kind", "requested_by", "requested_at", "steps", "progress")
_FIELDS = [column for column in rollouts.columns if column.name in Rollout.__dataclass_fields__]
_ORDER = list(StepName)


@whole
class Rollouts:
    """The rollouts of every app; at most one of an app has not ended."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue(self, rollout: Rollout) -> None:
        """Store a new rollout.

        Raises Conflict, naming it, when another rollout of the app has not ended, and NotFound when there is no
        such app.
        """
        try:
            async with self._database.write() as connection:
                await connection.execute(
                    sa.insert(rollouts).values({c.name: getattr(rollout, c.name) for c in _FIELDS})
                )
                for step in rollout.steps:
                    await self._upsert(connection, rollout.id, step)
        except IntegrityError as error:
            raise await self._refusal(rollout) from error

    async def claim(self, owner: str, now: datetime, ttl: timedelta) -> tuple[Rollout, int] | None:
        """Take the oldest rollout that has not ended and that nobody holds, for `ttl` from `now`.

        Returns it with its lease, or None when there is nothing to do. A lease whose time is over may be taken.
        """
        free_now = sa.or_(rollouts.c.lease_until.is_(None), rollouts.c.lease_until <= now)
        free = (
            sa.select(rollouts.c.number)
            .where(_UNENDED, free_now)
            .order_by(rollouts.c.number)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        claimed = (
            sa.update(rollouts)
            .where(rollouts.c.number == free)
            .values(lease=rollouts.c.lease + 1, lease_owner=owner, lease_until=now + ttl)
            .returning(*_FIELDS, rollouts.c.lease)
        )
        async with self._database.read() as connection:  # an idle look costs no turn of the writers
            waiting = sa.select(sa.exists().where(_UNENDED, free_now))
            if not await connection.scalar(waiting):
                return None
        async with self._database.write(lasting=False) as connection:
            row = (await connection.execute(claimed)).mappings().first()
            if row is None:
                return None
            (rollout,) = await _with_steps(connection, [row])
            return rollout, row["lease"]

    async def renew(self, rollout: str, lease: int, now: datetime, ttl: timedelta) -> bool:
        """Hold the lease for `ttl` from `now`; False when it is lost and the work must stop."""
        statement = sa.update(rollouts).where(_held(rollout, lease)).values(lease_until=now + ttl)
        async with self._database.write(lasting=False) as connection:
            return (await connection.execute(statement)).rowcount == 1

    async def release_lease(self, rollout: str, lease: int) -> None:
        """Give the rollout back, so that another owner may claim it at once; nothing happens when it is lost."""
        statement = sa.update(rollouts).where(_held(rollout, lease)).values(lease_until=None, lease_owner="")
        async with self._database.write(lasting=False) as connection:
            await connection.execute(statement)

    async def release_leases_of(self, owner: str) -> None:
        """Give back every lease of an owner that is known to be dead, so that nobody waits for their time to end."""
        statement = sa.update(rollouts).where(rollouts.c.lease_owner == owner).values(lease_until=None, lease_owner="")
        async with self._database.write(lasting=False) as connection:
            await connection.execute(statement)

    async def save(self, rollout: Rollout, lease: int) -> None:
        """Store what may change of a rollout, except its steps and progress.

        Raises Conflict when the lease is lost or the state cannot follow the stored one.
        """
        values = {c.name: getattr(rollout, c.name) for c in _FIELDS if c.name not in _FIXED}
        async with self._database.write(lasting=False) as connection:
            before = await _hold(connection, rollout.id, lease)
            if rollout.state is not before and rollout.state not in TRANSITIONS[before]:
                raise Conflict(f"rollout {rollout.id} is {before} and cannot become {rollout.state}")
            await connection.execute(sa.update(rollouts).where(rollouts.c.id == rollout.id).values(values))

    async def put_steps(self, rollout: str, lease: int, steps: Sequence[Step]) -> None:
        """Store steps, instead of those with the same names; raise Conflict when the lease is lost."""
        async with self._database.write(lasting=False) as connection:
            await _hold(connection, rollout, lease)
            for step in steps:
                await self._upsert(connection, rollout, step)

    async def set_progress(self, rollout: str, lease: int, layers: Sequence[LayerProgress]) -> None:
        """Store how far the layers have come; raise Conflict when the lease is lost."""
        statement = sa.update(rollouts).where(_held(rollout, lease)).values(progress=tuple(layers))
        async with self._database.write(lasting=False) as connection:
            if (await connection.execute(statement)).rowcount == 0:
                raise _lost(rollout)

    async def get(self, rollout: str) -> Rollout:
        """Return the rollout with its steps, in the order in which steps are taken; raise NotFound."""
        async with self._database.read() as connection:
            query = sa.select(*_FIELDS).where(rollouts.c.id == rollout)
            found = await _with_steps(connection, (await connection.execute(query)).mappings().all())
        if not found:
            raise _unknown(rollout)
        return found[0]

    async def page(self, app: str | None = None, before: str = "", limit: int = 50) -> list[Rollout]:
        """List up to `limit` rollouts with their steps, newest first, older than the one whose id is `before`."""
        query = sa.select(*_FIELDS).order_by(rollouts.c.number.desc()).limit(limit)
        if app is not None:
            query = query.where(rollouts.c.app == app)
        if before:
            bound = sa.select(rollouts.c.number).where(rollouts.c.id == before).scalar_subquery()
            query = query.where(rollouts.c.number < bound)
        async with self._database.read() as connection:
            return await _with_steps(connection, (await connection.execute(query)).mappings().all())

    async def latest(self, apps: Collection[str]) -> list[Rollout]:
        """List the newest rollout of each of the apps, newest first, with their steps."""
        newest = sa.select(sa.func.max(rollouts.c.number)).where(rollouts.c.app.in_(apps)).group_by(rollouts.c.app)
        query = sa.select(*_FIELDS).where(rollouts.c.number.in_(newest)).order_by(rollouts.c.number.desc())
        async with self._database.read() as connection:
            return await _with_steps(connection, (await connection.execute(query)).mappings().all())

    async def unended(self, app: str | None = None) -> list[Rollout]:
        """List the rollouts that have not ended, oldest first, with their steps."""
        query = sa.select(*_FIELDS).where(_UNENDED).order_by(rollouts.c.number)
        if app is not None:
            query = query.where(rollouts.c.app == app)
        async with self._database.read() as connection:
            return await _with_steps(connection, (await connection.execute(query)).mappings().all())

    async def request_cancel(self, rollout: str) -> None:
        """Ask the owner to stop; raise Conflict when the rollout has ended, NotFound when there is none."""
        statement = sa.update(rollouts).where(rollouts.c.id == rollout, _UNENDED).values(cancel_requested=True)
        async with self._database.write() as connection:
            if (await connection.execute(statement)).rowcount == 1:
                return
        state = (await self.get(rollout)).state
        raise Conflict(f"rollout {rollout} has ended: it {_ENDINGS[state]}", "roll back instead")

    async def cancel_requested(self, rollout: str) -> bool:
        """Say whether the owner was asked to stop; raise NotFound when there is no such rollout."""
        query = sa.select(rollouts.c.cancel_requested).where(rollouts.c.id == rollout)
        async with self._database.read() as connection:
            asked = await connection.scalar(query)
        if asked is None:
            raise _unknown(rollout)
        return bool(asked)

    async def _upsert(self, connection: AsyncConnection, rollout: str, step: Step) -> None:
        await connection.execute(
            self._database.insert(steps)
            .values(rollout=rollout, name=step.name, step=step)
            .on_conflict_do_update(index_elements=[steps.c.rollout, steps.c.name], set_={"step": step})
        )

    async def _refusal(self, rollout: Rollout) -> Conflict | NotFound:
        for running in await self.unended(rollout.app):
            return Conflict(
                f"rollout {running.id} of {rollout.app} has not ended yet", "wait for its end, or cancel it"
            )
        if await self._exists(rollout.id):
            return Conflict(f"there is a rollout {rollout.id} already", "use a new id")
        return NotFound(f"there is no app {rollout.app}", "list the apps to see their names")

    async def _exists(self, rollout: str) -> bool:
        async with self._database.read() as connection:
            return await connection.scalar(sa.select(sa.exists().where(rollouts.c.id == rollout))) is True


_ENDINGS = {
    RolloutState.SUCCEEDED: "succeeded",
    RolloutState.FAILED: "failed",
    RolloutState.CANCELLED: "was cancelled",
}


def _held(rollout: str, lease: int) -> sa.ColumnElement[bool]:
    return sa.and_(rollouts.c.id == rollout, rollouts.c.lease == lease, rollouts.c.lease_until.is_not(None))


async def _hold(connection: AsyncConnection, rollout: str, lease: int) -> RolloutState:
    """Keep others from claiming until the transaction ends, and return the state; raise Conflict when lost."""
    query = sa.select(rollouts.c.state).where(_held(rollout, lease)).with_for_update()
    state: RolloutState | None = await connection.scalar(query)
    if state is None:
        raise _lost(rollout)
    return state


def _lost(rollout: str) -> Conflict:
    return Conflict(f"the lease of rollout {rollout} is lost", "stop: another owner goes on with it")


def _unknown(rollout: str) -> NotFound:
    return NotFound(f"there is no rollout {rollout}", "list the rollouts to see their ids")


async def _with_steps(connection: AsyncConnection, rows: Sequence[Mapping[Any, Any]]) -> list[Rollout]:
    """Read rows of `rollouts` and add the steps, in one more query."""
    found: dict[str, list[Step]] = {row["id"]: [] for row in rows}
    if found:
        query = sa.select(steps.c.rollout, steps.c.step).where(steps.c.rollout.in_(list(found)))
        for rollout, step in await connection.execute(query):
            found[rollout].append(step)
    return [
        replace(
            Rollout(**{column.name: row[column.name] for column in _FIELDS}),
            steps=tuple(sorted(found[row["id"]], key=lambda step: _ORDER.index(step.name))),
        )
        for row in rows
    ]
