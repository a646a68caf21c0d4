"""Sessions and login links. Their secrets are random, so their SHA-256 is all that is stored."""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

import sqlalchemy as sa

from naru.domain.errors import SignInRequired
from naru.store.accounts import require_account
from naru.store.database import Database, whole
from naru.store.schema import login_links, sessions


@dataclass(frozen=True, slots=True)
class Session:
    """Someone is signed in, until `expires_at`."""

    account: str
    created_at: datetime
    expires_at: datetime


@whole
class Sessions:
    """Who is signed in, and the links that sign someone in once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, secret: str, session: Session) -> None:
        """Store a session under its random secret; raise NotFound when there is no such account."""
        async with self._database.write() as connection:
            await require_account(connection, session.account)
            await connection.execute(
                sa.insert(sessions).values(
                    hash=digest(secret),
                    account=session.account,
                    created_at=session.created_at,
                    expires_at=session.expires_at,
                )
            )

    async def get(self, secret: str, now: datetime) -> Session:
        """Return the session; raise SignInRequired when there is none or its time is over."""
        columns = (sessions.c.account, sessions.c.created_at, sessions.c.expires_at)
        query = sa.select(*columns).where(sessions.c.hash == digest(secret), sessions.c.expires_at > now)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise SignInRequired("the session is over", "sign in again")
        return Session(**row)

    async def close(self, secret: str) -> None:
        """Sign out; nothing happens when the session is gone."""
        async with self._database.write() as connection:
            await connection.execute(sa.delete(sessions).where(sessions.c.hash == digest(secret)))

    async def close_all(self, account: str) -> None:
        """Sign the account out everywhere, and void its login links."""
        async with self._database.write() as connection:
            await connection.execute(sa.delete(sessions).where(sessions.c.account == account))
            await connection.execute(sa.delete(login_links).where(login_links.c.account == account))

    async def offer_link(self, secret: str, account: str, expires_at: datetime) -> None:
        """Store a login link under its random secret; raise NotFound when there is no such account."""
        async with self._database.write() as connection:
            await require_account(connection, account)
            await connection.execute(
                sa.insert(login_links).values(hash=digest(secret), account=account, expires_at=expires_at)
            )

    async def take_link(self, secret: str, now: datetime) -> str:
        """Use the link up and return its account; raise SignInRequired when it was used, is late, or never was."""
        statement = (
            sa.delete(login_links)
            .where(login_links.c.hash == digest(secret), login_links.c.expires_at > now)
            .returning(login_links.c.account)
        )
        async with self._database.write() as connection:
            account: str | None = await connection.scalar(statement)
        if account is None:
            raise SignInRequired("the login link was used or is too old", "ask for a new one with `naru login-link`")
        return account

    async def sweep(self, now: datetime) -> None:
        """Forget the sessions and links whose time is over."""
        async with self._database.write() as connection:
            await connection.execute(sa.delete(sessions).where(sessions.c.expires_at <= now))
            await connection.execute(sa.delete(login_links).where(login_links.c.expires_at <= now))


def digest(secret: str) -> bytes:
    """Return what is stored of a random secret."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
