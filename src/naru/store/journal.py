"""The journal: what happened, in order, for the operator."""

from datetime import datetime

import sqlalchemy as sa

from naru.domain.app import Event
from naru.store.database import Database, Turn, whole
from naru.store.schema import events


@whole
class Journal:
    """Events. A number is never given twice, and no event appears below a number that a reader has seen."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, at: datetime, app: str, kind: str, subject: str, text: str, rollout: str = "") -> Event:
        """Store an event and return it with its number."""
        statement = (
            sa.insert(events)
            .values(at=at, app=app, kind=kind, subject=subject, text=text, rollout=rollout)
            .returning(*events.c)
        )
        # Numbers are drawn one writer at a time, or a reader could see 6 before 5 is committed and never ask for 5.
        async with self._database.write(Turn.JOURNAL) as connection:
            return Event(**(await connection.execute(statement)).mappings().one())

    async def after(self, number: int, app: str | None = None, limit: int = 100) -> list[Event]:
        """List up to `limit` events with greater numbers, oldest first; of one app when `app` is given."""
        return await self._read(events.c.number > number, app, events.c.number.asc(), limit)

    async def latest(self, app: str | None = None, limit: int = 100, before: int | None = None) -> list[Event]:
        """List up to `limit` events, newest first, below the number `before`; of one app when `app` is given."""
        bound = sa.true() if before is None else events.c.number < before
        return await self._read(bound, app, events.c.number.desc(), limit)

    async def prune(self, before: datetime) -> int:
        """Forget the events from before that time and return how many they were."""
        async with self._database.write() as connection:
            return (await connection.execute(sa.delete(events).where(events.c.at < before))).rowcount

    async def _read(
        self, bound: sa.ColumnElement[bool], app: str | None, order: sa.UnaryExpression[int], limit: int
    ) -> list[Event]:
        query = sa.select(events).where(bound).order_by(order).limit(limit)
        if app is not None:
            query = query.where(events.c.app == app)
        async with self._database.read() as connection:
            return [Event(**row) for row in (await connection.execute(query)).mappings()]
