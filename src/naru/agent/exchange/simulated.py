"""The links and nodes of a simulation."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from naru.agent.exchange import bits
from naru.agent.exchange.schedule import Schedule
from naru.agent.source import Priority


class Server:
    """A link's sending side: carries the pieces of its queues in turn."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.busy = False
        self._queues: dict[str, tuple[deque[int], deque[int], deque[int]]] = {}
        self._turn: deque[str] = deque()
        self._waiting = 0

    def put(self, to: str, numbers: Iterable[int], priority: Priority) -> None:
        """Queue pieces for one who asked."""
        if to not in self._queues:
            self._queues[to] = deque(), deque(), deque()
            self._turn.append(to)
        queue = self._queues[to][priority]
        before = len(queue)
        queue.extend(numbers)
        self._waiting += len(queue) - before

    def cancel(self, to: str, chosen: int) -> None:
        """Carry these no more."""
        for queue in self._queues.get(to, ()):
            for number in [number for number in queue if chosen >> number & 1]:
                queue.remove(number)
                self._waiting -= 1

    def raise_to(self, to: str, numbers: tuple[int, ...], priority: Priority) -> tuple[int, ...]:
        """Return those of the numbers that waited here, and wait no longer."""
        chosen = bits.of(numbers)
        waiting = {n for queue in self._queues.get(to, ()) for n in queue if chosen >> n & 1}
        self.cancel(to, chosen)
        return tuple(n for n in numbers if n in waiting)

    def next(self) -> tuple[str, int] | None:
        """Return what is carried next, and to whom; what is most urgent first, in turn for all who ask."""
        for priority in Priority if self._waiting else ():
            for _ in range(len(self._turn)):
                to = self._turn[0]
                self._turn.rotate(-1)
                if queue := self._queues[to][priority]:
                    self._waiting -= 1
                    return to, queue.popleft()
        return None


@dataclass(slots=True, eq=False)
class Node:
    """One agent: its link, its part of the site's state, and when it was done (seconds, -1 before)."""

    name: str
    site: int
    up: Server
    started: float = 0.0
    alive: bool = True
    schedule: Schedule | None = None
    thinking: bool = False
    down_free: float = 0.0
    ready: float = -1.0
    complete: float = -1.0
    listeners: list["Node"] = field(default_factory=list)
    waiting: dict[int, dict[str, Priority]] = field(default_factory=dict)
    fresh: list[int] = field(default_factory=list)
