"""An app's volumes on the nodes of a swarm: each is local to the node where an instance ran first."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial

from naru.domain.errors import Conflict
from naru.domain.workload import Workload
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


async def remove(app: str, engines: Mapping[str, SwarmWire], elsewhere: Collection[str], released: Release) -> None:
    """Remove the app's volumes on the nodes within reach; raises Conflict when there may be others `elsewhere`."""
    names: set[str] = set()
    for wire in engines.values():
        for volume in await wire.volumes(app):
            names.add(volume.name)
            await released(partial(wire.delete_volume, volume.name))
    if names and elsewhere:
        raise Conflict(
            f"{app} is removed, but its volumes may be left on {', '.join(sorted(elsewhere))}, which only those nodes "
            "can remove",
            f"run there: docker volume rm {' '.join(sorted(names))}",
        )
