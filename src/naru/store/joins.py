"""Who is let into the agents' cluster by a token, and who was removed from it. Of a token, its hash is kept."""

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from naru.domain.errors import NotFound
from naru.domain.membership import Admission, Expulsion, JoinToken
from naru.store.database import Database, whole
from naru.store.schema import expulsions, join_tokens

_COLUMNS = [column for column in join_tokens.columns if column.name != "hashed"]


@whole
class Joins:
    """Join tokens, and removed nodes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def issue(self, token: JoinToken, hashed: str) -> None:
        """Store a token. One for a node by name lets that node report again, which was removed."""
        values = {column.name: getattr(token, column.name) for column in _COLUMNS}
        async with self._database.write() as connection:
            await connection.execute(sa.insert(join_tokens).values(values | {"hashed": hashed}))
            if token.node:
                lifted = sa.update(expulsions).where(expulsions.c.node == token.node).values(lifted=True)
                await connection.execute(lifted)

    async def tokens(self) -> list[JoinToken]:
        """List the tokens, the newest first."""
        query = sa.select(*_COLUMNS).order_by(join_tokens.c.created_at.desc(), join_tokens.c.id)
        async with self._database.read() as connection:
            return [JoinToken(**row) for row in (await connection.execute(query)).mappings()]

    async def revoke(self, token: str) -> None:
        """Forget a token by its id; raise NotFound."""
        async with self._database.write() as connection:
            gone = await connection.execute(sa.delete(join_tokens).where(join_tokens.c.id == token))
            if gone.rowcount == 0:
                raise NotFound(f"there is no join token {token}", "list them to see their ids")

    async def spend(self, hashed: Collection[str]) -> None:
        """Note that tokens were used as often as they may be."""
        statement = sa.update(join_tokens).where(join_tokens.c.hashed.in_(hashed)).values(spent=True)
        async with self._database.write() as connection:
            await connection.execute(statement)

    async def admissions(self, now: datetime) -> list[Admission]:
        """List what the authority is to know of the tokens that are good."""
        c = join_tokens.c
        query = sa.select(c.hashed, c.expires_at, c.node, c.uses).where(c.expires_at > now).order_by(c.hashed)
        async with self._database.read() as connection:
            return [Admission(*row) for row in await connection.execute(query)]

    async def expel(self, node: str, at: datetime) -> None:
        """Note that a node was removed at that time."""
        values = {"at": at, "lifted": False}
        statement = (
            self._database.insert(expulsions)
            .values(node=node, **values)
            .on_conflict_do_update(index_elements=[expulsions.c.node], set_=values)
        )
        async with self._database.write() as connection:
            await connection.execute(statement)

    async def expelled(self, node: str) -> bool:
        """Whether a node was removed, and not asked in again since."""
        query = sa.select(expulsions.c.at).where(expulsions.c.node == node, expulsions.c.lifted == sa.false())
        async with self._database.read() as connection:
            return await connection.scalar(query) is not None

    async def expulsions(self) -> list[Expulsion]:
        """List the nodes that were removed, also those that were asked in again."""
        query = sa.select(expulsions.c.node, expulsions.c.at).order_by(expulsions.c.node)
        async with self._database.read() as connection:
            return [Expulsion(*row) for row in await connection.execute(query)]

    async def prune(self, expired: datetime, removed: datetime) -> None:
        """Forget tokens that expired, and nodes that were removed, before these times."""
        async with self._database.write() as connection:
            await connection.execute(sa.delete(join_tokens).where(join_tokens.c.expires_at < expired))
            await connection.execute(
                sa.delete(expulsions).where(expulsions.c.at < removed, expulsions.c.lifted == sa.true())
            )
