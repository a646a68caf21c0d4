"""Image distribution to edge nodes through real containerds, side by side with their own pull.

One node and fleets of a site, empty at first: ready is from the pull to the first HTTP 200 of a service that has
imported NumPy. Bytes are those that the site's router received from outside, headers included. Fleets run twice: as
they are, where this machine's cores are the limit, and dilated (bench/dilation.py), each node with a core's time.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

from tests import cri
from tests.containerds import Pods, containerd
from tests.fleets import Place, Shape

from bench.dilation import Dilation, core_each
from bench.edge import EdgeNode, Outside
from bench.figures import Figure, measured
from bench.origin import PAUSE
from bench.rest import rest
from bench.site import LAN, LINKS, Shop, complete, prefetched, shop, started
from naru.control.distribute import QUIET_SECONDS
from naru.lab.models.distribution import kumar_ross

FLEETS = (8, 16)
REPEATS = int(os.environ.get("NARU_BENCH_REPEATS", "3"))


def measure() -> Iterator[Figure]:
    """Measure one node, fleets, and an update, in this order."""
    with shop("1", "2") as opened:
        yield from _one_node(opened)
        for count in FLEETS:
            yield from _fleet(opened, count)
        for count in FLEETS:
            yield from _dilated(opened, count)
        yield from _update(opened)


def _one_node(opened: Shop) -> Iterator[Figure]:
    for rate, round_trip, goal in LINKS:
        link = f"{rate / 1e6:.0f} Mbit/s and {round_trip * 1000:.0f} ms"
        mark = f"{rate / 1e6:.0f}"
        with opened.site(Shape(1, rate, round_trip, LAN), "1") as (sites, here):
            ours: list[float] = []
            for turn in range(REPEATS):
                with opened.nodes(f"one-{mark}-{turn}", here, sites.sites[0]) as nodes:
                    ours += started(nodes, here.reference("1")).seconds
            plain = pulled(opened, f"plain-{mark}", here, sites.sites[0])
        day = datetime.now(UTC).date()
        yield measured(
            f"distribution-one-{mark}",
            f"one empty node ready through containerd, {link}",
            ours,
            unit="s",
            goal=goal,
            better="lower",
            against=f"containerd's own pull: {plain:.1f} s",
            day=day,
        )
        yield measured(
            f"distribution-plain-{mark}",
            f"the same by containerd's own pull, {link}",
            [plain],
            unit="s",
            better="lower",
            day=day,
        )


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deployment on all nodes of a site took: seconds as measured, and bytes.

    `warm` is the last one ready when every file is there already. `size` is the objects as they are sent, each once.
    """

    ready: float
    complete: float
    warm: float
    egress: float
    size: float


def deploy(opened: Shop, name: str, shape: Shape) -> Deployed:
    """Start the image on all nodes of an empty site at once, wait until they have all of it, and start it again."""
    with opened.site(shape, "1") as (sites, here):
        size = opened.on_the_wire(here, "1")  # it packs all of the image: before the machine is at rest
        with opened.nodes(name, here, sites.sites[0]) as nodes:
            before = sites.sites[0].received()
            ready = started(nodes, here.reference("1"))
            whole = complete(nodes, ready.begun)
            egress = sites.sites[0].received() - before
            for one in nodes:
                if one.engine:
                    one.engine.clear()
            rest()
            warm = started(nodes, here.reference("1"))
    return Deployed(ready.last, whole, warm.last, egress, size)


def _fleet(opened: Shop, count: int) -> Iterator[Figure]:
    rate, round_trip, _ = LINKS[0]
    took = deploy(opened, f"fleet-{count}", Shape(count, rate, round_trip, LAN))
    day = datetime.now(UTC).date()
    whom = f"{count} empty nodes of one site at once, all on this machine"
    yield measured(
        f"distribution-fleet-{count:02}",
        f"{whom}: the last one ready",
        [took.ready],
        unit="s",
        goal=3.5,
        better="lower",
        against=f"the same with every file there already: {took.warm:.1f} s",
        day=day,
    )
    yield from _carried(f"{count:02}", whom, count, took, took.complete, day)


def _dilated(opened: Shop, count: int) -> Iterator[Figure]:
    rate, round_trip, _ = LINKS[0]
    slowed: Dilation = core_each(count)
    took = deploy(opened, f"dilated-{count}", slowed.shape(Shape(count, rate, round_trip, LAN)))
    day = datetime.now(UTC).date()
    whom = (
        f"{count} empty nodes of one site at once, links slowed {slowed.factor:g} times so that each has a core's time"
    )
    yield measured(
        f"distribution-fleet-{count:02}-dilated",
        f"{whom}: the last one ready, in seconds of that time",
        [slowed.seconds(took.ready)],
        unit="s",
        goal=3.5,
        better="lower",
        against=f"the same with every file there already: {slowed.seconds(took.warm):.2f} s",
        day=day,
    )
    whole = slowed.seconds(took.complete, QUIET_SECONDS)
    yield from _carried(f"{count:02}-dilated", whom, count, took, whole, day)


def _carried(mark: str, whom: str, count: int, took: Deployed, whole: float, day: date) -> Iterator[Figure]:
    rate, _, _ = LINKS[0]
    bound = kumar_ross(took.size, rate / 8, [LAN / 8] * count, [LAN / 8] * count)
    yield measured(
        f"distribution-complete-{mark}",
        f"{whom}: all complete",
        [whole / bound],
        unit="×",
        goal=1.25,
        better="lower",
        against=f"the Kumar-Ross bound, {bound:.1f} s",
        day=day,
    )
    yield measured(
        f"distribution-egress-{mark}",
        f"{whom}: bytes from outside",
        [took.egress / took.size],
        unit="×",
        goal=1.05,
        better="lower",
        against=f"the objects and the index as they are sent, each once, {took.size / 1e6:.0f} MB",
        day=day,
    )


def _update(opened: Shop) -> Iterator[Figure]:
    rate, round_trip, _ = LINKS[0]
    with (
        opened.site(Shape(4, rate, round_trip, LAN), "1", "2") as (sites, here),
        opened.nodes("update", here, sites.sites[0], engine=False) as nodes,
    ):
        prefetched(nodes, here.reference("1"))
        before = sites.sites[0].received()
        prefetched(nodes, here.reference("2"))
        egress = sites.sites[0].received() - before
        missing = opened.on_the_wire(here, "2", held="1")
    yield measured(
        "distribution-egress-update",
        "an update that changes 5 % of the image, on 4 nodes of one site: bytes from outside",
        [egress / missing],
        unit="×",
        goal=1.05,
        better="lower",
        against=f"the changed objects and the new index as they are sent, each once, {missing / 1e6:.1f} MB",
        day=datetime.now(UTC).date(),
    )


def pulled(opened: Shop, name: str, here: Outside, place: Place) -> float:
    """Return how long containerd's own pull, unpacking and start take on an empty node."""
    host = place.nodes[0]
    pods = Pods("overlayfs", f"{here.address}/{PAUSE}", here.address)
    with containerd(opened.home / name / "engine", host, pods=pods) as engine:
        cri.pull(engine.socket, pods.pause)
        rest()
        return EdgeNode(host, here.agent, engine).ready(here.reference("1"))
