"""Answers to requests that carry an idempotency key, so that repeating a request does not repeat its effect."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from naru.domain.errors import Conflict, Invalid
from naru.store.database import Database, whole
from naru.store.schema import answers


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What was answered to the first request with the key."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@whole
class Answers:
    """The answers, by subject and key: two subjects may use the same key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(
        self, key: str, subject: str, fingerprint: str, now: datetime, patience: timedelta = timedelta(minutes=2)
    ) -> StoredAnswer | None:
        """Take the key, or return the answer that it already has.

        None means that the caller is the first, or that the first has not answered within `patience` because it
        was killed; the caller must then `finish` or `abandon` the key. Raises Conflict while the first request is
        under way, and Invalid when the key came with another request.
        """
        take = (
            self._database.insert(answers)
            .values(subject=subject, key=key, fingerprint=fingerprint, begun_at=now)
            .on_conflict_do_update(
                index_elements=[answers.c.subject, answers.c.key],
                set_={"begun_at": now},
                where=sa.and_(
                    answers.c.status.is_(None),
                    answers.c.begun_at <= now - patience,
                    answers.c.fingerprint == fingerprint,
                ),
            )
            .returning(answers.c.key)
        )
        async with self._database.write() as connection:
            if await connection.scalar(take) is not None:
                return None
            row = (await connection.execute(sa.select(answers).where(_is(key, subject)))).first()
        if row is not None and row.fingerprint != fingerprint:
            raise Invalid("the idempotency key was used for another request", "use a new key for each new request")
        if row is None or row.status is None:
            raise Conflict("a request with this idempotency key is under way", "wait for it, then repeat it")
        return StoredAnswer(row.status, row.headers, row.body)

    async def finish(self, key: str, subject: str, answer: StoredAnswer) -> None:
        """Keep the answer for those who repeat the request."""
        values = {"status": answer.status, "headers": answer.headers, "body": answer.body}
        async with self._database.write() as connection:
            await connection.execute(sa.update(answers).where(_is(key, subject)).values(values))

    async def abandon(self, key: str, subject: str) -> None:
        """Free a key whose request had no effect."""
        async with self._database.write() as connection:
            await connection.execute(sa.delete(answers).where(_is(key, subject), answers.c.status.is_(None)))

    async def forget(self, before: datetime) -> int:
        """Forget the keys from before that time and return how many they were."""
        async with self._database.write() as connection:
            return (await connection.execute(sa.delete(answers).where(answers.c.begun_at < before))).rowcount


def _is(key: str, subject: str) -> sa.ColumnElement[bool]:
    return sa.and_(answers.c.key == key, answers.c.subject == subject)
