"""What is waited for, by priority."""

from dataclasses import dataclass, field

from naru.agent.source import Priority


@dataclass(slots=True)
class Wants:
    """Sets of pieces (bits.py) by priority; a piece is in one of them at most."""

    by: list[int] = field(default_factory=lambda: [0, 0, 0])

    def add(self, wanted: int, priority: Priority) -> None:
        """Wait for pieces; those that are waited for with a better priority stay there."""
        for better in range(priority):
            wanted &= ~self.by[better]
        for worse in range(priority + 1, len(self.by)):
            self.by[worse] &= ~wanted
        self.by[priority] |= wanted

    def remove(self, gone: int) -> None:
        """Wait for these no more."""
        demand, profile, background = self.by
        if (demand | profile | background) & gone:
            self.by = [demand & ~gone, profile & ~gone, background & ~gone]

    @property
    def all(self) -> int:
        """All pieces waited for."""
        return self.by[0] | self.by[1] | self.by[2]
