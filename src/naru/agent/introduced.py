"""Agents that were named by their address alone (exchange.discover.Discovery): each is asked who it is."""

import asyncio
import logging
from collections.abc import Sequence

from naru.agent.exchange.channel import connect
from naru.agent.exchange.discover import Seen
from naru.agent.exchange.identity import Identity
from naru.domain.errors import NaruError

log = logging.getLogger(__name__)


class Introduced:
    """Agents at addresses that an operator wrote down; an answer counts as long as the agent runs."""

    def __init__(self, identity: Identity, addresses: Sequence[tuple[str, int]]) -> None:
        self._identity = identity
        self._addresses = addresses
        self._known: dict[tuple[str, int], Seen] = {}

    async def peers(self) -> Sequence[Seen]:
        """Return those that have said who they are."""
        await asyncio.gather(*(self._ask(address) for address in self._addresses if address not in self._known))
        return tuple(self._known.values())

    async def _ask(self, address: tuple[str, int]) -> None:
        try:
            channel = await connect(*address, self._identity.client())
        except NaruError as error:
            log.debug("%s:%d does not say who it is: %s", *address, error)
            return
        if channel.member is not None:
            self._known[address] = Seen(channel.member.node, channel.member.site, *address)
        await channel.close()
