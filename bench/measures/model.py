"""Is the fluid model right? Empty nodes fetch and start the image at several links; seconds against the estimate.

Links are slowed so that each node has a core's time, as nodes have that do not share a machine (bench/dilation.py).
What processors take is measured apart, and so at no setting that the model is tried at: by a lone node at an uplink
that is no limit, and by a start with every file there already.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import product
from statistics import median

from tests.fleets import Shape

from bench.dilation import core_each
from bench.figures import Figure, measured
from bench.site import LAN, Shop, complete, prefetched, shop, started
from naru.control.distribute import PREPARE_SECONDS, QUIET_SECONDS, START_ROUND_TRIPS
from naru.domain.distribution import Way
from naru.lab.models.distribution import Burden, Site, estimate

ROUND_TRIP = 0.02
NODES = (1, 2, 4, 8)
UPLINKS = (50e6, 100e6, 200e6)
STARTS = ((1, 50e6, 0.06), (1, 100e6, 0.02), (1, 200e6, 0.02), (2, 100e6, 0.02), (4, 100e6, 0.02), (8, 100e6, 0.02))
"""Nodes, uplinks and round trips at which a start is tried."""
FREE = 1e9
"""An uplink that is no limit to an agent: what a node takes at it is its processors' work."""
HEADERS = 1514 / 1448 * (1 + 22 / 16384)
"""What frames of Ethernet with IPv4 and TCP's timestamps add to their contents, and records of TLS 1.3 to those."""
BEFORE = Burden(0, 0, 0, 0, round_trips=START_ROUND_TRIPS, prepare=PREPARE_SECONDS, pause=QUIET_SECONDS)


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting, with the seconds that it took and those that were expected, until `what`."""

    what: str

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
            f"{self.what}, {self.nodes} nodes, {self.uplink / 1e6:.0f} Mbit/s: {self.seconds:.2f} s, "
            f"expected {self.expected:.2f} s ({self.expected / self.seconds - 1:+.1%})"
        )


def measure() -> Iterator[Figure]:
    """Try the model at transfers of the whole image, then at starts."""
    with shop("1") as opened:
        transfers = tuple(_transfers(opened))
        starts = tuple(_starts(opened))
    day = datetime.now(UTC).date()
    yield from _errors("", "settings of nodes and uplink", transfers, day)
    yield from _errors("-ready", "settings, of the time until a service is ready", starts, day)


def _errors(mark: str, over: str, trials: Sequence[Trial], day: date) -> Iterator[Figure]:
    errors = [trial.error for trial in trials]
    for name, value, goal in (("median", median(errors), 0.10), ("worst", max(errors), 0.20)):
        yield measured(
            f"distribution-model{mark}-{name}",
            f"the model's {name} error over {len(trials)} {over}, each node with a core's time",
            [value * 100],
            unit="%",
            goal=goal * 100,
            better="lower",
            against="what was measured; processors' work measured apart, at no setting of these",
            day=day,
        )


def _transfers(opened: Shop) -> Iterator[Trial]:
    free, _ = _transfer(opened, 1, FREE)
    work = free - estimate(Way.PEERS, _site(1, FREE), BEFORE).complete
    print(f"  work: {work:.1f} s", flush=True)
    for nodes, uplink in product(NODES, UPLINKS):
        seconds, size = _transfer(opened, nodes, uplink)
        burden = replace(BEFORE, missing=size * HEADERS, absent=size * HEADERS, work=work)
        yield _told(
            Trial("complete", nodes, uplink, seconds, estimate(Way.PEERS, _site(nodes, uplink), burden).complete)
        )


def _transfer(opened: Shop, count: int, uplink: float) -> tuple[float, float]:
    """Return how long so many empty nodes take to have an image at an uplink, and its bytes as they are sent."""
    slowed = core_each(count)
    with (
        opened.site(slowed.shape(Shape(count, uplink, ROUND_TRIP, LAN)), "1") as (sites, here),
        opened.nodes(f"model-{count}-{uplink:.0f}", here, sites.sites[0], engine=False) as nodes,
    ):
        size = opened.on_the_wire(here, "1")
        return slowed.seconds(prefetched(nodes, here.reference("1")), QUIET_SECONDS), size


def _starts(opened: Shop) -> Iterator[Trial]:
    """Try starts: what a program does while its files arrive goes on beside them, so it is the model's `compute`."""
    compute = _warm(opened)
    print(f"  a start with every file there: {compute:.2f} s", flush=True)
    for count, uplink, round_trip in STARTS:
        slowed = core_each(count)
        with (
            opened.site(slowed.shape(Shape(count, uplink, round_trip, LAN)), "1") as (sites, here),
            opened.nodes(f"start-{count}-{uplink:.0f}", here, sites.sites[0]) as nodes,
        ):
            hot = opened.hot_on_the_wire(here, "1") * HEADERS
            seconds = slowed.seconds(started(nodes, here.reference("1")).last)
        burden = replace(BEFORE, hot=hot, absent_hot=hot, missing=hot, absent=hot, compute=compute)
        expected = estimate(Way.PEERS, _site(count, uplink, round_trip), burden).ready
        yield _told(Trial("ready", count, uplink, seconds, expected))


def _warm(opened: Shop) -> float:
    """Return how long a start takes on a node that has every file."""
    with (
        opened.site(Shape(1, FREE, ROUND_TRIP, LAN), "1") as (sites, here),
        opened.nodes("warm", here, sites.sites[0]) as nodes,
    ):
        complete(nodes, started(nodes, here.reference("1")).begun)
        for one in nodes:
            if one.engine:
                one.engine.clear()
        return started(nodes, here.reference("1")).last


def _site(nodes: int, uplink: float, round_trip: float = ROUND_TRIP) -> Site:
    return Site(nodes, uplink / 8, LAN / 8, LAN / 8, round_trip)


def _told(trial: Trial) -> Trial:
    print(f"  {trial}", flush=True)
    return trial
