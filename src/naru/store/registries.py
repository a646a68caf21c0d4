"""Registries: who we are at each image registry, the password encrypted at rest."""

from datetime import datetime

import sqlalchemy as sa

from naru.domain.account import Credentials, RegistryInfo
from naru.domain.errors import NotFound
from naru.store.database import Database, whole
from naru.store.schema import registries
from naru.store.seal import Seal


@whole
class Registries:
    """The logins, one a registry's host."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal

    async def put(self, login: Credentials, at: datetime) -> None:
        """Store the login, instead of the one that the registry had."""
        password = self._seal.close(login.password.encode())
        values = {"username": login.username, "password": password, "updated_at": at}
        statement = (
            self._database.insert(registries)
            .values(registry=login.registry, **values)
            .on_conflict_do_update(index_elements=[registries.c.registry], set_=values)
        )
        async with self._database.write() as connection:
            await connection.execute(statement)

    async def get(self, registry: str) -> Credentials | None:
        """Return the login for the registry, None when it is asked anonymously."""
        query = sa.select(registries.c.username, registries.c.password).where(registries.c.registry == registry)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else Credentials(registry, row.username, self._seal.open(row.password).decode())

    async def all(self) -> list[RegistryInfo]:
        """List the logins without their passwords, by registry."""
        columns = (registries.c.registry, registries.c.username, registries.c.updated_at)
        async with self._database.read() as connection:
            rows = await connection.execute(sa.select(*columns).order_by(registries.c.registry))
            return [RegistryInfo(**row) for row in rows.mappings()]

    async def delete(self, registry: str) -> None:
        """Forget the login; raise NotFound when there is none."""
        statement = sa.delete(registries).where(registries.c.registry == registry)
        async with self._database.write() as connection:
            if (await connection.execute(statement)).rowcount == 0:
                raise NotFound(f"there is no login for {registry}", "list the registries to see their hosts")
