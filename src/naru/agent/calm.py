"""When the rest of an image may follow: once no start is under way on this node.

A start shares its link and its processors with what comes behind it. How long one lasts nobody says; it is given some
seconds in which the node's processors were free, so that it has more of them where they are overloaded.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

PRESSURE: Final = Path("/proc/pressure/cpu")
_MOST_HINDERED: Final = 0.9
"""What part of some time counts as hindered at most: a node may be overloaded for ever."""
_EXPECTED_SECONDS: Final = 5.0
_BEGUN_SECONDS: Final = 1.5
_LOOK_SECONDS: Final = 0.25


def stalled(told: Path = PRESSURE) -> float:
    """Return the seconds since the machine's start in which some program had to wait for a processor.

    From the kernel's Documentation/accounting/psi.rst, in microseconds there; always 0 where it does not say.
    """
    with suppress(OSError, ValueError):
        some, _, _ = told.read_text().partition("\n")
        return int(some.rpartition("total=")[2]) / 1e6
    return 0.0


class FreeTime:
    """A clock, in seconds, that hardly goes on while programs wait for processors."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, stalled: Callable[[], float] = stalled) -> None:
        self._clock = clock
        self._stalled = stalled
        self._seen = clock(), stalled()
        self._time = 0.0

    def __call__(self) -> float:
        """Return the time."""
        before, seen = self._seen, (self._clock(), self._stalled())
        passed = seen[0] - before[0]
        self._time += passed - min(seen[1] - before[1], _MOST_HINDERED * passed)
        self._seen = seen
        return self._time


class Calm:
    """The starts of a node, by image. It is looked at every `look` seconds."""

    def __init__(self, clock: Callable[[], float] | None = None, *, look: float = _LOOK_SECONDS) -> None:
        self._clock = clock or FreeTime()
        self._look = look
        self._until: dict[str, float] = {}

    def expect(self, image: str) -> None:
        """The image was ordered or pulled: a start of it is to be expected, for some seconds."""
        self._until[image] = self._clock() + _EXPECTED_SECONDS

    def begin(self, image: str) -> None:
        """A container starts on the image."""
        self._until[image] = self._clock() + _BEGUN_SECONDS

    def release(self, image: str) -> None:
        """Expect no start of the image any more."""
        self._until.pop(image, None)

    async def reached(self) -> None:
        """Return when no start is under way."""
        while (left := max(self._until.values(), default=0.0) - self._clock()) > 0:  # noqa: ASYNC110 - time is what ends it
            await asyncio.sleep(min(left, self._look))
