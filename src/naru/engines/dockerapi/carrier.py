"""What a volume holds, read and written through a container of the app's own image that is never started.

Docker reads and writes paths of such a container as tar archives (API 1.41, ContainerArchive and PutContainerArchive),
so nothing of the image runs and none of its programs is needed. Modes, owners, times in seconds, links, devices and
file capabilities are kept; other extended attributes are not in Docker's archives, sockets neither, and what is sparse
is written out.
"""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from naru.domain.errors import Conflict, NotFound, Unavailable
from naru.domain.image import Image
from naru.engines.base import Stored
from naru.engines.dockerapi import images
from naru.engines.dockerapi.translate import Json, belongs, labels, volume_name
from naru.engines.dockerapi.wire import Wire
from naru.oci.tar import LAYER, TarStream

CARRIER_LABEL = "naru.carrier"
"""On a container that only carries: whose it is, as OWNER/APP."""
_PLACE = "/naru-volume"
_GLANCE = 0.1
_LOOKS = 300
"""How often to look, a glance apart, whether a container that is being removed has gone."""
_HEAD = 1 << 16
"""Bytes of an archive that hold its first entry."""


async def volumes(wire: Wire, app: str) -> list[Stored]:
    """List the app's volumes on this engine, by name; where it keeps one since when tells it from all others.

    Raises Conflict for one that was made through another target: an engine can be reached as itself and as a node of a
    swarm, and what would be made anew here is what the app has there.
    """
    found = sorted(await wire.volumes_of_any(app), key=lambda one: one.name)
    if others := [one.name for one in found if not belongs(one.labels, wire.owner, app)]:
        raise Conflict(
            f"{wire.name} finds the volume {others[0]} in its place, made through another target of the same engine",
            "choose a target that keeps its volumes elsewhere; remove that volume only when nothing needs it",
        )
    prefix = len(volume_name(app, ""))
    return [Stored(one.name[prefix:], f"{one.mountpoint} since {one.created_at}") for one in found]


async def has(wire: Wire, app: str, volume: str) -> bool:
    """Say whether the engine has a volume of the app."""
    return any(one.name == volume for one in await volumes(wire, app))


async def pack(wire: Wire, app: str, image: Image, volume: str) -> AsyncIterator[bytes]:
    """Read what a volume holds as a tar archive, its root first; raises NotFound without the volume."""
    if not await has(wire, app, volume):
        raise NotFound(f"{wire.name} has no volume {volume} of {app}", "look at its volumes with docker volume ls")
    async with _carrier(wire, app, image, volume) as container:
        async for chunk in wire.archive(container, f"{_PLACE}/."):
            yield chunk


async def unpack(wire: Wire, app: str, image: Image, volume: str, archive: AsyncIterator[bytes]) -> None:
    """Make the volume anew and write an archive into it; raises Conflict when it is in use, or another's."""
    await clear(wire, app)
    name = volume_name(app, volume)
    if await has(wire, app, volume):
        await wire.delete_volume(name)
    held = await wire.create_volume({"Name": name, "Labels": labels(wire.owner, app)})
    if not belongs(held.labels, wire.owner, app):
        raise Conflict(f"a volume that Naru did not make for {app} is called {held.name}", "rename or remove it")
    head = bytearray()

    async def passing() -> AsyncIterator[bytes]:
        async for chunk in archive:
            head.extend(chunk[: _HEAD - len(head)])
            yield chunk

    async with _carrier(wire, app, image, volume) as container:
        await wire.unpack_all(container, _PLACE, passing())
        # Docker leaves the place itself as it is; its owner and mode come as an entry of the directory above.
        if root := _root(bytes(head)):
            await wire.unpack(container, root)


def _root(head: bytes) -> bytes:
    """Make an archive of the volume's root alone, from how the volume's begins; empty when it says nothing of it."""
    first = next(iter(TarStream(io.BytesIO(head), max_members=_HEAD, dialect=LAYER)), None)
    if first is None or first.path.rstrip("/") != ".":
        return b""
    told = first.attributes
    entry = tarfile.TarInfo(_PLACE.lstrip("/"))
    entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, told.mode, told.uid, told.gid
    entry.mtime = told.mtime // 10**9
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(entry)
    return out.getvalue()


async def clear(wire: Wire, app: str) -> None:
    """Remove carriers that were left behind, to the end: a volume that one holds cannot be removed.

    Raises Unavailable when one does not go.
    """
    for _ in range(_LOOKS):
        left = await wire.marked(f"{CARRIER_LABEL}={wire.owner}/{app}")
        if not left:
            return
        for container in left:
            await wire.discard(container)  # which returns at once when another removal of it is under way
        await asyncio.sleep(_GLANCE)
    raise Unavailable(f"{wire.name} does not remove the container {left[0][:12]}", "remove it with docker rm --force")


@asynccontextmanager
async def _carrier(wire: Wire, app: str, image: Image, volume: str) -> AsyncIterator[str]:
    held = await images.held(wire, image)
    if not held:
        raise NotFound(f"{wire.name} does not hold {image.reference}", "fetch it first")
    name = volume_name(app, volume)
    config: Json = {
        "Image": held,
        "Cmd": ["none"],
        "Labels": {CARRIER_LABEL: f"{wire.owner}/{app}"},
        "NetworkDisabled": True,
        "HostConfig": {"Mounts": [{"Type": "volume", "Source": name, "Target": _PLACE}]},
    }
    await clear(wire, app)
    container = await wire.create(f"{name}-carrier", config)
    try:
        yield container
    finally:
        await wire.discard(container)
