"""When what arrived is made durable: once nothing more arrives and all is calm, as the disk's work holds up a start."""

import asyncio
import logging
from typing import Final, Protocol

from naru.agent.calm import Calm
from naru.domain.errors import NaruError

log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 5.0
_MOST_LOOKS: Final = 12
"""While more and more arrives, it is made durable at every so many looks."""


class Pending(Protocol):
    """What has objects that are not durable yet."""

    @property
    def pending(self) -> int:
        """How many."""

    def sync(self) -> int:
        """Make them durable; blocks."""


async def keep_durable(store: Pending, calm: Calm, *, every: float = EVERY_SECONDS) -> None:
    """Look at the store every so many seconds and make durable what is there, until cancelled."""
    before = looks = 0
    while True:
        await asyncio.sleep(every)
        await calm.reached()
        waiting = store.pending
        looks = looks + 1 if waiting else 0
        if not waiting or (waiting != before and looks < _MOST_LOOKS):
            before = waiting
            continue
        before = looks = 0
        try:
            await asyncio.to_thread(store.sync)
        except NaruError as error:
            log.warning("objects are not on the disk yet: %s", error)
