"""Encryption at rest: Fernet (AES-128-CBC with HMAC-SHA-256), under the key that the operator keeps."""

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken

from naru.domain.errors import Invalid
from naru.store.database import Database
from naru.store.schema import seals

_SAMPLE = b"naru"


class Seal:
    """Seals and opens values with one key."""

    def __init__(self, key: bytes) -> None:
        try:
            self._fernet = Fernet(key)
        except ValueError as error:
            raise Invalid("the store's key is no key", "make one: 32 random bytes in URL-safe base64") from error

    def close(self, value: bytes) -> bytes:
        """Return the value encrypted."""
        return self._fernet.encrypt(value)

    def open(self, sealed: bytes) -> bytes:
        """Return the value; raise Invalid when another key sealed it."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as error:
            raise Invalid(
                "the store was sealed with another key, so its secrets cannot be read",
                "start Naru with the key that belongs to this database, or with a new database",
            ) from error


async def check_key(database: Database, seal: Seal) -> None:
    """Seal a sample in a new store; in an old one raise Invalid when the key is not the one that sealed it."""
    statement = database.insert(seals).values(id=1, sample=seal.close(_SAMPLE)).on_conflict_do_nothing()
    async with database.write() as connection:
        await connection.execute(statement)
        sample = (await connection.execute(sa.select(seals.c.sample).where(seals.c.id == 1))).scalar_one()
    seal.open(sample)
