"""An app's volumes on the nodes of a swarm: each is local to the node where an instance ran first."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from itertools import pairwise

from naru.domain.errors import Conflict, NotFound, Unavailable
from naru.domain.workload import Workload
from naru.engines.base import Stored
from naru.engines.dockerapi import carrier
from naru.engines.dockerapi.translate import volume_name, volume_number
from naru.engines.swarm.wire import SwarmWire

Release = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]
"""Removes something as soon as the nodes have let go of it."""


async def homes(engines: Mapping[str, SwarmWire], workload: Workload, numbers: Collection[int]) -> Mapping[int, str]:
    """Say by instance's number on which node its volumes are; nothing of those that no node has, or several have."""
    held = await asyncio.gather(*(wire.volumes(workload.app) for wire in engines.values()))
    names = {node: {one.name for one in found} for node, found in zip(engines, held, strict=True)}
    found: dict[int, str] = {}
    for number in numbers:
        wanted = {volume_name(workload.app, one.name, volume_number(workload, number)) for one in workload.volumes}
        match [node for node in names if wanted & names[node]]:
            case [node]:
                found[number] = node
    return found


async def stored(engines: Mapping[str, SwarmWire], app: str) -> list[Stored]:
    """List the app's volumes on all of these nodes; raises Conflict for one that several have."""
    found = await asyncio.gather(*(carrier.volumes(wire, app) for wire in engines.values()))
    everywhere = sorted((one for held in found for one in held), key=lambda one: one.name)
    if twice := [one.name for one, next_ in pairwise(everywhere) if one.name == next_.name]:
        raise _several(app, twice[0])
    return everywhere


async def holder(engines: Mapping[str, SwarmWire], app: str, volume: str) -> SwarmWire:
    """Return the engine that alone has a volume; raises Conflict when several have it, NotFound when none has."""
    match [wire for wire in engines.values() if await carrier.has(wire, app, volume)]:
        case [wire]:
            return wire
        case []:
            raise NotFound(f"no node has the volume {volume} of {app}", "see that the nodes are there")
        case _:
            raise _several(app, volume)


async def vacate(
    engines: Mapping[str, SwarmWire], able: Mapping[str, SwarmWire], app: str, volume: str, released: Release
) -> SwarmWire:
    """Remove a volume from all nodes, and return the engine where it is to be: beside the app's others."""
    held = {node: {one.name for one in await carrier.volumes(wire, app)} for node, wire in engines.items()}
    candidates = [node for node in able if held[node] - {volume}] or sorted(able)
    if not candidates:
        raise Unavailable(f"no node takes the volumes of {app}", "make a node active")
    for node, wire in engines.items():
        await carrier.clear(wire, app)
        if volume in held[node]:
            await released(partial(wire.delete_volume, volume_name(app, volume)))
    return able[candidates[0]]


def _several(app: str, volume: str) -> Conflict:
    return Conflict(
        f"several nodes have a volume {volume} of {app}, each with data of its own",
        f"remove the wrong ones: docker volume rm {volume_name(app, volume)}",
    )


def out_of_reach(app: str, far: Collection[str]) -> Conflict:
    """Say why volumes cannot be written."""
    return Conflict(
        f"the volumes of {app} may be on {', '.join(far)}, whose engines are out of reach",
        "name them in the swarm's URL with node=",
    )


async def remove(app: str, engines: Mapping[str, SwarmWire], elsewhere: Collection[str], released: Release) -> None:
    """Remove the app's volumes on the nodes within reach; raises Conflict when there may be others `elsewhere`."""
    names: set[str] = set()
    for wire in engines.values():
        await carrier.clear(wire, app)
        for volume in await wire.volumes(app):
            names.add(volume.name)
            await released(partial(wire.delete_volume, volume.name))
    if names and elsewhere:
        raise Conflict(
            f"{app} is removed, but its volumes may be left on {', '.join(sorted(elsewhere))}, which only those nodes "
            "can remove",
            f"run there: docker volume rm {' '.join(sorted(names))}",
        )
