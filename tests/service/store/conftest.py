"""A store on SQLite and one on a real PostgreSQL, each test with a database of its own."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import asyncpg
import pytest
from cryptography.fernet import Fernet
from tests.conftest import program

from naru.store import Store, open_store

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The directory of the socket of a PostgreSQL server of our own, which listens nowhere else."""
    server = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    home = Path(tempfile.mkdtemp(prefix="naru-postgres-"))
    try:
        if server:
            account = pwd.getpwnam("postgres")
            os.chown(home, account.pw_uid, account.pw_gid)
        data = home / "data"
        initdb = [program("initdb"), "--pgdata", data, "--username=naru", "--auth=trust", "--encoding=UTF8"]
        subprocess.run([*initdb, "--locale=C", "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd=home, **server)
        settings = ["listen_addresses=", f"unix_socket_directories={home}", "fsync=off", "max_connections=200"]
        command = [program("postgres"), "-D", data, *(word for setting in settings for word in ("-c", setting))]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=home, **server)
        try:
            _await_ready(process, home)
            yield str(home)
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(home)


def _await_ready(process: subprocess.Popen[bytes], home: Path) -> None:
    deadline = time.monotonic() + 30
    question = [program("pg_isready"), "--quiet", "--host", home, "--dbname=postgres"]
    while subprocess.run(question, check=False).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"PostgreSQL did not start: {(home / 'log').read_text()[-2000:]}")
        time.sleep(0.05)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A database file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'naru.db'}"


@pytest.fixture
async def postgresql_url(cluster: str) -> AsyncIterator[str]:
    """An empty PostgreSQL database."""
    name = f"naru_{next(_NUMBERS)}"
    admin = await asyncpg.connect(host=cluster, user="naru", database="postgres")
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        yield f"postgresql://naru@/{name}?host={cluster}"
        with suppress(asyncpg.PostgresError):
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgresql"))])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database, on each kind in turn."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture(scope="session")
def key() -> bytes:
    """The key of every store in these tests."""
    return Fernet.generate_key()


@pytest.fixture
async def store(url: str, key: bytes) -> AsyncIterator[Store]:
    """An empty store."""
    async with open_store(url, key) as opened:
        yield opened
