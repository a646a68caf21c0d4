"""How an image goes to the nodes of a site: which way, in which waves, and what came of it.

`plan` decides from what the nodes last said of themselves, by the model of naru.lab.models.distribution, and among the
ways alone that their agents can go. `seen` follows a distribution under way. Both are values alone: see
naru.control.nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import median

from naru.domain.distribution import Course, Distribution, Estimate, Holding, NodeReport, Way
from naru.domain.image import Image
from naru.lab.models.distribution import Burden, Site, decide, waves

START_ROUND_TRIPS = 6.0
"""Round trips that a start makes one after the other: manifest, configuration, index, profile, their connections."""
PREPARE_SECONDS = 0.3
"""What a node does itself before the first byte comes, round trips apart, as measured: docs/distribution.md."""
QUIET_SECONDS = 1.0
"""How long agents send only what somebody waits for, after the files that a start touches."""
UNPACKED = "unpacked"
"""The mode of a node that takes layers whole."""
WAVE_PATIENCE = timedelta(seconds=60)
"""How long a wave may take beyond what is expected of it before the next one begins all the same."""
FOLLOWED = timedelta(hours=1)
"""How long a distribution may take before nobody looks for its end any more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The way to go, the nodes of each wave, and what every way that can be gone would cost, this one first.

    There are no estimates while no node has measured its links.
    """

    way: Way
    waves: tuple[tuple[str, ...], ...]
    estimates: tuple[Estimate, ...] = ()


def plan(nodes: Sequence[NodeReport], image: Image) -> Plan:
    """Decide how these nodes, one at least, get an image."""
    can = passable(nodes)
    lacking = sorted((node for node in nodes if _missing(node, image)), key=lambda node: _seed(node, image))
    names = tuple(node.name for node in lacking)
    if not lacking or not any(node.link.outside_rate > 0 for node in nodes):
        return Plan(can[0], _waves(can[0], names, len(names)))
    site, burden = _situation(nodes, image)
    estimates = decide(site, burden, can)
    way = estimates[0].way
    return Plan(way, _waves(way, names, waves(len(names), site.uplink, site.alone)[0]), estimates)


def passable(nodes: Sequence[NodeReport]) -> tuple[Way, ...]:
    """Return the ways that the agents of these nodes can go, the one first that asks for no figures.

    A node that takes layers whole gives nothing on before all of it is there, so a site with such nodes begins with a
    seed. An agent that has joined no cluster reaches registries alone.
    """
    if not all(node.port for node in nodes):
        return (Way.DIRECT,)
    if any(node.mode == UNPACKED for node in nodes):
        return (Way.SEED, Way.DIRECT)
    return (Way.PEERS, Way.SEED, Way.DIRECT)


def _waves(way: Way, names: tuple[str, ...], size: int) -> tuple[tuple[str, ...], ...]:
    match way:
        case Way.PEERS:
            return (names,)
        case Way.SEED:
            return tuple(wave for wave in (names[:1], names[1:]) if wave)
        case Way.DIRECT:
            return tuple(names[begun : begun + size] for begun in range(0, len(names), size))


def _seed(node: NodeReport, image: Image) -> tuple[float, float, str]:
    """Put the node first that has most of the image, then the one with the best link to the outside."""
    return _missing(node, image), -node.link.outside_rate, node.name


def _situation(nodes: Sequence[NodeReport], image: Image) -> tuple[Site, Burden]:
    """Return the site and what is to be carried there, as the model sees them.

    The bytes on the wire are taken to be those of the layers: both are compressed contents of the same files.
    """
    missing = [_missing(node, image) for node in nodes]
    lacking = [share for share in missing if share > 0]
    known = [one for node in nodes if (one := holding(node, image.digest)) and one.hot]
    hot = median(one.hot / one.size for one in known) if known else 1.0
    inside = median(node.link.site_rate or node.link.outside_rate for node in nodes)
    uplink = max(node.link.outside_rate for node in nodes)
    site = Site(
        nodes=len(lacking),
        uplink=uplink,
        upload=median(min(inside, node.link.upload or inside) for node in nodes),
        download=inside,
        round_trip=median(node.link.outside_round_trip for node in nodes),
        holders=len(nodes) - len(lacking),
        outside=uplink,
    )
    size = float(image.size)
    most, least = max(lacking), min(missing)
    burden = Burden(
        missing=most * size,
        hot=most * hot * size,
        absent=least * size,
        absent_hot=least * hot * size,
        round_trips=START_ROUND_TRIPS,
        prepare=PREPARE_SECONDS,
        pause=QUIET_SECONDS if known else 0.0,
    )
    return site, burden


def seen(course: Course, nodes: Sequence[NodeReport], now: datetime) -> Course:
    """Return a course after what these nodes of its site, all that live, say now; a wave that is due has begun."""
    before = course.distribution
    mine = [node for node in nodes if node.name in course.carried]
    holdings = [holding(node, before.image) for node in mine]
    seconds = (now - before.begun_at).total_seconds()
    ready, complete = before.ready, before.complete
    if ready is None and holdings and all(one is not None and one.ready for one in holdings):
        ready = seconds
    if complete is None and holdings and all(one is not None and one.complete for one in holdings):
        complete = seconds
    # Another server may have seen later reports than these: what was carried only grows.
    egress = sum(max(0, from_outside(node) - course.carried[node.name]) for node in mine)
    after = replace(before, ready=ready, complete=complete, egress=max(egress, before.egress or 0))
    if _is_due(course, mine, now):
        return replace(course, distribution=after, begun=course.begun + 1, wave_at=now)
    return replace(course, distribution=after)


def way_of(course: Course, node: NodeReport | None) -> Way:
    """Return the way on which a node is ordered an image of this course.

    A seed that mounts files asks no mate: mates that know the image, though they wait, would fetch parts of it for the
    seed. One that unpacks layers asks nobody near anyway, but agents of other sites before a registry.
    """
    way = course.distribution.way
    first = course.waves[0] if course.waves else ()
    seed = way is Way.SEED and node is not None and node.mode != UNPACKED and node.name in first
    return Way.DIRECT if seed and course.distribution.complete is None else way


def _is_due(course: Course, nodes: Sequence[NodeReport], now: datetime) -> bool:
    """Whether the next wave is to begin."""
    if course.begun >= len(course.waves):
        return False
    distribution = course.distribution
    asked = [node for node in nodes if node.name in course.waves[course.begun - 1]]
    if all((one := holding(node, distribution.image)) and one.complete for node in asked):
        return True
    # A wave whose nodes all died must not keep the others waiting, nor one that is stuck.
    expected = distribution.estimate.complete if distribution.estimate else 0.0
    return now - (course.wave_at or distribution.begun_at) >= timedelta(seconds=2 * expected) + WAVE_PATIENCE


def over(course: Course, now: datetime) -> bool:
    """Whether nothing more is to be learned of a course."""
    return course.distribution.complete is not None or now - course.distribution.begun_at > FOLLOWED


def tells(nodes: Sequence[NodeReport], everywhere: Sequence[NodeReport], image: str) -> bool:
    """Whether nodes that do not say yet what they have of an image can soon: they have others, which may share files.

    One that found no index of it can as soon as an agent has one, or while who holds the authority derives it.
    """
    silent = [node for node in nodes if node.mode != UNPACKED and node.images and holding(node, image) is None]
    if any(node.authority or holding(node, image) for node in everywhere):
        return bool(silent)
    return any(image not in node.unweighed for node in silent)


def holding(node: NodeReport, image: str) -> Holding | None:
    """Return what a node has of an image."""
    return next((one for one in node.images if one.image == image), None)


def from_outside(node: NodeReport) -> int:
    """Return the bytes that a node received from outside its site since its agent started."""
    return node.carried.from_outside + node.carried.from_origin


def _missing(node: NodeReport, image: Image) -> float:
    """Return the share of an image that a node lacks."""
    one = holding(node, image.digest)
    return 1 - one.present / one.size if one and one.size else 1.0


def described(distribution: Distribution) -> str:
    """Say in one line which way was chosen, for how much, and what the others would have cost."""
    count, site, way = distribution.nodes, distribution.site, distribution.way
    if not count:
        return f"the engine fetches it from the registry ({way}): no node of {site} has an agent"
    who = f"{count} nodes of {site} fetch it" if count > 1 else f"1 node of {site} fetches it"
    in_waves = f" in waves of {', '.join(map(str, distribution.waves))}" if len(distribution.waves) > 1 else ""
    told = f"{who} ({way}){in_waves}"
    if chosen := distribution.estimate:
        told += f", expected ready in {chosen.ready:.1f} s, complete in {chosen.complete:.1f} s"
    others = ", ".join(f"{one.way} {one.ready:.1f} s" for one in distribution.alternatives)
    return f"{told}; ready by another way: {others}" if others else told
