"""The snapshotter on a unix socket, as containerd's proxy plugins are asked (gRPC)."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import grpc
import grpc.aio

from naru.agent.protobuf import decode, encode
from naru.agent.snapshotter import wire
from naru.agent.snapshotter.snapshotter import Snapshotter
from naru.agent.snapshotter.values import AlreadyExists, InUse
from naru.domain.errors import Conflict, Forbidden, Invalid, NaruError, NotFound, Unavailable

log = logging.getLogger(__name__)

_BATCH: Final = 100
_GRACE: Final = 2.0
_CODES: Final[tuple[tuple[type[NaruError], grpc.StatusCode], ...]] = (
    (AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (InUse, grpc.StatusCode.FAILED_PRECONDITION),
    (Conflict, grpc.StatusCode.FAILED_PRECONDITION),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (Invalid, grpc.StatusCode.INVALID_ARGUMENT),
    (Forbidden, grpc.StatusCode.PERMISSION_DENIED),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
)

Context = grpc.aio.ServicerContext[bytes, bytes]
Deed = Callable[[bytes], Awaitable[object]]


@asynccontextmanager
async def serving(snapshotter: Snapshotter, socket: Path) -> AsyncIterator[None]:
    """Answer containerd at `socket`, which only this user may open, until the end of the context."""
    await asyncio.to_thread(_make_room, socket)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_handlers(Calls(snapshotter)),))
    # gRPC makes the socket with whatever the umask leaves: nobody else may slip in before it is closed to others.
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
    finally:
        os.umask(before)
    try:
        yield
    finally:
        await server.stop(_GRACE)


def _make_room(socket: Path) -> None:
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Calls:
    """Each call of the service: what was asked, as a deed of the snapshotter."""

    snapshotter: Snapshotter

    async def prepare(self, asked: bytes) -> wire.Mounts:
        """Prepare."""
        make = decode(wire.Make, asked)
        return wire.mounts(await self.snapshotter.prepare(make.key, make.parent, make.labels))

    async def view(self, asked: bytes) -> wire.Mounts:
        """View."""
        make = decode(wire.Make, asked)
        return wire.mounts(await self.snapshotter.view(make.key, make.parent, make.labels))

    async def mounts(self, asked: bytes) -> wire.Mounts:
        """Mounts."""
        return wire.mounts(await self.snapshotter.mounts(decode(wire.Keyed, asked).key))

    async def commit(self, asked: bytes) -> wire.Empty:
        """Commit."""
        commit = decode(wire.Commit, asked)
        await self.snapshotter.commit(commit.name, commit.key, commit.labels)
        return wire.Empty()

    async def remove(self, asked: bytes) -> wire.Empty:
        """Remove."""
        await self.snapshotter.remove(decode(wire.Keyed, asked).key)
        return wire.Empty()

    async def stat(self, asked: bytes) -> wire.Told:
        """Stat."""
        return wire.Told(wire.info(await self.snapshotter.stat(decode(wire.Keyed, asked).key)))

    async def update(self, asked: bytes) -> wire.Told:
        """Update."""
        update = decode(wire.Update, asked)
        if update.info is None:
            raise Invalid("an update names no snapshot")
        paths = update.update_mask.paths if update.update_mask else ()
        changed = await self.snapshotter.update(update.info.name, update.info.labels, paths)
        return wire.Told(wire.info(changed))

    async def usage(self, asked: bytes) -> wire.Usage:
        """Usage."""
        usage = await self.snapshotter.usage(decode(wire.Keyed, asked).key)
        return wire.Usage(usage.size, usage.inodes)

    async def cleanup(self, _: bytes) -> wire.Empty:
        """Cleanup."""
        await self.snapshotter.cleanup()
        return wire.Empty()

    async def list(self, asked: bytes) -> AsyncIterator[bytes]:
        """List, in parts."""
        found = await self.snapshotter.find(decode(wire.List, asked).filters)
        for start in range(0, len(found), _BATCH):
            yield encode(wire.Listed(tuple(map(wire.info, found[start : start + _BATCH]))))


def _handlers(calls: Calls) -> grpc.GenericRpcHandler:
    once: dict[str, Deed] = {
        "Prepare": calls.prepare,
        "View": calls.view,
        "Mounts": calls.mounts,
        "Commit": calls.commit,
        "Remove": calls.remove,
        "Stat": calls.stat,
        "Update": calls.update,
        "Usage": calls.usage,
        "Cleanup": calls.cleanup,
    }
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        name: grpc.unary_unary_rpc_method_handler(_told(name, deed)) for name, deed in once.items()
    }
    handlers["List"] = grpc.unary_stream_rpc_method_handler(_streamed(calls))
    return grpc.method_handlers_generic_handler(wire.SERVICE, handlers)


def _told(name: str, deed: Deed) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def call(asked: bytes, context: Context) -> bytes:
        try:
            return encode(await deed(asked))
        except NaruError as error:
            await _refuse(name, error, context)

    return call


def _streamed(calls: Calls) -> Callable[[bytes, Context], AsyncIterator[bytes]]:
    async def call(asked: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            async for part in calls.list(asked):
                yield part
        except NaruError as error:
            await _refuse("List", error, context)

    return call


async def _refuse(name: str, error: NaruError, context: Context) -> NoReturn:
    code = next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.UNKNOWN)
    log.debug("%s: %s: %s", name, code.name, error)
    await context.abort(code, str(error))
    raise AssertionError("abort raises")
