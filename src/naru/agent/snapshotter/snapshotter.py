"""Prepare, commit, remove: what containerd asks of a snapshotter, with layers that need no unpacking.

Metadata change in one transaction before anything is answered, and directories are made before and removed after, so
a SIGKILL at any moment leaves a ledger that is true and at most some rubbish.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from naru.agent.snapshotter import filters, labels, overlay
from naru.agent.snapshotter.disk import Directories
from naru.agent.snapshotter.ledger import Ledger
from naru.agent.snapshotter.roots import Roots
from naru.agent.snapshotter.values import AlreadyExists, Claim, InUse, Kind, Lower, Mount, Snapshot, Usage
from naru.domain.errors import Invalid, NaruError

log = logging.getLogger(__name__)

_LABELS: Final = "labels"


class Snapshotter:
    """The snapshots below `root`, one process at a time. Raises the kinds of naru.agent.snapshotter.values."""

    def __init__(self, root: Path, roots: Roots, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._directories = Directories(root)
        self._ledger = Ledger(root / "snapshots.db")
        self._roots = roots
        self._clock = clock
        # One change at a time: SQLite takes no more, and most of a change is its wait for the disk.
        self._changing = asyncio.Lock()
        self._removing: set[asyncio.Future[None]] = set()

    async def recover(self) -> None:
        """Clear what a crash left, and mount again what containers still use."""
        await self.cleanup()
        for claim in self._claims_in_use():
            try:
                await self._roots.lower(claim)
            except NaruError as error:
                log.warning("the root file system of %s is not back: %s", claim.reference, error)

    def close(self) -> None:
        """Close the ledger. Mounted root file systems stay: containers live on them."""
        self._ledger.close()

    async def prepare(self, key: str, parent: str, told: Mapping[str, str]) -> tuple[Mount, ...]:
        """Make an active snapshot on a committed parent, or on nothing.

        Raises AlreadyExists when `told` names a layer that need not be unpacked: it is then committed under a key of
        its own, and listed with the label by which it was asked for.
        """
        below = self._ledger.parents(parent)
        if target := told.get(labels.TARGET):
            claim = labels.claim(told, len(below) + 1)
            # The question may go over the network: others must not wait for its answer.
            offered = claim is not None and await self._roots.offers(claim)
            async with self._changing:
                there = self._ledger.target(target, parent) is not None
                if not there and claim is not None and offered:
                    await asyncio.to_thread(self._ledger.add_claimed, key, parent, told, claim, self._clock())
                    there = True
            if there:
                raise AlreadyExists(f"the layer {target} needs no unpacking")
        return await self._mounted(key, Kind.ACTIVE, parent, told)

    async def view(self, key: str, parent: str, told: Mapping[str, str]) -> tuple[Mount, ...]:
        """Make a snapshot that shows a committed parent, read only."""
        return await self._mounted(key, Kind.VIEW, parent, told)

    async def mounts(self, key: str) -> tuple[Mount, ...]:
        """Return the mounts of an active snapshot or a view."""
        snapshot = self._ledger.get(key)
        if snapshot.kind is Kind.COMMITTED:
            raise InUse(f"the snapshot {key:.200} is committed", "prepare or view one on top of it")
        below = self._ledger.chain(snapshot.parent)
        layers, claimed = await self._lower(below)
        own = self._directories.of(snapshot.id)
        return overlay.mounts(own, layers, claimed, writable=snapshot.kind is Kind.ACTIVE)

    async def commit(self, name: str, key: str, told: Mapping[str, str]) -> None:
        """Turn an active snapshot into a committed one that is on the disk."""
        async with self._changing:
            active = self._ledger.get(key)
            usage = Usage()
            if active.kind is Kind.ACTIVE:
                await asyncio.to_thread(self._directories.keep, active.id)
                usage = await asyncio.to_thread(self._directories.usage, active.id)
            await asyncio.to_thread(self._ledger.commit, name, key, told, usage, self._clock())

    async def remove(self, key: str) -> None:
        """Remove a snapshot on which nothing is built; carried to its end even when the caller gives up."""
        task = asyncio.ensure_future(self._remove(key))
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)
        await asyncio.shield(task)

    async def _remove(self, key: str) -> None:
        async with self._changing:
            gone = await asyncio.to_thread(self._ledger.remove, key)
            if gone.claim and not self._ledger.claimed(gone.claim.chain):
                # Under the lock: whoever claims these layers again finds them let go, and asks for them anew.
                await self._roots.release(gone.claim)
        await asyncio.to_thread(self._directories.remove, gone.id)

    async def stat(self, key: str) -> Snapshot:
        """Return what is known of a snapshot."""
        return self._ledger.get(key)

    async def update(self, key: str, told: Mapping[str, str], paths: Sequence[str]) -> Snapshot:
        """Change labels: all of them, or those that `paths` name as `labels.NAME`. Nothing else ever changes."""
        async with self._changing:
            changed = dict(self._ledger.get(key).labels)
            for path in paths or (_LABELS,):
                head, _, label = path.partition(".")
                if head != _LABELS:
                    raise Invalid(f"{path:.200} of a snapshot never changes", "update labels")
                if not label:
                    changed = dict(told)
                elif label in told:
                    changed[label] = told[label]
                else:
                    changed.pop(label, None)
            await asyncio.to_thread(self._ledger.relabel, key, changed, self._clock())
        return self._ledger.get(key)

    async def find(self, wanted: Sequence[str] = ()) -> Sequence[Snapshot]:
        """Find the snapshots that containerd's filters let through, parents before children."""
        match = filters.parse(wanted)
        return [snapshot for snapshot in self._ledger.all() if match(snapshot)]

    async def usage(self, key: str) -> Usage:
        """Return what a snapshot takes on the disk, without its parents."""
        snapshot = self._ledger.get(key)
        if snapshot.kind is Kind.COMMITTED:
            return snapshot.usage
        return await asyncio.to_thread(self._directories.usage, snapshot.id)

    async def cleanup(self) -> None:
        """Remove directories that belong to no snapshot."""
        async with self._changing:
            await asyncio.to_thread(self._ledger.sweep, self._directories.sweep)

    async def _mounted(self, key: str, kind: Kind, parent: str, told: Mapping[str, str]) -> tuple[Mount, ...]:
        # Lower files first: without them there is no snapshot that anybody would have to remove.
        below = self._ledger.parents(parent)
        layers, claimed = await self._lower(below)
        like = layers[0] if layers else Path(claimed.root) if claimed else None
        async with self._changing:
            make = partial(self._directories.make, like=like)
            number = await asyncio.to_thread(self._ledger.add, key, kind, parent, told, self._clock(), make)
        if kind is Kind.ACTIVE and labels.TARGET not in told:
            for claim in [one.claim for one in below if one.claim][:1]:
                await self._roots.used(claim, self._directories.of(number) / "fs")
        return overlay.mounts(self._directories.of(number), layers, claimed, writable=kind is Kind.ACTIVE)

    async def _lower(self, below: Sequence[Snapshot]) -> tuple[list[Path], Lower | None]:
        """Return the unpacked layers, uppermost first, and what the highest claimed one gives for it and all below."""
        layers: list[Path] = []
        for snapshot in below:
            if snapshot.claim:
                return layers, await self._roots.lower(snapshot.claim)
            layers.append(self._directories.of(snapshot.id) / "fs")
        return layers, None

    def _claims_in_use(self) -> list[Claim]:
        """List the claims that active snapshots and views show."""
        found: dict[str, Claim] = {}
        for snapshot in self._ledger.all():
            if snapshot.kind is not Kind.COMMITTED:
                claims = (below.claim for below in self._ledger.chain(snapshot.parent) if below.claim)
                for claim in list(claims)[:1]:
                    found[claim.chain] = claim
        return list(found.values())
