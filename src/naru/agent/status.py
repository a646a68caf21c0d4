"""What an agent tells of itself, as values that its control socket, the command line and metrics share."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageStatus:
    """An image: its digest, its name where it is known, and how much of it is here (objects, and bytes of them).

    `hot` is what a start touches, as far as starts were watched; `index` is the digest of its index.
    """

    digest: str
    reference: str
    objects: int
    present: int
    size: int
    present_size: int
    hot: int
    hot_present: int
    holders: tuple[str, ...]
    index: str = ""


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """The object store in bytes; `saved` is what sharing of equal files between images saves."""

    objects: int
    size: int
    saved: int
    pinned: int
    budget: int | None


@dataclass(frozen=True, slots=True)
class TrafficStatus:
    """Bytes since the agent started: from agents of this site, of others, from registries, and to others."""

    from_site: int = 0
    from_outside: int = 0
    from_origin: int = 0
    to_peers: int = 0
    to_engines: int = 0


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """Another agent; `rtt` in seconds, `fault` says why it is not asked, if it is not."""

    node: str
    site: str
    address: str
    connected: bool
    rtt: float
    received: int
    fault: str


@dataclass(frozen=True, slots=True)
class Status:
    """One agent. `cluster` is empty for a node that never joined; `mode` is how files reach their readers.

    `lacking` names what this kernel lacks for a better mode.
    """

    version: str
    node: str
    site: str
    cluster: str
    mode: str
    lacking: tuple[str, ...]
    snapshots: int
    mirror: str
    store: StoreStatus
    traffic: TrafficStatus
    images: tuple[ImageStatus, ...]
    peers: tuple[PeerStatus, ...]


@dataclass(frozen=True, slots=True)
class Prefetched:
    """An image that is here in whole; `fetched` bytes of objects had been lacking."""

    digest: str
    objects: int
    size: int
    fetched: int


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection freed."""

    objects: int
    size: int


@dataclass(frozen=True, slots=True)
class Verified:
    """What a scrub read again, and how many files had rotted: they are gone, and fetched again when needed."""

    objects: int
    size: int
    rotten: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken from files that the node had already."""

    objects: int
    size: int


_METRICS = (
    ("naru_agent_store_objects", "gauge", "Objects in the store.", lambda s: s.store.objects),
    ("naru_agent_store_bytes", "gauge", "Bytes of objects in the store.", lambda s: s.store.size),
    ("naru_agent_store_saved_bytes", "gauge", "Bytes that equal files of images share.", lambda s: s.store.saved),
    ("naru_agent_store_pinned_bytes", "gauge", "Bytes that running images need.", lambda s: s.store.pinned),
    ("naru_agent_images", "gauge", "Images whose index is here.", lambda s: len(s.images)),
    ("naru_agent_snapshots", "gauge", "Snapshots of containerd.", lambda s: s.snapshots),
    ("naru_agent_peers", "gauge", "Agents that are connected.", lambda s: sum(p.connected for p in s.peers)),
    ("naru_agent_sent_bytes_total", "counter", "Bytes sent to other agents.", lambda s: s.traffic.to_peers),
    ("naru_agent_served_bytes_total", "counter", "Bytes that engines took.", lambda s: s.traffic.to_engines),
)


def metrics(status: Status) -> str:
    """Write a status in Prometheus' text format (exposition format 0.0.4)."""
    return "\n".join((*_lines(status), ""))


def _lines(status: Status) -> Iterator[str]:
    for name, kind, text, value in _METRICS:
        yield from (f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {value(status)}")
    name = "naru_agent_received_bytes_total"
    yield from (f"# HELP {name} Bytes received, by where they came from.", f"# TYPE {name} counter")
    traffic = status.traffic
    for source, size in (
        ("site", traffic.from_site),
        ("outside", traffic.from_outside),
        ("origin", traffic.from_origin),
    ):
        yield f'{name}{{source="{source}"}} {size}'
    yield from ("# HELP naru_agent_info The agent.", "# TYPE naru_agent_info gauge")
    labels = {"version": status.version, "node": status.node, "site": status.site, "mode": status.mode}
    told = ",".join(f'{label}="{value}"' for label, value in labels.items())
    yield f"naru_agent_info{{{told}}} 1"
