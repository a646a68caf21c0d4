"""Opening a store: migrations, replicas, and everything that can be wrong with a database."""

import asyncio
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from tests.service.store.values import NOON, app

from naru.domain.errors import Conflict, Invalid, Unavailable
from naru.domain.release import Release
from naru.domain.rollout import Rollout
from naru.store import open_store
from naru.store.database import Database
from naru.store.journal import Journal
from naru.store.schema import metadata, releases, rollouts


async def test_the_migrations_make_the_tables_of_the_schema(url: str, key: bytes) -> None:
    async with open_store(url, key):
        pass
    async with _database(url) as database, database.read() as connection:
        differences = await connection.run_sync(
            lambda c: compare_metadata(MigrationContext.configure(c, opts={"compare_type": True}), metadata)
        )
    assert differences == []


async def test_the_migrations_make_the_indexes_of_the_schema_with_their_conditions(sqlite_url: str, key: bytes) -> None:
    async with open_store(sqlite_url, key):
        pass
    query = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    async with _database(sqlite_url) as database, database.read() as connection:
        migrated = {tuple(row) for row in await connection.execute(query)}
    fresh = sa.create_engine("sqlite://")
    with fresh.connect() as connection:
        metadata.create_all(connection)
        assert migrated == {tuple(row) for row in connection.execute(query)}
    fresh.dispose()


def test_every_field_of_a_stored_value_has_a_column() -> None:
    assert {field.name for field in fields(Rollout)} - {"steps"} <= set(rollouts.columns.keys())
    assert {field.name for field in fields(Release)} <= set(releases.columns.keys())


async def test_replicas_may_open_an_empty_store_at_once(url: str, key: bytes) -> None:
    async def replica(number: int) -> None:
        async with open_store(url, key) as store:
            await store.apps.create(app(f"app-{number}"))

    async with asyncio.timeout(60):
        await asyncio.gather(*(replica(number) for number in range(6)))

    async with open_store(url, key) as store:
        assert [a.name for a in await store.apps.page()] == [f"app-{number}" for number in range(6)]


async def test_a_store_that_a_newer_version_migrated_is_refused(url: str, key: bytes) -> None:
    async with open_store(url, key):
        pass
    async with _database(url) as database, database.write() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Conflict, match="at revision 9999, which a newer version of Naru made"):
        async with open_store(url, key):
            pass


async def test_a_new_file_is_readable_by_its_owner_only(sqlite_url: str, tmp_path: Path, key: bytes) -> None:
    async with open_store(sqlite_url, key):
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}  # noqa: ASYNC240
    assert modes == {"naru.db": 0o600, "naru.db-wal": 0o600, "naru.db-shm": 0o600}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("nonsense", "cannot be read; write sqlite:///FILE"),
        ("mysql://host/naru", "mysql is no database that Naru knows"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
async def test_a_url_that_names_no_database_is_refused(wrong: str, words: str, key: bytes) -> None:
    with pytest.raises(Invalid, match=words):
        async with open_store(wrong, key):
            pass


async def test_a_missing_directory_is_named(tmp_path: Path, key: bytes) -> None:
    with pytest.raises(Unavailable, match=r"nowhere/naru.db cannot be opened.*create its directory"):
        async with open_store(f"sqlite:///{tmp_path}/nowhere/naru.db", key):
            pass


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, key: bytes) -> None:
    file = tmp_path / "naru.db"
    file.write_bytes(b"not a database" * 1000)
    with pytest.raises(Unavailable, match="the database file is damaged"):
        async with open_store(f"sqlite:///{file}", key):
            pass
    assert file.read_bytes() == b"not a database" * 1000


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path, key: bytes) -> None:
    with pytest.raises(Unavailable, match="the database cannot be reached"):
        async with open_store(f"postgresql://naru@/naru?host={tmp_path}", key):
            pass


@pytest.mark.needs("postgresql")
async def test_a_database_that_is_not_there_is_unavailable(cluster: str, key: bytes) -> None:
    with pytest.raises(Unavailable, match='database "nowhere" does not exist'):
        async with open_store(f"postgresql://naru@/nowhere?host={cluster}", key):
            pass


@pytest.mark.needs("postgresql")
async def test_the_store_survives_lost_connections(postgresql_url: str, key: bytes) -> None:
    async with open_store(postgresql_url, key) as store, _database(postgresql_url) as other:
        shop = await store.apps.create(app())
        async with other.write() as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            await connection.execute(sa.text(f"{others} AND datname = current_database()"))
        assert await store.apps.get("shop") == shop


async def test_a_full_disk_is_told_and_what_was_stored_stays(sqlite_url: str, key: bytes) -> None:
    async with open_store(sqlite_url, key) as store:
        await store.journal.append(NOON, "shop", "deployed", "kim", "before")
        async with _database(sqlite_url) as small:
            async with small.write() as connection:
                await connection.execute(sa.text("PRAGMA max_page_count = 1"))
            with pytest.raises(Unavailable, match="the disk is full"):
                await Journal(small).append(NOON, "shop", "deployed", "kim", "x" * 1_000_000)
        assert [event.text for event in await store.journal.after(0)] == ["before"]
        await store.journal.append(NOON, "shop", "deployed", "kim", "after")


@pytest.mark.needs("postgresql")
async def test_a_server_whose_disk_is_full_is_told(postgresql_url: str) -> None:
    async with _database(postgresql_url) as database:
        with pytest.raises(Unavailable, match="the disk is full"):
            async with database.write() as connection:
                await connection.execute(sa.text("DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$"))


async def test_a_database_that_another_program_holds_is_told(sqlite_url: str, key: bytes) -> None:
    async with open_store(sqlite_url, key) as store, _database(sqlite_url, patience=0.05) as impatient:
        async with impatient.write():
            holder = Database(sqlite_url, patience=0.05)
            with pytest.raises(Unavailable, match="the database is locked by another program"):
                async with holder.write():
                    pass
            await holder.close()
        await store.apps.create(app())


async def test_a_cancelled_write_is_whole_or_absent_and_blocks_nobody(url: str, key: bytes) -> None:
    async with open_store(url, key) as store:
        for turns in range(40):
            task = asyncio.create_task(store.apps.create(app(f"app-{turns}", port=8000 + turns)))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        async with asyncio.timeout(20):
            await store.apps.create(app("last"))
        stored = await store.apps.page()
        assert await store.apps.ports_in_use() == {a.address.port for a in stored if a.address.port}


_WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from naru.store import open_store

async def main():
    async with open_store(sys.argv[1], sys.argv[2].encode()) as store:
        while True:
            event = await store.journal.append(datetime.now(UTC), "shop", "deployed", "kim", "x" * 500)
            print(event.number, flush=True)

asyncio.run(main())
"""


async def test_a_killed_process_loses_nothing_that_it_acknowledged(url: str, key: bytes) -> None:
    acknowledged: list[int] = []
    for _ in range(3):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _WRITER, url, key.decode(), stdout=asyncio.subprocess.PIPE
        )
        assert writer.stdout is not None
        async with asyncio.timeout(30):
            for _ in range(100):
                acknowledged.append(int(await writer.stdout.readline()))
            writer.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in (await writer.stdout.read()).split(b"\n")[:-1] if line]
            await writer.wait()

    async with open_store(url, key) as store:
        stored = [event.number for event in await store.journal.after(0, limit=1_000_000)]
    assert set(acknowledged) <= set(stored)
    assert len(stored) <= len(acknowledged) + 3, "at most the write under way when the process was killed"


@asynccontextmanager
async def _database(url: str, patience: float = 10.0) -> AsyncIterator[Database]:
    """A second way into the same database."""
    database = Database(url, patience)
    try:
        yield database
    finally:
        await database.close()
