"""API tokens: what programs sign in with. A token is random, so its SHA-256 is all that is stored."""

from datetime import datetime, timedelta

import sqlalchemy as sa

from naru.domain.account import ApiToken
from naru.domain.errors import NotFound, SignInRequired
from naru.store.accounts import require_account
from naru.store.database import Database, whole
from naru.store.schema import tokens
from naru.store.sessions import digest

_USE_NOTED_EVERY = timedelta(minutes=1)
_COLUMNS = [column for column in tokens.columns if column.name != "hash"]


@whole
class Tokens:
    """The tokens that were issued and not revoked. `last_used_at` is true to a minute."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def issue(self, secret: str, token: ApiToken) -> None:
        """Store a token under its random secret; raise NotFound when there is no such account."""
        async with self._database.write() as connection:
            await require_account(connection, token.account)
            await connection.execute(
                sa.insert(tokens).values({c.name: getattr(token, c.name) for c in _COLUMNS} | {"hash": digest(secret)})
            )

    async def use(self, secret: str, now: datetime) -> ApiToken:
        """Return the token and note its use; raise SignInRequired when it is unknown, revoked or too old."""
        query = sa.select(*_COLUMNS).where(
            tokens.c.hash == digest(secret), sa.or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise SignInRequired(
                "the token is unknown, revoked or too old",
                "sign in again with naru login URL, or put a new one into NARU_TOKEN: naru token create NAME",
            )
        token = ApiToken(**row)
        if token.last_used_at is None or now - token.last_used_at >= _USE_NOTED_EVERY:
            async with self._database.write() as connection:
                await connection.execute(sa.update(tokens).where(tokens.c.id == token.id).values(last_used_at=now))
        return token

    async def of(self, account: str) -> list[ApiToken]:
        """List an account's tokens, newest first."""
        query = sa.select(*_COLUMNS).where(tokens.c.account == account)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(tokens.c.created_at.desc(), tokens.c.id))
            return [ApiToken(**row) for row in rows.mappings()]

    async def revoke(self, account: str, token: str) -> None:
        """Forget one of the account's tokens by its id; raise NotFound when it has none of that id."""
        statement = sa.delete(tokens).where(tokens.c.account == account, tokens.c.id == token)
        async with self._database.write() as connection:
            if (await connection.execute(statement)).rowcount == 0:
                raise NotFound(f"{account} has no token {token}", "list the tokens to see their ids")
