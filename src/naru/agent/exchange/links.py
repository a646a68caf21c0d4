"""What a scheduler knows of one peer: what it has, what it was asked for, and how fast it answers."""

from dataclasses import dataclass, field
from typing import Final

from naru.agent.source import Priority

NEAR: Final = (0.001, 50e6)
FAR: Final = (0.05, 2e6)
"""Round trip (seconds) and rate (bytes a second) assumed at first: of a peer of the own site, and of others."""

_RISE: Final = 0.5
_FALL: Final = 0.05
"""How much a sample counts that is above the rate, and one below: that may only mean that little was asked for."""
_SAMPLE_SECONDS: Final = 0.05
_AHEAD_SECONDS: Final = 0.5
_LEAST_AHEAD: Final = 1 << 20
_MOST_AHEAD: Final = 64 << 20
_LEAST_BEHIND: Final = 256 << 10
_SLACK_SECONDS: Final = 0.02


@dataclass(slots=True)
class Link:
    """One peer. Sets of pieces are bits (bits.py).

    `heard` says whether it answered for this image, `member` whether it seeks or has the image. `asked` is what was
    asked by priority and did not come yet, `relays` those of them which it may still have to fetch itself, `refused`
    what it could not fetch. `backlog` counts bytes asked that are no relays.
    """

    name: str
    mate: bool
    heard: bool = False
    member: bool = False
    has: int = 0
    coming: int = 0
    asked: list[int] = field(default_factory=lambda: [0, 0, 0])
    relays: int = 0
    refused: int = 0
    backlog: int = 0
    stale: int = 0
    progress: float = 0.0
    rtt: float = 0.0
    rate: float = 0.0
    _since: float = 0.0
    _bytes: int = 0

    def __post_init__(self) -> None:
        """Begin with what is usual for the distance."""
        self.rtt, self.rate = NEAR if self.mate else FAR

    @property
    def flying(self) -> int:
        """All that was asked and did not come yet."""
        return self.asked[0] | self.asked[1] | self.asked[2]

    def room(self, priority: Priority) -> float:
        """Return how many bytes may be asked on top of what is asked.

        What is demanded may always. A profile may fill the link for half a second. The background may have as much
        under way as the link carries in one and a half round trips, so that it fills no queue on the way, where
        something that is demanded then would wait; and one piece is asked behind another, as a thin link would be
        empty from the end of a large one to the beginning of the next.
        """
        match priority:
            case Priority.DEMAND:
                return float("inf")
            case Priority.PROFILE:
                window = max(_LEAST_AHEAD, self.rate * (2 * self.rtt + _AHEAD_SECONDS))
            case _:
                window = max(_LEAST_BEHIND, self.rate * (1.5 * self.rtt + _SLACK_SECONDS))
                if (self.flying & ~self.relays).bit_count() == 1:
                    return window
        return min(_MOST_AHEAD, window) - self.backlog

    def eta(self, size: int, priority: Priority) -> float:
        """Return the seconds until a piece of that size would be here; what is demanded passes the backlog."""
        behind = 0 if priority is Priority.DEMAND else self.backlog
        return self.rtt + (behind + size) / self.rate

    def ask(self, number: int, size: int, priority: Priority, *, relay: bool, now: float) -> None:
        """Note that a piece is asked for."""
        if not self.flying:
            self.progress = self._since = now
            self._bytes = 0
        bit = 1 << number
        self.asked[priority] |= bit
        if relay:
            self.relays |= bit
        else:
            self.backlog += size

    def raise_to(self, priority: Priority, bits: int) -> None:
        """Note that pieces which were asked for are asked again, with a better priority."""
        for lower in range(priority + 1, len(self.asked)):
            self.asked[lower] &= ~bits
        self.asked[priority] |= bits

    def settle(self, number: int, size: int) -> bool:
        """Note that a piece is not awaited any more; False when it was not."""
        bit = 1 << number
        if not self.flying & bit:
            return False
        self.asked = [one & ~bit for one in self.asked]
        if self.relays & bit:
            self.relays &= ~bit
        else:
            self.backlog -= size
        return True

    def received(self, now: float) -> None:
        """Note that bytes came."""
        self.progress = now

    def delivered(self, size: int, now: float) -> None:
        """Measure: a piece of so many bytes, before compression, has come."""
        self.progress = now
        self._bytes += size
        elapsed = now - self._since
        if elapsed < _SAMPLE_SECONDS:
            return
        if not self.relays:
            seen = self._bytes / elapsed
            self.rate += (_RISE if seen > self.rate else _FALL) * (seen - self.rate)
        self._since, self._bytes = now, 0
