"""Connections and transactions, one meaning on SQLite and PostgreSQL.

What is committed survives a SIGKILL. What is committed as lasting survives, on a disk that keeps its word, a loss of
power as well: SQLite then waits for the disk (`synchronous=FULL`), and with it goes all that was committed before.
Writers of one process queue up for SQLite's single write lock instead of polling for it.
"""

import asyncio
import inspect
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
    nullcontext,
    suppress,
)
from enum import IntEnum
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from naru.domain.errors import Invalid, NaruError, Unavailable

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}


_LOCK_LOOK = 0.01
T = TypeVar("T")
P = ParamSpec("P")


def whole(room: type[T]) -> type[T]:
    """Let the public coroutines of a class end what they began, also when their caller is cancelled meanwhile.

    A transaction cut in the middle costs its connection, and SQLite keeps the lock of such a connection until Python
    has collected its last statement; all other writers would wait for that.
    """
    for name, method in list(vars(room).items()):
        if inspect.iscoroutinefunction(method) and not name.startswith("_"):
            setattr(room, name, _to_the_end(method))
    return room


def _to_the_end(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    @wraps(method)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        work = asyncio.ensure_future(method(*args, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            while not work.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # nobody is left to hear of it
            raise

    return run


class Turn(IntEnum):
    """What several replicas may only do one after the other; the numbers are PostgreSQL's advisory locks."""

    MIGRATE = 0x6E617275_01
    JOURNAL = 0x6E617275_02
    SECRETS = 0x6E617275_03


class Database:
    """One engine: `read` and `write` open short transactions and translate the errors of the database.

    Whoever finds it locked, or every connection in use, gives up after `patience` seconds.
    """

    def __init__(self, url: str, patience: float = 10.0) -> None:
        self._engine = _engine(url, patience)
        self.is_sqlite = self._engine.dialect.name == "sqlite"
        self._writers: AbstractAsyncContextManager[Any] = asyncio.Lock() if self.is_sqlite else nullcontext()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that only reads."""
        with database_errors():
            async with self._engine.connect() as connection, connection.begin():
                yield connection

    @asynccontextmanager
    async def write(self, turn: Turn | None = None, *, lasting: bool = True) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that is committed at the end of the block, and rolled back when it raises.

        On SQLite no other transaction writes meanwhile; on PostgreSQL none that has the same turn. One that is not
        `lasting` does not wait for the disk: it survives a SIGKILL, and a loss of power once a lasting one followed.
        """
        with database_errors():
            async with self._writers, self._engine.connect() as connection:
                await connection.execution_options(naru_begin="BEGIN IMMEDIATE", naru_lasting=lasting)
                async with connection.begin():
                    if not self.is_sqlite and not lasting:
                        await connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
                    if turn is not None and not self.is_sqlite:
                        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(int(turn))))
                    yield connection

    def insert(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        """Begin an INSERT that knows ON CONFLICT."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what the database cannot do now into Unavailable; broken constraints pass, callers give them a name."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        reason = _unavailable(error)
        if reason is None:
            raise
        raise reason from error
    except PoolTimeout as error:
        raise Unavailable("the database is too busy: every connection is in use", "try again") from error
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"the database cannot be reached: {error}", "start it, or correct its URL") from error


def _unavailable(error: DBAPIError) -> NaruError | None:
    state: str = getattr(error.orig, "sqlstate", None) or ""
    text = str(error.orig).lower()
    if state == "53100" or "disk is full" in text:
        return Unavailable("the disk is full, so nothing can be stored", "free some space", retry_after=30.0)
    if "readonly database" in text:
        return Unavailable("the database file is read-only", "make it and its directory writable for Naru")
    if "unable to open database" in text:
        return Unavailable("the database file cannot be opened", "create its directory, writable for Naru")
    if "is locked" in text:
        return Unavailable("the database is locked by another program", "close the program that holds it")
    if "malformed" in text or "not a database" in text:
        return Unavailable("the database file is damaged", "restore it from a backup")
    if "disk i/o error" in text:
        return Unavailable("the disk failed while the database used it", "check the disk's health and space")
    if state[:2] in {"08", "28", "3D", "40", "53", "55", "57", "58"} or error.connection_invalidated:
        return Unavailable(f"the database does not answer: {error.orig}", "check that it runs and its URL is right")
    if "closed" in text and not state:
        return Unavailable("the connection to the database was lost", "check that it runs")
    return None


def _engine(url: str, patience: float) -> AsyncEngine:
    try:
        address = sa.make_url(url)
    except ArgumentError as error:
        raise Invalid("the database's URL cannot be read", "write sqlite:///FILE or postgresql://HOST/NAME") from error
    driver = _DRIVERS.get(address.drivername)
    if driver is None:
        raise Invalid(f"{address.drivername} is no database that Naru knows", "use sqlite or postgresql")
    address = address.set(drivername=driver)
    if driver == "postgresql+asyncpg":
        return create_async_engine(address, pool_pre_ping=True, pool_timeout=patience)
    if not address.database or address.database == ":memory:":
        raise Invalid("the database's URL names no file", "write sqlite:////var/lib/naru/naru.db")
    _create_private(Path(address.database))
    _write_ahead(address.database, patience)
    engine = create_async_engine(address, connect_args={"timeout": patience}, pool_timeout=patience)
    sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    sa.event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _create_private(file: Path) -> None:
    """Create the database file for its owner only, before SQLite would create it for everyone."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise Unavailable(
            f"the database file {file} cannot be opened: {error.strerror}",
            "create its directory, writable for Naru",
        ) from error


def _write_ahead(file: str, patience: float) -> None:
    """Switch the file to WAL mode, which stays with it.

    SQLite does not wait for its lock here, so we do: several replicas may open a new store at once. Whatever else is
    wrong with the file is told by the first connection that uses it.
    """
    deadline = time.monotonic() + patience
    with suppress(sqlite3.Error), closing(sqlite3.connect(file)) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_LOCK_LOOK)
            else:
                return


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin in _begin_sqlite, not behind our back
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if "naru_lasting" in options:
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if options['naru_lasting'] else 'NORMAL'}")
    connection.exec_driver_sql(options.get("naru_begin", "BEGIN"))
