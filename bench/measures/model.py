"""Is the fluid model right? Empty nodes fetch the image at several uplinks; the seconds are held against the estimate.

Links are slowed so that each node has a core's time, as nodes have that do not share a machine (bench/dilation.py).
What agents take of processors is measured apart, by lone nodes at an uplink that is no limit, and so at no setting that
the model is tried at.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product
from statistics import median

from tests.fleets import Shape

from bench.dilation import core_each
from bench.figures import Figure, measured
from bench.site import LAN, Shop, prefetched, shop
from naru.control.distribute import PREPARE_SECONDS, QUIET_SECONDS, START_ROUND_TRIPS
from naru.domain.distribution import Way
from naru.lab.models.distribution import Burden, Site, estimate

ROUND_TRIP = 0.02
NODES = (1, 2, 4, 8)
UPLINKS = (50e6, 100e6, 200e6)
FREE = 1e9
"""An uplink that is no limit to an agent: what a node takes at it is its processors' work."""
HEADERS = 1514 / 1448 * (1 + 22 / 16384)
"""What frames of Ethernet with IPv4 and TCP's timestamps add to their contents, and records of TLS 1.3 to those."""
BEFORE = Burden(0, 0, 0, 0, round_trips=START_ROUND_TRIPS, prepare=PREPARE_SECONDS, pause=QUIET_SECONDS)


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting, with the seconds that it took and those that were expected."""

    nodes: int
    uplink: float
    seconds: float
    expected: float

    @property
    def error(self) -> float:
        """How far off the estimate is, of what happened."""
        return abs(self.expected - self.seconds) / self.seconds

    def __str__(self) -> str:
        return (
            f"{self.nodes} nodes, {self.uplink / 1e6:.0f} Mbit/s: {self.seconds:.1f} s, "
            f"expected {self.expected:.1f} s ({self.expected / self.seconds - 1:+.1%})"
        )


def measure() -> Iterator[Figure]:
    """Measure a lone node's work, then every setting."""
    with shop("1") as opened:
        free, _ = _transfer(opened, 1, FREE)
        work = free - estimate(Way.PEERS, _site(1, FREE), BEFORE).complete
        print(f"  work: {work:.1f} s", flush=True)
        trials = []
        for nodes, uplink in product(NODES, UPLINKS):
            seconds, size = _transfer(opened, nodes, uplink)
            burden = replace(BEFORE, missing=size * HEADERS, absent=size * HEADERS, work=work)
            trials.append(Trial(nodes, uplink, seconds, estimate(Way.PEERS, _site(nodes, uplink), burden).complete))
            print(f"  {trials[-1]}", flush=True)
    errors = [trial.error for trial in trials]
    day = datetime.now(UTC).date()
    for name, value, goal in (("median", median(errors), 0.10), ("worst", max(errors), 0.20)):
        yield measured(
            f"distribution-model-{name}",
            f"the model's {name} error over {len(trials)} settings of nodes and uplink, each node with a core's time",
            [value * 100],
            unit="%",
            goal=goal * 100,
            better="lower",
            against="what was measured; processors' work measured apart, by a lone node at an uplink that is no limit",
            day=day,
        )


def _site(nodes: int, uplink: float) -> Site:
    return Site(nodes, uplink / 8, LAN / 8, LAN / 8, ROUND_TRIP)


def _transfer(opened: Shop, count: int, uplink: float) -> tuple[float, float]:
    """Return how long so many empty nodes take to have an image at an uplink, and its bytes as they are sent."""
    slowed = core_each(count)
    with (
        opened.site(slowed.shape(Shape(count, uplink, ROUND_TRIP, LAN)), "1") as (sites, here),
        opened.nodes(f"model-{count}-{uplink:.0f}", here, sites.sites[0], engine=False) as nodes,
    ):
        size = opened.on_the_wire(here, "1")
        return slowed.seconds(prefetched(nodes, here.reference("1")), QUIET_SECONDS), size
