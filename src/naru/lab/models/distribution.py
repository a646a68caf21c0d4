"""How long an image takes to reach the nodes of a site: a fluid model.

Bytes are a fluid that fills nodes at the rates of their links. `kumar_ross` is the least time in which any scheme can
give a file to all peers of a set (R. Kumar and K. Ross, "Peer-assisted file distribution: the minimum distribution
time", HotWeb 2006, theorem 1). `qiu_srikant` is the steady state of a swarm that peers join and leave (D. Qiu and
R. Srikant, "Modeling and performance analysis of BitTorrent-like peer-to-peer networks", SIGCOMM 2004, section 3).
`estimate` applies the first to a site behind one uplink, whose nodes start before their files are complete, and
`unfold` follows nodes that arrive over time.

Sizes are in bytes, rates in bytes per second, times in seconds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from naru.domain.distribution import Estimate, Way


def kumar_ross(size: float, seed: float, uploads: Sequence[float], downloads: Sequence[float]) -> float:
    """Return the least time for a file of `size` to reach all peers: max{F/u_s, F/d_min, NF/(u_s + Σuᵢ)}.

    `seed` is the upload rate of who has the file; the others have the rates at the same place of `uploads` and
    `downloads`.
    """
    if not downloads:
        return 0.0
    return max(size / seed, size / min(downloads), len(downloads) * size / (seed + math.fsum(uploads)))


@dataclass(frozen=True, slots=True)
class Steady:
    """The steady state of a swarm: mean peers that still fetch, mean seeds, mean seconds of a fetch."""

    fetching: float
    seeding: float
    seconds: float


def qiu_srikant(
    arrivals: float, upload: float, download: float, leaving: float, *, useful: float = 1.0, giving_up: float = 0.0
) -> Steady:
    """Return the steady state of the swarm: T = 1/(θ + β), 1/β = max{1/c, (1/μ - 1/γ)/η}.

    `arrivals` is new peers a second (λ); `upload` (μ) and `download` (c) are files a second; a seed leaves at rate
    `leaving` (γ), one that fetches gives up at rate `giving_up` (θ); `useful` (η) is the share of its upload that a
    fetching peer can use.
    """
    # A seed that stays long enough makes uploads plentiful: then downloads are the limit, as are they when γ <= μ.
    by_upload = (1 / upload - 1 / leaving) / useful
    beta = 1 / max(1 / download, by_upload)
    stay = 1 + giving_up / beta
    return Steady(arrivals / (beta * stay), arrivals / (leaving * stay), 1 / (giving_up + beta))


@dataclass(frozen=True, slots=True)
class Site:
    """Nodes near each other behind one uplink.

    `nodes` still lack the image, `holders` of the site have it. `uplink` is shared by all of them; `upload` and
    `download` are each node's own towards its neighbours, and `outside` is the most that one node alone gets from
    there, 0 for as much as from neighbours; `round_trip` is to the outside.
    """

    nodes: int
    uplink: float
    upload: float
    download: float
    round_trip: float = 0.0
    holders: int = 0
    outside: float = 0.0

    @property
    def alone(self) -> float:
        """What one node gets from outside while no other fetches."""
        return min(self.uplink, self.outside or self.download)


@dataclass(frozen=True, slots=True)
class Burden:
    """What is to be carried to every node, compressed as on the wire.

    `missing` is what a node lacks, of which `hot` are touched before it is ready. `absent` is what nobody at the site
    has; `absent_hot` is the hot part of it.

    The rest are seconds, but for `round_trips`, those that are made one after the other before the first byte comes.
    `prepare` is own work before it, on manifest and index; `compute` is what processors take for the hot bytes beside
    their transfer, such as decompression, and `work` for all bytes; `pause` is how long only what somebody waits for is
    sent after the hot bytes; `start` is the engine's and the program's own work, after them.
    """

    missing: float
    hot: float
    absent: float
    absent_hot: float
    round_trips: float = 0.0
    compute: float = 0.0
    start: float = 0.0
    prepare: float = 0.0
    work: float = 0.0
    pause: float = 0.0


def estimate(way: Way, site: Site, burden: Burden) -> Estimate:
    """Say what a way costs at a site where all nodes ask at once.

    The links take T ≥ max{B/U, F/d, (NF - B)/Σuᵢ}, with B the absent bytes. The first and the last together imply Kumar
    and Ross's NF/(U + Σuᵢ); they are stricter because each absent byte crosses the uplink once. With t₀ = r·RTT +
    prepare, complete is t₀ + max{T, work} + pause, and ready t₀ + max{T of the hot bytes, compute} + start: transfer
    and work go on at once. Both are bounds that a good scheme comes near to.
    """
    if not site.nodes:
        return Estimate(way, 0.0, 0.0, 0.0)
    hot, complete = (
        _seconds(way, site, burden.hot, burden.absent_hot),
        _seconds(way, site, burden.missing, burden.absent),
    )
    before = burden.round_trips * site.round_trip + burden.prepare
    egress = burden.missing * site.nodes if way is Way.DIRECT else burden.absent
    ready = before + max(hot, burden.compute) + burden.start
    return Estimate(way, ready, max(before + max(complete, burden.work) + burden.pause, ready), egress)


def _seconds(way: Way, site: Site, missing: float, absent: float) -> float:
    match way:
        case Way.DIRECT:
            return max(missing / site.alone, site.nodes * missing / site.uplink)
        case Way.PEERS:
            inside = (site.nodes * missing - absent) / ((site.nodes + site.holders) * site.upload)
            return max(absent / site.uplink, missing / site.download, inside)
        case Way.SEED:
            first = max(missing / site.download, absent / site.alone)
            others = site.nodes - 1
            if not others:
                return first
            return first + max(missing / site.download, others * missing / ((others + 1 + site.holders) * site.upload))


def decide(
    site: Site, burden: Burden, ways: Sequence[Way] = (Way.PEERS, Way.SEED, Way.DIRECT), *, tolerance: float = 0.1
) -> tuple[Estimate, ...]:
    """Return the estimates of the ways that can be gone, the one to take first.

    That is the one that costs the outside least among those that are ready within `tolerance` of the soonest; of
    equals, the one that `ways` names first.
    """
    estimates = [estimate(way, site, burden) for way in ways]
    soonest = min(one.ready for one in estimates)
    late = soonest * (1 + tolerance)
    return tuple(sorted(estimates, key=lambda one: (one.ready > late, one.egress, one.ready, one.complete)))


def waves(nodes: int, uplink: float, download: float) -> tuple[int, ...]:
    """Split nodes that cannot help each other into waves that keep the uplink full without sharing it thin.

    A wave is as many as fill the uplink at their full rate: the first end much sooner than if all asked at once, the
    last at most one transfer at full rate later.
    """
    size = max(1, math.ceil(uplink / download))
    return tuple(min(size, nodes - begun) for begun in range(0, nodes, size))


@dataclass(frozen=True, slots=True)
class Course:
    """How nodes that arrived over time fared: seconds from each one's arrival until it was complete, and the egress."""

    seconds: tuple[float, ...]
    egress: float

    @property
    def makespan(self) -> float:
        """The longest of them."""
        return max(self.seconds, default=0.0)


def unfold(site: Site, size: float, arrivals: Sequence[float], *, step: float = 0.0) -> Course:
    """Follow the fluid to nodes that arrive at `arrivals` (seconds, rising) and fetch from each other and outside.

    Each byte crosses the uplink once. What a node has so far it passes on; nobody can be ahead of what the site has.
    Integrated by Euler's rule in steps of `step` seconds, by default a thousandth of the bound.
    """
    count = len(arrivals)
    bound = kumar_ross(size, site.uplink, [site.upload] * count, [site.download] * count)
    step = step or bound / 1000
    have, done = [0.0] * count, [math.inf] * count
    inside = size if site.holders else 0.0
    now = arrivals[0] if arrivals else 0.0
    while any(math.isinf(one) for one in done):
        present = [i for i in range(count) if arrivals[i] <= now and math.isinf(done[i])]
        if not present:
            now = min(arrivals[i] for i in range(count) if math.isinf(done[i]))
            continue
        inflow = min(site.uplink * step, size - inside, len(present) * site.download * step)
        inside += inflow
        seeds = site.holders + sum(1 for i in range(count) if not math.isinf(done[i]))
        supply = inflow + (seeds + len(present)) * site.upload * step
        wanted = [min(site.download * step, inside - have[i]) for i in present]
        share = min(1.0, supply / total) if (total := math.fsum(wanted)) > 0 else 0.0
        now += step
        for i, want in zip(present, wanted, strict=True):
            have[i] += want * share
            if have[i] >= size * (1 - 1e-9):
                done[i] = now
    return Course(tuple(end - begin for begin, end in zip(arrivals, done, strict=True)), 0.0 if site.holders else size)
