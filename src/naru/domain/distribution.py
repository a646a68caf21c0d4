"""How images reach nodes: what agents say of themselves, what they are asked for, and what was expected of it.

Sizes are in bytes, rates in bytes per second, durations in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from naru.domain import names
from naru.domain.membership import Admission, Expulsion


class Way(StrEnum):
    """How a site can get an image."""

    DIRECT = "direct"
    """Each node fetches it from outside by itself."""
    PEERS = "peers"
    """All fetch at once, each byte once from outside, from each other as it arrives."""
    SEED = "seed"
    """One node of the site fetches it, and only then the others, from it."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What to expect: the last node ready, the last node complete, and the bytes that come from outside."""

    way: Way
    ready: float
    complete: float
    egress: float


@dataclass(frozen=True, slots=True)
class Holding:
    """How much of an image a node has; `hot` is what a start touches, 0 while no start was watched.

    `index` is the digest of the index by which the node knows the image's files, empty when it has none.
    """

    image: str
    present: int
    size: int
    hot_present: int = 0
    hot: int = 0
    index: str = ""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.present >= self.size

    @property
    def ready(self) -> bool:
        """Whether a start would wait for nothing."""
        return self.complete or 0 < self.hot <= self.hot_present


@dataclass(frozen=True, slots=True)
class Carried:
    """Bytes that an agent received and sent since it started."""

    from_site: int = 0
    from_outside: int = 0
    from_origin: int = 0
    to_others: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """What an agent measured of its links; 0 where it has not yet. `upload` is what it may give at most, 0 for all."""

    outside_rate: float = 0.0
    site_rate: float = 0.0
    outside_round_trip: float = 0.0
    upload: float = 0.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """An index that an agent did not take, since a release names another: of which image, and which agent gave it."""

    image: str
    node: str
    index: str


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What an agent says of itself: where peers reach it, how it mounts, what it keeps and what it carried.

    `used` and `budget` are of its object store; a budget of 0 is the disk. `shared` is what is used by more than one
    image and kept once. `refused` are the last indexes that it did not take. `authority` is the sha256 of the cluster's
    authority's certificate in hexadecimal where the node holds that authority, and `spent` are the hashes of the join
    tokens that it has seen the last use of. `unweighed` are images that it was asked about and finds no index of.
    """

    name: str
    site: str
    host: str
    port: int
    mode: str
    version: str = ""
    objects: int = 0
    used: int = 0
    budget: int = 0
    shared: int = 0
    images: tuple[Holding, ...] = ()
    carried: Carried = Carried()
    link: Link = Link()
    refused: tuple[Refusal, ...] = ()
    authority: str = ""
    spent: tuple[str, ...] = ()
    unweighed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names.label(self.name, "a node")
        names.label(self.site, "a site")


@dataclass(frozen=True, slots=True)
class Node:
    """A node with an agent, as it last reported; `alive` while that is recent."""

    report: NodeReport
    seen_at: datetime
    alive: bool


@dataclass(frozen=True, slots=True)
class Peer:
    """Where an agent answers its peers."""

    name: str
    site: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Order:
    """An image that a node should have: its platform's manifest digest, where it is from, and the way it comes.

    `index` is the digest of the only index of it that may be taken, empty while no agent has said one.
    """

    image: str
    reference: str
    way: Way = Way.PEERS
    index: str = ""


@dataclass(frozen=True, slots=True)
class NodeOrders:
    """What an agent is asked for: to know these peers, and to have these images; what is not named may go.

    `elsewhere` are images that nodes of other sites should have: they may ask this one, which need not have them.
    `soon` are images that may be asked for next: the node says what it has of them, and fetches nothing but their
    index. Who holds the cluster's authority is to let in who comes with these `admissions`, and no others of the
    control plane's, and to throw out the `expulsions`.
    """

    peers: tuple[Peer, ...] = ()
    images: tuple[Order, ...] = ()
    elsewhere: tuple[Order, ...] = ()
    soon: tuple[Order, ...] = ()
    admissions: tuple[Admission, ...] = ()
    expulsions: tuple[Expulsion, ...] = ()


@dataclass(frozen=True, slots=True)
class Distribution:
    """One image on its way to the nodes of a site for a rollout: what was expected, and what happened.

    `ready` and `complete` are seconds from `begun_at` until the last node could start it without waiting, and had all
    of it; None until then. `egress` is what came from outside the site meanwhile. There is no estimate while no node
    has measured its links. `alternatives` are the other ways that could be gone, `waves` how many nodes are asked one
    lot after another. Without `nodes` there are no agents, and the engine fetches the image.
    """

    rollout: str
    app: str
    image: str
    site: str
    way: Way
    nodes: int
    begun_at: datetime
    estimate: Estimate | None = None
    ready: float | None = None
    complete: float | None = None
    egress: int | None = None
    alternatives: tuple[Estimate, ...] = ()
    waves: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Course:
    """A distribution under way: its waves, how many of them have begun, and when the last one did.

    `carried` is what each node had received from outside when it began. Nodes that no wave names have the image, or
    came later; they wait for nobody.
    """

    distribution: Distribution
    waves: tuple[tuple[str, ...], ...]
    carried: Mapping[str, int]
    begun: int = 1
    wave_at: datetime | None = None

    def waits(self, node: str) -> bool:
        """Whether a node is to be asked only later."""
        return any(node in wave for wave in self.waves[self.begun :])
