"""Comparisons of targets, each a document of its own."""

import sqlalchemy as sa

from naru.domain.comparison import Comparison
from naru.domain.errors import NotFound
from naru.store.database import Database, whole
from naru.store.schema import comparisons


@whole
class Comparisons:
    """The comparisons, and which server runs or ran each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, comparison: Comparison, server: str) -> None:
        """Store the comparison as it is now."""
        values = {"server": server, "started_at": comparison.started_at, "comparison": comparison}
        statement = (
            self._database.insert(comparisons)
            .values(id=comparison.id, **values)
            .on_conflict_do_update(index_elements=[comparisons.c.id], set_=values)
        )
        async with self._database.write() as connection:
            await connection.execute(statement)

    async def get(self, comparison: str) -> Comparison:
        """Return one; raise NotFound."""
        query = sa.select(comparisons.c.comparison).where(comparisons.c.id == comparison)
        async with self._database.read() as connection:
            found: Comparison | None = await connection.scalar(query)
        if found is None:
            raise NotFound(f"there is no comparison {comparison[:60]}", "list them to see their ids")
        return found

    async def latest(self, limit: int, *, server: str = "") -> list[Comparison]:
        """List up to `limit` comparisons, newest first, of all servers or of one."""
        query = sa.select(comparisons.c.comparison).order_by(comparisons.c.started_at.desc(), comparisons.c.id)
        if server:
            query = query.where(comparisons.c.server == server)
        async with self._database.read() as connection:
            return list(await connection.scalars(query.limit(limit)))
