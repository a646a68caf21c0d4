"""Accounts: who may sign in. One admin today; teams and roles will hang on the name."""

from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from naru.domain.errors import NotFound
from naru.store.database import Database, whole
from naru.store.schema import accounts


@dataclass(frozen=True, slots=True)
class Account:
    """Someone who acts. `password_hash` is None while only login links and tokens let them in."""

    name: str
    created_at: datetime
    password_hash: str | None = field(default=None, repr=False)


@whole
class Accounts:
    """The accounts, by name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> Account:
        """Return the account; raise NotFound when there is none."""
        async with self._database.read() as connection:
            row = (await connection.execute(sa.select(accounts).where(accounts.c.name == name))).mappings().first()
        if row is None:
            raise _unknown(name)
        return Account(**row)

    async def all(self) -> list[Account]:
        """List the accounts by name."""
        async with self._database.read() as connection:
            rows = await connection.execute(sa.select(accounts).order_by(accounts.c.name))
            return [Account(**row) for row in rows.mappings()]

    async def ensure(self, account: Account) -> Account:
        """Store the account unless there is one of that name, and return the stored one."""
        statement = (
            self._database.insert(accounts)
            .values(name=account.name, created_at=account.created_at, password_hash=account.password_hash)
            .on_conflict_do_nothing()
        )
        async with self._database.write() as connection:
            await connection.execute(statement)
        return await self.get(account.name)

    async def set_password(self, name: str, password_hash: str | None) -> None:
        """Replace the hash of the password; raise NotFound when there is no such account."""
        statement = sa.update(accounts).where(accounts.c.name == name).values(password_hash=password_hash)
        async with self._database.write() as connection:
            if (await connection.execute(statement)).rowcount == 0:
                raise _unknown(name)


async def require_account(connection: AsyncConnection, name: str) -> None:
    """Raise NotFound when there is no such account."""
    if await connection.scalar(sa.select(accounts.c.name).where(accounts.c.name == name)) is None:
        raise _unknown(name)


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no account {name}", "list the accounts to see their names")
