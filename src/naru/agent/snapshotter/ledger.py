"""Which snapshots there are, in one SQLite file: every change is one transaction, on the disk before it is answered.

The rules are those of containerd's snapshotters (its `snapshots.Snapshotter`). No directories here: see snapshotter.py.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from naru.agent.snapshotter.labels import TARGET
from naru.agent.snapshotter.values import AlreadyExists, Claim, InUse, Kind, Snapshot, Usage
from naru.domain.errors import Invalid, NotFound

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


class Ledger:
    """The table of snapshots in the file at `path`, made when it is missing. One thread at a time."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._database.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version={_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise Invalid(f"{path} was written by a newer Naru", "upgrade this one")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def get(self, key: str) -> Snapshot:
        """Return a snapshot; raise NotFound."""
        found = self._one("key = ?", key)
        if found is None:
            raise NotFound(f"there is no snapshot {key:.200}")
        return found

    def all(self) -> list[Snapshot]:
        """List all snapshots, parents before children."""
        return [_snapshot(row) for row in self._database.execute(f"SELECT {_COLUMNS} FROM snapshot ORDER BY id")]  # noqa: S608

    def target(self, chain: str, parent: str) -> Snapshot | None:
        """Return the committed snapshot that stands for a chain ID on `parent`, if there is one."""
        return self._one("target = ? AND parent = ? AND kind = 3", chain, parent)

    def chain(self, key: str) -> list[Snapshot]:
        """Return the snapshot `key` and all below it, uppermost first; none for an empty key."""
        found: list[Snapshot] = []
        while key:
            found.append(self.get(key))
            key = found[-1].parent
        return found

    def parents(self, key: str) -> list[Snapshot]:
        """Return what a new snapshot would be built on, uppermost first; refuse what cannot be built on."""
        chain = self.chain(key)
        if chain and chain[0].kind is not Kind.COMMITTED:
            raise Invalid(f"the snapshot {key:.200} is not committed", "build on committed ones")
        if len(chain) >= _MAX_DEPTH:
            raise Invalid(f"a chain of {len(chain)} snapshots is too long", f"use at most {_MAX_DEPTH}")
        return chain

    def next_number(self) -> int:
        """Return the number of the snapshot that is added next."""
        row = self._database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'snapshot'").fetchone()
        return int(row[0]) + 1 if row else 1

    def add(self, number: int, key: str, kind: Kind, parent: str, labels: Mapping[str, str], now: datetime) -> Snapshot:
        """Add a view or an active snapshot under the next number."""
        return self._insert(number, key, kind, parent, labels, now, None)

    def add_claimed(self, key: str, parent: str, labels: Mapping[str, str], claim: Claim, now: datetime) -> Snapshot:
        """Add a committed snapshot whose files come with a claim."""
        return self._insert(self.next_number(), key, Kind.COMMITTED, parent, labels, now, claim)

    def commit(self, name: str, key: str, labels: Mapping[str, str], usage: Usage, now: datetime) -> Snapshot:
        """Turn the active snapshot `key` into the committed one `name`."""
        with self._transaction():
            active = self.get(key)
            if active.kind is not Kind.ACTIVE:
                raise InUse(f"the snapshot {key:.200} is not active", "commit active ones")
            self._free(name)
            at = now.isoformat()
            self._database.execute(
                "UPDATE snapshot SET key = ?, kind = 3, target = ?, labels = ?, created = ?, updated = ?, size = ?,"
                " inodes = ? WHERE key = ?",
                (name, labels.get(TARGET, ""), json.dumps(dict(labels)), at, at, usage.size, usage.inodes, key),
            )
        return self.get(name)

    def relabel(self, key: str, labels: Mapping[str, str], now: datetime) -> Snapshot:
        """Replace the labels of a snapshot."""
        with self._transaction():
            before = self.get(key)
            target = labels.get(TARGET, "") if before.kind is Kind.COMMITTED else ""
            self._database.execute(
                "UPDATE snapshot SET labels = ?, target = ?, updated = ? WHERE key = ?",
                (json.dumps(dict(labels)), target, now.isoformat(), key),
            )
        return self.get(key)

    def remove(self, key: str) -> Snapshot:
        """Forget a snapshot on which nothing is built; return what it was."""
        with self._transaction():
            gone = self.get(key)
            if self._one("parent = ?", key):
                raise InUse(f"others are built on the snapshot {key:.200}", "remove them first")
            self._database.execute("DELETE FROM snapshot WHERE key = ?", (key,))
        return gone

    def claimed(self, chain: str) -> bool:
        """Whether a snapshot still needs the claim on this chain ID."""
        return self._one("chain = ?", chain) is not None

    def _insert(
        self,
        number: int,
        key: str,
        kind: Kind,
        parent: str,
        labels: Mapping[str, str],
        now: datetime,
        claim: Claim | None,
    ) -> Snapshot:
        with self._transaction():
            self._free(key)
            self.parents(parent)
            at = now.isoformat()
            told = (
                (claim.reference, claim.manifest, claim.chain, claim.depth, claim.whole)
                if claim
                else ("", "", "", 0, 0)
            )
            target = labels.get(TARGET, "") if kind is Kind.COMMITTED else ""
            self._database.execute(
                "INSERT INTO snapshot (id, key, kind, parent, target, labels, created, updated, reference, manifest,"
                " chain, depth, whole) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (number, key, int(kind), parent, target, json.dumps(dict(labels)), at, at, *told),
            )
        return self.get(key)

    def _free(self, key: str) -> None:
        if not key:
            raise Invalid("a snapshot has no empty key")
        if self._one("key = ?", key):
            raise AlreadyExists(f"there is a snapshot {key:.200} already")

    def _one(self, condition: str, *values: str) -> Snapshot | None:
        row = self._database.execute(
            f"SELECT {_COLUMNS} FROM snapshot WHERE {condition} ORDER BY id LIMIT 1",  # noqa: S608 - our own words
            values,
        ).fetchone()
        return _snapshot(row) if row else None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


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
