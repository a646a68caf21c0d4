"""Many nodes on few cores: time dilation.

On a network slowed k times, k times as much processor work is done for each byte that arrives, so a program that is
timed in seconds of the network (measured seconds over k) runs as on a machine k times as fast. Eight nodes that share
two cores have a quarter of a core each; with links slowed 4 times, each has what it would have on a core of its own.
(D. Gupta et al., "To Infinity and Beyond: Time-Warped Network Emulation", NSDI 2006; "DieCast", NSDI 2008.)

Here the network alone is slowed, not the programs' clocks: their timers run k times too fast in such seconds. Where
one is known to pass once in what is measured, `seconds` counts it whole. And a node that is busy while others rest has
more than its core: a program of one thread, such as an agent, up to k cores.
"""

import os
from dataclasses import dataclass

from tests.fleets import Shape


@dataclass(frozen=True, slots=True)
class Dilation:
    """A network slowed `factor` times."""

    factor: float

    def shape(self, shape: Shape) -> Shape:
        """Slow the links of a site; what they carry within a round trip stays the same."""
        k = self.factor
        return Shape(shape.nodes, shape.uplink / k, shape.round_trip * k, shape.lan / k)

    def seconds(self, measured: float, timers: float = 0.0) -> float:
        """Return measured seconds in those of the network, with `timers` seconds among them that nobody slowed."""
        return (measured - timers) / self.factor + timers


def core_each(nodes: int, cores: int | None = None) -> Dilation:
    """Give so many nodes a core's time each on a machine with fewer; as it is where there are enough."""
    return Dilation(max(1.0, nodes / (cores or os.cpu_count() or 1)))
