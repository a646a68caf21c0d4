"""Which snapshots there are, in one SQLite file: every change is one transaction, on the disk before it is answered.

The rules are those of containerd's snapshotters (its `snapshots.Snapshotter`). No directories here: see snapshotter.py.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Final

from naru.agent.snapshotter.labels import TARGET
from naru.agent.snapshotter.values import AlreadyExists, Claim, InUse, Kind, Snapshot, Usage
from naru.domain.errors import Invalid, NotFound, Unavailable

_MAX_DEPTH: Final = 512
_VERSION: Final = 1
_TABLES: Final = """
CREATE TABLE snapshot (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice, since a directory may outlive its row for a moment
    key TEXT NOT NULL UNIQUE,
    kind INTEGER NOT NULL,
    parent TEXT NOT NULL,
    target TEXT NOT NULL,
    labels TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL,
    size INTEGER NOT NULL DEFAULT 0,
    inodes INTEGER NOT NULL DEFAULT 0,
    reference TEXT NOT NULL DEFAULT '',
    manifest TEXT NOT NULL DEFAULT '',
    chain TEXT NOT NULL DEFAULT '',
    depth INTEGER NOT NULL DEFAULT 0,
    whole INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX snapshot_parent ON snapshot (parent);
CREATE INDEX snapshot_target ON snapshot (target, parent) WHERE target != '';
"""
_COLUMNS: Final = (
    "id, key, kind, parent, labels, created, updated, size, inodes, reference, manifest, chain, depth, whole"
)


class _Rows:
    """Reads the table through one connection."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database

    def one(self, condition: str, *values: str) -> Snapshot | None:
        row = self.database.execute(
            f"SELECT {_COLUMNS} FROM snapshot WHERE {condition} ORDER BY id LIMIT 1",  # noqa: S608 - our own words
            values,
        ).fetchone()
        return _snapshot(row) if row else None

    def get(self, key: str) -> Snapshot:
        found = self.one("key = ?", key)
        if found is None:
            raise NotFound(f"there is no snapshot {key:.200}")
        return found

    def chain(self, key: str) -> list[Snapshot]:
        found: list[Snapshot] = []
        while key:
            found.append(self.get(key))
            key = found[-1].parent
        return found

    def parents(self, key: str) -> list[Snapshot]:
        chain = self.chain(key)
        if chain and chain[0].kind is not Kind.COMMITTED:
            raise Invalid(f"the snapshot {key:.200} is not committed", "build on committed ones")
        if len(chain) >= _MAX_DEPTH:
            raise Invalid(f"a chain of {len(chain)} snapshots is too long", f"use at most {_MAX_DEPTH}")
        return chain

    def free(self, key: str) -> None:
        if not key:
            raise Invalid("a snapshot has no empty key")
        if self.one("key = ?", key):
            raise AlreadyExists(f"there is a snapshot {key:.200} already")


class Ledger:
    """The table of snapshots in the file at `path`, made when it is missing.

    Changes block until they are on the disk: make them in threads, which wait for each other here, even when nobody
    waits for them any more. What is only read never waits for a change, and shows what was committed.
    """

    def __init__(self, path: Path) -> None:
        self._changing = _Rows(_connected(path))
        self._lock = Lock()
        database = self._changing.database
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            database.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version={_VERSION}; COMMIT;")
        elif version != _VERSION:
            database.close()
            raise Invalid(f"{path} was written by a newer Naru", "upgrade this one")
        self._seen = _Rows(_connected(path))

    def close(self) -> None:
        """Close the file, when a change that is under way has ended."""
        with self._lock:
            self._changing.database.close()
        self._seen.database.close()

    def get(self, key: str) -> Snapshot:
        """Return a snapshot; raise NotFound."""
        return self._seen.get(key)

    def all(self) -> list[Snapshot]:
        """List all snapshots, parents before children."""
        rows = self._seen.database.execute(f"SELECT {_COLUMNS} FROM snapshot ORDER BY id")  # noqa: S608 - our own words
        return [_snapshot(row) for row in rows.fetchall()]

    def target(self, chain: str, parent: str) -> Snapshot | None:
        """Return the committed snapshot that stands for a chain ID on `parent`, if there is one."""
        return self._seen.one("target = ? AND parent = ? AND kind = 3", chain, parent)

    def chain(self, key: str) -> list[Snapshot]:
        """Return the snapshot `key` and all below it, uppermost first; none for an empty key."""
        return self._seen.chain(key)

    def parents(self, key: str) -> list[Snapshot]:
        """Return what a new snapshot would be built on, uppermost first; refuse what cannot be built on."""
        return self._seen.parents(key)

    def claimed(self, chain: str) -> bool:
        """Whether a snapshot still needs the claim on this chain ID."""
        return self._seen.one("chain = ?", chain) is not None

    def add(
        self,
        key: str,
        kind: Kind,
        parent: str,
        labels: Mapping[str, str],
        now: datetime,
        make: Callable[[int], None],
    ) -> int:
        """Add a view or an active snapshot, for which `make` makes a directory by its number; return the number."""
        with self._transaction() as rows:
            number = _insert(rows, key, kind, parent, labels, now, None)
            make(number)
        return number

    def add_claimed(self, key: str, parent: str, labels: Mapping[str, str], claim: Claim, now: datetime) -> None:
        """Add a committed snapshot whose files come with a claim."""
        with self._transaction() as rows:
            _insert(rows, key, Kind.COMMITTED, parent, labels, now, claim)

    def commit(self, name: str, key: str, labels: Mapping[str, str], usage: Usage, now: datetime) -> None:
        """Turn the active snapshot `key` into the committed one `name`."""
        with self._transaction() as rows:
            if rows.get(key).kind is not Kind.ACTIVE:
                raise InUse(f"the snapshot {key:.200} is not active", "commit active ones")
            rows.free(name)
            at = now.isoformat()
            rows.database.execute(
                "UPDATE snapshot SET key = ?, kind = 3, target = ?, labels = ?, created = ?, updated = ?, size = ?,"
                " inodes = ? WHERE key = ?",
                (name, labels.get(TARGET, ""), json.dumps(dict(labels)), at, at, usage.size, usage.inodes, key),
            )

    def relabel(self, key: str, labels: Mapping[str, str], now: datetime) -> None:
        """Replace the labels of a snapshot."""
        with self._transaction() as rows:
            target = labels.get(TARGET, "") if rows.get(key).kind is Kind.COMMITTED else ""
            rows.database.execute(
                "UPDATE snapshot SET labels = ?, target = ?, updated = ? WHERE key = ?",
                (json.dumps(dict(labels)), target, now.isoformat(), key),
            )

    def remove(self, key: str) -> Snapshot:
        """Forget a snapshot on which nothing is built; return what it was."""
        with self._transaction() as rows:
            gone = rows.get(key)
            if rows.one("parent = ?", key):
                raise InUse(f"others are built on the snapshot {key:.200}", "remove them first")
            rows.database.execute("DELETE FROM snapshot WHERE key = ?", (key,))
        return gone

    def sweep(self, sweep: Callable[[set[int]], None]) -> None:
        """Call `sweep` with the numbers of all snapshots; nothing changes meanwhile."""
        with self._lock:
            sweep({number for (number,) in self._changing.database.execute("SELECT id FROM snapshot").fetchall()})

    @contextmanager
    def _transaction(self) -> Iterator[_Rows]:
        with self._lock:
            database = self._changing.database
            try:
                database.execute("BEGIN IMMEDIATE")
                yield self._changing
                database.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo()
                raise Unavailable(f"the snapshots cannot be written down: {error}", "look at the disk") from error
            except BaseException:
                self._undo()
                raise

    def _undo(self) -> None:
        with suppress(sqlite3.Error):
            self._changing.database.execute("ROLLBACK")


def _connected(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    return database


def _insert(
    rows: _Rows,
    key: str,
    kind: Kind,
    parent: str,
    labels: Mapping[str, str],
    now: datetime,
    claim: Claim | None,
) -> int:
    rows.free(key)
    rows.parents(parent)
    at = now.isoformat()
    claimed = (claim.reference, claim.manifest, claim.chain, claim.depth, claim.whole) if claim else ("", "", "", 0, 0)
    target = labels.get(TARGET, "") if kind is Kind.COMMITTED else ""
    added = rows.database.execute(
        "INSERT INTO snapshot (key, kind, parent, target, labels, created, updated, reference, manifest,"
        " chain, depth, whole) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (key, int(kind), parent, target, json.dumps(dict(labels)), at, at, *claimed),
    )
    (number,) = added.fetchone()
    return int(number)


def _snapshot(row: tuple[int, str, int, str, str, str, str, int, int, str, str, str, int, int]) -> Snapshot:
    number, key, kind, parent, labels, created, updated, size, inodes, reference, manifest, chain, depth, whole = row
    return Snapshot(
        id=number,
        key=key,
        kind=Kind(kind),
        parent=parent,
        labels=json.loads(labels),
        created=datetime.fromisoformat(created).astimezone(UTC),
        updated=datetime.fromisoformat(updated).astimezone(UTC),
        usage=Usage(size, inodes),
        claim=Claim(reference, manifest, chain, depth, bool(whole)) if chain else None,
    )
