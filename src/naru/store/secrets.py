"""Secrets: named values that apps get as files, in versions, encrypted at rest."""

from datetime import datetime

import sqlalchemy as sa

from naru.domain.account import SecretInfo
from naru.domain.errors import Conflict, NotFound
from naru.store.database import Database, Turn, whole
from naru.store.schema import secrets
from naru.store.seal import Seal

_KEPT = secrets.c.value.is_not(None)


@whole
class Secrets:
    """The secrets, by name and version. A version's number never stands for another value, not even after deletion."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal

    async def put(self, name: str, value: bytes, by: str, at: datetime) -> int:
        """Store a value as the newest version and return its number."""
        sealed = self._seal.close(value)
        async with self._database.write(Turn.SECRETS) as connection:
            newest = await connection.scalar(sa.select(sa.func.max(secrets.c.version)).where(secrets.c.name == name))
            version: int = (newest or 0) + 1
            await connection.execute(
                sa.insert(secrets).values(name=name, version=version, value=sealed, created_by=by, created_at=at)
            )
        return version

    async def value(self, name: str, version: int = 0) -> bytes:
        """Return a value, the newest for version 0; raise NotFound when it was never stored or is deleted."""
        query = sa.select(secrets.c.value).where(secrets.c.name == name, _KEPT)
        query = query.where(secrets.c.version == version) if version else query.order_by(secrets.c.version.desc())
        async with self._database.read() as connection:
            sealed: bytes | None = await connection.scalar(query.limit(1))
        if sealed is None:
            raise _unknown(f"{name}, version {version}" if version else name)
        return self._seal.open(sealed)

    async def newest_version(self, name: str) -> int:
        """Return the number of the newest version; raise NotFound when there is no such secret."""
        query = sa.select(sa.func.max(secrets.c.version)).where(secrets.c.name == name, _KEPT)
        async with self._database.read() as connection:
            newest: int | None = await connection.scalar(query)
        if newest is None:
            raise _unknown(name)
        return newest

    async def all(self) -> list[SecretInfo]:
        """List every version of every secret by name and number, without the values."""
        columns = (secrets.c.name, secrets.c.version, secrets.c.created_by, secrets.c.created_at)
        query = sa.select(*columns).where(_KEPT).order_by(secrets.c.name, secrets.c.version)
        async with self._database.read() as connection:
            return [SecretInfo(**row) for row in (await connection.execute(query)).mappings()]

    async def delete(self, name: str, *, in_use: str = "") -> None:
        """Destroy every version's value.

        Raises Conflict when `in_use` says who uses the secret, and NotFound when there is none.
        """
        if in_use:
            raise Conflict(f"the secret {name} is in use by {in_use}", "take it out of the app first")
        statement = sa.update(secrets).where(secrets.c.name == name, _KEPT).values(value=None)
        async with self._database.write(Turn.SECRETS) as connection:
            if (await connection.execute(statement)).rowcount == 0:
                raise _unknown(name)


def _unknown(what: str) -> NotFound:
    return NotFound(f"there is no secret {what}", "list the secrets, or store it first")
