"""How fast a link is, from what came over it: nothing is sent to find out."""

from collections import deque
from typing import Final

_WINDOWS: Final = 300


class Meter:
    """Watches a count of bytes that only grows: a link is as fast as in the best of the last windows of its use."""

    def __init__(self) -> None:
        self._before: tuple[float, int] | None = None
        self._rates: deque[float] = deque(maxlen=_WINDOWS)

    def sample(self, now: float, total: int) -> None:
        """Take the count at a time in seconds; about one a second."""
        if self._before is not None:
            then, before = self._before
            if total > before and now > then:
                self._rates.append((total - before) / (now - then))
        self._before = now, total

    @property
    def rate(self) -> float:
        """Bytes a second; 0 while nothing came."""
        return max(self._rates, default=0.0)
