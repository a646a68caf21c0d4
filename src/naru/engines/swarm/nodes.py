"""Which nodes of a swarm have engines that we talk to: the manager, and those that the URL names.

A manager knows nothing of containers, images and volumes on other nodes; only their own engines do.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import parse_qs

from naru.domain.errors import Invalid, NaruError
from naru.engines.swarm.wire import SwarmWire

ANSWER_SECONDS = 5.0
"""How long another node's engine may take to say which node it is; until it does, its node is out of reach."""
ASK_AGAIN_SECONDS = 10.0
"""How long one that did not is left alone."""
_SCHEME = "swarm+"
_KINDS = ("unix://", "tcp://")


def engine_urls(url: str) -> tuple[str, ...]:
    """Read the URLs of a manager's engine and of other nodes' from swarm+tcp://MANAGER?node=tcp://HOST:PORT&node=….

    Raises Invalid for anything else behind the question mark.
    """
    manager, _, asked = url.removeprefix(_SCHEME).partition("?")
    query = parse_qs(asked, keep_blank_values=True)
    nodes = query.pop("node", [])
    if query or not all(node.startswith(_KINDS) for node in nodes):
        raise Invalid(
            f"the URL of a swarm says {', '.join(query) or 'a node that is no engine'}, which means nothing here",
            "write swarm+tcp://MANAGER:PORT?node=tcp://HOST:PORT&node=…, with one node= for each other node",
        )
    return (manager, *nodes)


class Reach:
    """The engines by their nodes' ids: the manager's, and those of other nodes."""

    def __init__(self, manager: SwarmWire, others: Sequence[SwarmWire]) -> None:
        self._manager = manager
        self._others = others
        self._known: dict[str, SwarmWire] = {}
        self._silent: dict[str, float] = {}
        """Until when engines are left alone, by their URLs, on the clock of the event loop."""

    async def engine(self, node: str) -> SwarmWire | None:
        """Return a node's engine; None when it is out of reach."""
        return (await self.engines((node,))).get(node)

    async def engines(self, nodes: Collection[str]) -> Mapping[str, SwarmWire]:
        """Return the engines of those of the nodes that are within reach; raises Unavailable without the manager's."""
        if not self._known.keys() >= set(nodes):
            await asyncio.gather(self._ask(self._manager), *map(self._try, self._others))
        return {node: self._known[node] for node in nodes if node in self._known}

    async def _ask(self, wire: SwarmWire) -> None:
        self._known[(await wire.membership()).swarm.node_id] = wire

    async def _try(self, wire: SwarmWire) -> None:
        now = asyncio.get_running_loop().time
        if now() < self._silent.get(wire.url, 0):
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._ask(wire)
        except (NaruError, TimeoutError):
            self._silent[wire.url] = now() + ASK_AGAIN_SECONDS
