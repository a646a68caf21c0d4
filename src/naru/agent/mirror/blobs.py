"""Blobs of a node: in the object store when they are whole, shared by everybody who asks while they arrive.

A blob is an object like any other: its digest is the sha256 of its bytes. So agents exchange blobs as they exchange
files, with an index of one object and no metadata, under the blob's own digest. Whoever fetched it from the registry
learned the digests of its chunks and tells them; nobody has to believe them, since the whole has to have its digest.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from naru.agent.incoming import Incoming
from naru.agent.index.index import CHUNK, Index, Object
from naru.agent.mirror.upstream import Upstream
from naru.agent.objects import ObjectStore
from naru.agent.source import Priority, Source
from naru.domain.errors import Conflict, Forbidden, Invalid, NaruError, Unavailable
from naru.oci.reference import Digest, Reference

log = logging.getLogger(__name__)

_EMPTY: Final = Digest.of(b"")
_SMALL: Final = 64 << 10
"""Bytes of a blob that is not worth asking other agents for, while its registry answers."""
_LIAR: Final = "do not trust this registry or what stands between it and us"


@dataclass(slots=True, eq=False)
class Arrival:
    """A blob on its way. `size` is known once `begun`; `arrived` bytes are there, unverified until `done`."""

    digest: Digest
    size: int = 0
    arrived: int = 0
    done: bool = False
    error: NaruError | None = None
    driven: bool = False
    """Whether somebody fetches it from its registry."""
    incoming: Incoming | None = None
    index: Index | None = None
    """Set when it comes from other agents."""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def begun(self) -> None:
        """Return when the size is known; raise what went wrong."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.incoming or self.index or self.done or self.error)
        if self.error:
            raise self.error

    @property
    def held(self) -> int:
        """Where the last chunk begins, which waits until the whole is verified."""
        return max(0, (self.size - 1) // CHUNK * CHUNK)

    async def beyond(self, offset: int) -> int:
        """Wait for bytes after `offset`; return how far a reader may go.

        The last chunk is held back until the whole is verified, so nobody ever ends up with a wrong blob that looks
        complete.
        """
        async with self.changed:
            await self.changed.wait_for(lambda: self.done or self.error or min(self._whole, self.held) > offset)
        if self.error:
            raise self.error
        return self.size if self.done else min(self._whole, self.held)

    @property
    def _whole(self) -> int:
        return self.size if self.index else self.arrived // CHUNK * CHUNK


class Peers(Source, Protocol):
    """Other agents, as far as a blob needs them."""

    async def index(self, image: str) -> Index:
        """Return an index by its name, deriving it through `Blobs.derive` if this node is to do that for its site."""


class Blobs:
    """The blobs in `store`, and those that `upstream` has; others' too after `share`."""

    def __init__(self, store: ObjectStore, upstream: Upstream) -> None:
        self._store = store
        self._upstream = upstream
        self._arriving: dict[Digest, Arrival] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._peers: Peers | None = None
        self._name: Callable[[Reference, Digest], None] = lambda _, __: None
        self.from_origin = 0
        """Bytes that registries sent."""
        self.served = 0
        """Bytes that engines took."""

    def share(self, peers: Peers, name: Callable[[Reference, Digest], None]) -> None:
        """Ask other agents before a registry, from now on; `name` is told each blob's repository before."""
        self._peers, self._name = peers, name

    async def derive(self, of: Reference, digest: Digest) -> Index:
        """Bring a blob from its registry, and return its index."""
        arrival = self._arriving.get(digest)
        if arrival is None:
            await self.fetch(of, digest, alone=True)
        elif not arrival.driven:
            await self._from_registry(of, arrival)
        else:
            await self._end(arrival)
        index = await asyncio.to_thread(self._indexed, digest)
        await asyncio.to_thread(self._store.save_index, index)
        return index

    async def close(self) -> None:
        """End what is still arriving."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def size(self, of: Reference, digest: Digest) -> int:
        """Return the size of a blob, without fetching it."""
        if digest == _EMPTY:
            return 0
        with suppress(FileNotFoundError):
            return (await asyncio.to_thread(self._store.path(_raw(digest)).stat)).st_size
        arrival = self._arriving.get(digest)
        if arrival is not None:
            await arrival.begun()
            return arrival.size
        return await self._upstream.size(of, digest)

    async def open(self, of: Reference, digest: Digest) -> int:
        """Return the size of a blob that is here or has begun to arrive; raise what hinders it."""
        if digest == _EMPTY or await asyncio.to_thread(self._store.has, _raw(digest)):
            return await self.size(of, digest)
        arrival = self._arrival(of, digest)
        await arrival.begun()
        return arrival.size

    async def read(self, of: Reference, digest: Digest, offset: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `offset` to `end` as they come. Raises, before the last of them, when they are wrong."""
        while offset < end:
            content = await self._some(of, digest, offset, end)
            self.served += len(content)
            offset += len(content)
            yield content

    async def fetch(self, of: Reference, digest: Digest, *, alone: bool = False, size: int | None = None) -> None:
        """Return when the blob is in the store, verified; `alone` asks no other agent. A manifest tells the `size`."""
        if digest != _EMPTY and not await asyncio.to_thread(self._store.has, _raw(digest)):
            await self._end(self._arrival(of, digest, alone=alone, size=size))

    async def _end(self, arrival: Arrival) -> None:
        async with arrival.changed:
            await arrival.changed.wait_for(lambda: arrival.done or arrival.error)
        if arrival.error:
            raise arrival.error

    async def _some(self, of: Reference, digest: Digest, offset: int, end: int) -> bytes:
        arrival = self._arriving.get(digest)
        if arrival is None:
            try:
                return await asyncio.to_thread(self._from_file, digest, offset, min(end - offset, CHUNK))
            except FileNotFoundError:  # evicted while it was being read: fetch it again and go on
                arrival = self._arrival(of, digest)
                await arrival.begun()
        until = await arrival.beyond(offset)
        if arrival.index and self._peers and not arrival.done:
            length = min(end, until, offset + CHUNK) - offset
            return await self._peers.read(arrival.index, _raw(digest), offset, length)
        if arrival.incoming is not None and not arrival.done:
            with suppress(Conflict):  # it is whole since
                length = min(end, until) - offset
                return await asyncio.to_thread(arrival.incoming.peek, offset, min(length, CHUNK))
        return await asyncio.to_thread(self._from_file, digest, offset, min(end - offset, CHUNK))

    def _from_file(self, digest: Digest, offset: int, length: int) -> bytes:
        with self._store.path(_raw(digest)).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def _arrival(self, of: Reference, digest: Digest, *, alone: bool = False, size: int | None = None) -> Arrival:
        """Return the one arrival of a blob, begun when there is none."""
        arrival = self._arriving.get(digest)
        if arrival is None:
            arrival = self._arriving[digest] = Arrival(digest)
            task = asyncio.create_task(self._bring(of, arrival, alone, size))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return arrival

    async def _bring(self, of: Reference, arrival: Arrival, alone: bool, size: int | None) -> None:
        try:
            if alone or self._peers is None:
                await self._from_registry(of, arrival)
            else:
                await self._from_peers(of, arrival, self._peers, size)
        except NaruError as error:
            log.warning("%s of %s: %s", arrival.digest, of.name, error)
            arrival.error = error
        except asyncio.CancelledError:
            arrival.error = Unavailable("the mirror stops")
            raise
        except Exception as error:
            arrival.error = Unavailable(f"the mirror failed to fetch {arrival.digest}")
            arrival.error.__cause__ = error
            raise
        else:
            arrival.done = True
        finally:
            if arrival.incoming is not None and not arrival.done:
                arrival.incoming.abort()
            del self._arriving[arrival.digest]
            async with arrival.changed:
                arrival.changed.notify_all()

    async def _from_peers(self, of: Reference, arrival: Arrival, peers: Peers, size: int | None) -> None:
        """Bring a blob from other agents, or for them: then `derive` is called meanwhile."""
        self._name(of, arrival.digest)
        # A configuration comes sooner from far away than everybody near has said that they have not got it.
        if await self._is_small(of, arrival.digest, size) and not arrival.driven:
            try:
                await self._from_registry(of, arrival)
                return
            except Unavailable:
                if arrival.incoming is not None:
                    raise
                arrival.driven = False
        try:
            index = await peers.index(str(arrival.digest))
        except NaruError as error:
            if arrival.driven:
                raise
            log.info("no agent gives %s: %s", arrival.digest, error)
            await self._from_registry(of, arrival)
            return
        if arrival.driven:
            return
        (blob,) = index.objects or (Object(b"", 0),)
        if blob.digest != _raw(arrival.digest):
            raise Invalid(f"an agent gave the index of something else for {arrival.digest}", "it is asked no more")
        arrival.size, arrival.index = blob.size, index
        await self._tell(arrival, 0)
        await peers.fetch(index, [blob.digest], Priority.DEMAND)

    async def _is_small(self, of: Reference, digest: Digest, size: int | None) -> bool:
        try:
            return (await self._upstream.size(of, digest) if size is None else size) <= _SMALL
        except Unavailable:
            return False

    def _indexed(self, digest: Digest) -> Index:
        with self._store.path(_raw(digest)).open("rb") as file:
            chunks = tuple(hashlib.sha256(chunk).digest() for chunk in iter(lambda: file.read(CHUNK), b""))
            size = file.tell()
        return Index(str(digest), b"", (Object(_raw(digest), size, chunks if size > CHUNK else ()),))

    async def _from_registry(self, of: Reference, arrival: Arrival) -> None:
        arrival.driven = True
        with self._store.gathering():
            async with self._upstream.blob(of, arrival.digest) as (size, chunks):
                if size == 0:
                    raise Forbidden(f"{of.domain} answers an empty blob for {arrival.digest}", _LIAR)
                arrival.size = size
                arrival.incoming = await asyncio.to_thread(self._store.receive, _raw(arrival.digest), size)
                await self._tell(arrival, 0)
                async for chunk in chunks:
                    self.from_origin += len(chunk)
                    try:
                        await asyncio.to_thread(arrival.incoming.write, chunk, arrival.arrived)
                    except Invalid as error:
                        raise Forbidden(f"{of.domain} sends other bytes than {arrival.digest}", _LIAR) from error
                    await self._tell(arrival, len(chunk))
            if arrival.arrived < size:
                raise Unavailable(f"{of.domain} sent {arrival.arrived} of {size} bytes of {arrival.digest}")
            try:
                await asyncio.to_thread(arrival.incoming.commit)
            except Invalid as error:
                raise Forbidden(f"{of.domain} answers other bytes than {arrival.digest}", _LIAR) from error

    async def _tell(self, arrival: Arrival, came: int) -> None:
        async with arrival.changed:
            arrival.arrived += came
            arrival.changed.notify_all()


def _raw(digest: Digest) -> bytes:
    return bytes.fromhex(digest.hex)
