"""What is simulated, and what came of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated. Sizes in bytes, rates in bytes a second, times in seconds.

    `hot` is how many of the pieces a start needs: they are wanted first, and a node is ready `engine` seconds after
    they are there. Nodes start evenly within `spread`. `deaths` are times and shares of nodes that die then.
    """

    sites: int
    nodes: int
    pieces: tuple[int, ...]
    hot: int = 0
    uplink: float = 12.5e6
    lan: float = 125e6
    round_trip: float = 0.02
    lan_round_trip: float = 0.0005
    index: float = 0.1
    engine: float = 0.0
    spread: float = 0.0
    deaths: tuple[tuple[float, float], ...] = ()
    limit: float = 3600.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: seconds from each node's start until ready and until complete, of those that live.

    `outside` is the bytes that each site got from outside, `twice` the pieces that a site asked for twice there,
    `failed` the pieces that nodes gave up, `incomplete` the living nodes that lack something at the end.
    """

    makespan: float
    ready: tuple[float, ...]
    complete: tuple[float, ...]
    outside: tuple[int, ...]
    twice: int
    failed: int
    incomplete: int

    def percentile(self, share: float) -> float:
        """Return the time to ready that this share of the nodes kept."""
        return self.ready[min(len(self.ready) - 1, int(share * len(self.ready)))]
