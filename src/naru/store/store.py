"""Opening the store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from naru.store.accounts import Accounts
from naru.store.answers import Answers
from naru.store.apps import Apps
from naru.store.comparisons import Comparisons
from naru.store.database import Database, Turn
from naru.store.joins import Joins
from naru.store.journal import Journal
from naru.store.migrations import migrate
from naru.store.nodes import Nodes
from naru.store.registries import Registries
from naru.store.releases import Releases
from naru.store.rollouts import Rollouts
from naru.store.seal import Seal, check_key
from naru.store.secrets import Secrets
from naru.store.sessions import Sessions
from naru.store.targets import Targets
from naru.store.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Store:
    """Everything Naru remembers, one attribute a subject.

    Any method may raise Unavailable: the disk is full, or the database is locked or away. What a method returned
    from is committed.
    """

    apps: Apps
    releases: Releases
    rollouts: Rollouts
    journal: Journal
    accounts: Accounts
    sessions: Sessions
    tokens: Tokens
    secrets: Secrets
    registries: Registries
    targets: Targets
    comparisons: Comparisons
    answers: Answers
    nodes: Nodes
    joins: Joins


@asynccontextmanager
async def open_store(url: str, key: bytes) -> AsyncIterator[Store]:
    """Open the store at `url` and bring its tables up to date; several replicas may do so at once.

    `url` is `sqlite:///FILE` or `postgresql://…`; `key` is a Fernet key, 32 random bytes in URL-safe base64. Raises
    Invalid when the key is not the one that the store was made with, Conflict when a newer Naru has changed the
    tables, and Unavailable when the database cannot be reached.
    """
    seal = Seal(key)
    database = Database(url)
    try:
        async with database.write(Turn.MIGRATE) as connection:
            await connection.run_sync(migrate)
        await check_key(database, seal)
        yield Store(
            apps=Apps(database),
            releases=Releases(database),
            rollouts=Rollouts(database),
            journal=Journal(database),
            accounts=Accounts(database),
            sessions=Sessions(database),
            tokens=Tokens(database),
            secrets=Secrets(database, seal),
            registries=Registries(database, seal),
            targets=Targets(database, seal),
            comparisons=Comparisons(database),
            answers=Answers(database),
            nodes=Nodes(database),
            joins=Joins(database),
        )
    finally:
        await database.close()
