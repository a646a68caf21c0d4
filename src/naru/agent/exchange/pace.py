"""An upload cap: a token bucket."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

_BURST_SECONDS: Final = 0.1
_LEAST_BURST: Final = 64 << 10


class Pace:
    """Lets `rate` bytes a second pass, None for all; shared by everything that sends. `clock` counts seconds."""

    def __init__(
        self,
        rate: float | None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._burst = max(_LEAST_BURST, (rate or 0.0) * _BURST_SECONDS)
        self._left = self._burst
        self._at = clock()

    async def take(self, size: int) -> None:
        """Return when so many bytes may be sent; those that wait go in the order in which they came."""
        if self._rate is None:
            return
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - size
        self._at = now
        if self._left < 0:
            await self._sleep(-self._left / self._rate)
