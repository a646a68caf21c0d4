"""One empty node, and eight, side by side with what others have: SOCI, stargz, and a BitTorrent swarm.

Same machine, links, registry, containerd and image, and the same definition of ready: NumPy imported and an HTTP 200.
The image is prepared for each beside the registry before, as it is for ours by an agent's index and profile.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import median

from tests.fleets import Shape

from bench.bittorrent import swarm
from bench.dilation import Dilation, core_each
from bench.figures import Figure, measured
from bench.measures.distribution import deploy, pulled
from bench.origin import layers
from bench.rivals import RIVALS, prepare, program, registries, start
from bench.site import LAN, LINKS, Shop, shop, started
from naru.control.distribute import QUIET_SECONDS

REPEATS = int(os.environ.get("NARU_BENCH_REPEATS", "3"))
SWARM = 8


def measure() -> Iterator[Figure]:
    """Measure lone nodes at each link, then the swarm; nothing where a program of a rival is missing."""
    for name in ("soci", "ctr-remote", "aria2c", "openssl", *(rival.served for rival in RIVALS)):
        program(name)
    with shop("1") as opened:
        for rate, round_trip, _ in LINKS:
            yield from _lone(opened, rate, round_trip)
        for slowed in (Dilation(1.0), core_each(SWARM)):
            yield from _swarm(opened, slowed)


def _lone(opened: Shop, rate: float, round_trip: float) -> Iterator[Figure]:
    mark, link = f"{rate / 1e6:.0f}", f"{rate / 1e6:.0f} Mbit/s and {round_trip * 1000:.0f} ms"
    prepared = opened.home / "prepared"
    ours: list[float] = []
    theirs: dict[str, list[float]] = {rival.name: [] for rival in RIVALS}
    with (
        opened.site(Shape(1, rate, round_trip, LAN), "1") as (sites, here),
        registries(opened.home / f"secure-{mark}", opened.storage, here.host, here.address) as known,
    ):
        if not prepared.exists():
            prepare(prepared, here.host, known)
        (host,) = sites.sites[0].nodes
        for turn in range(REPEATS):
            with opened.nodes(f"ours-{mark}-{turn}", here, sites.sites[0]) as nodes:
                ours += started(nodes, here.reference("1")).seconds
            for rival in RIVALS:
                home = opened.home / f"{rival.name}-{mark}-{turn}"
                theirs[rival.name].append(start(rival, home, host, known))
        plain = pulled(opened, f"pulled-{mark}", here, sites.sites[0])
    for name, said, seconds in (
        *((rival.name, rival.said, theirs[rival.name]) for rival in RIVALS),
        ("plain", "containerd's own pull", [plain]),
    ):
        yield measured(
            f"distribution-rival-{name}-{mark}",
            f"{said} over ours: one empty node ready, {link}",
            [each / median(ours) for each in seconds],
            unit="×",
            goal=1.0,
            better="higher",
            against=f"{median(seconds):.2f} s over our {median(ours):.2f} s in the same run",
            day=datetime.now(UTC).date(),
        )


def _swarm(opened: Shop, slowed: Dilation) -> Iterator[Figure]:
    rate, round_trip, _ = LINKS[0]
    shape = slowed.shape(Shape(SWARM, rate, round_trip, LAN))
    mark = f"{SWARM:02}-dilated" if slowed.factor > 1 else f"{SWARM:02}"
    with opened.site(shape, "1") as (sites, here):
        place = sites.sites[0]
        before = place.received()
        blobs = layers(opened.storage, "1")
        theirs = slowed.seconds(swarm(opened.home / f"swarm-{mark}", blobs, here.host, place.nodes))
        copies = (place.received() - before) / sum(blob.stat().st_size for blob in blobs)
    took = deploy(opened, f"ours-{mark}", shape)
    ours = slowed.seconds(took.complete, QUIET_SECONDS)
    how = f"links slowed {slowed.factor:g} times so that each has a core's time" if slowed.factor > 1 else "as they are"
    yield measured(
        f"distribution-rival-swarm-{mark}",
        f"a BitTorrent swarm that brings the compressed layers over ours: {SWARM} empty nodes complete, {how}",
        [theirs / ours],
        unit="×",
        better="higher",
        against=f"aria2, {theirs:.1f} s and {copies:.2f} copies from outside, over our {ours:.1f} s and "
        f"{took.egress / took.size:.2f}; services run after {slowed.seconds(took.ready):.1f} s with ours, "
        "and once layers are unpacked with a swarm",
        day=datetime.now(UTC).date(),
    )
