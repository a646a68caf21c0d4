"""A site of empty edge nodes for a measure, and when all of them have an image."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.agents import shared
from tests.fleets import Fleet, Place, Shape, fleet

from bench.edge import EdgeNode, Outside, lacking, node, outside, waiting
from bench.measures import Absent
from bench.origin import publish, root
from bench.rest import rest
from naru.agent.exchange.frames import Packing
from naru.agent.exchange.keep import Keep
from naru.agent.exchange.pack import Packer
from naru.agent.exchange.pieces import Pieces
from naru.agent.objects import ObjectStore
from naru.agent.profile import Profiles

LINKS = ((100e6, 0.02, 2.5), (50e6, 0.06, 4.2))
"""Bits per second, round trip in seconds, and how soon a lone node is to be ready, in seconds."""
LAN = 1e9
PATIENCE = 480.0
CHANGED = 0.05


@dataclass(frozen=True, slots=True)
class Shop:
    """Where a measure keeps the registry's storage and the state of the agent beside it, and makes its nodes."""

    home: Path

    @property
    def storage(self) -> Path:
        """The registry's storage."""
        return self.home / "registry"

    @contextmanager
    def site(self, shape: Shape, *tags: str) -> Iterator[tuple[Fleet, Outside]]:
        """Build a site without nodes' programs, and the outside with these images."""
        with fleet(shape) as sites, outside(self.home / "out", self.storage, sites.outside, *tags) as here:
            yield sites, here

    @contextmanager
    def nodes(self, name: str, here: Outside, place: Place, *, engine: bool = True) -> Iterator[tuple[EdgeNode, ...]]:
        """Run an empty node on every host of a site; they have found each other, and the machine is at rest."""
        with ExitStack() as stack:
            made = tuple(
                stack.enter_context(node(self.home / name, here, host, f"n{number}", engine=engine))
                for number, host in enumerate(place.nodes)
            )
            deadline = time.monotonic() + PATIENCE
            while any(sum(peer.connected for peer in one.agent.asked.status().peers) < len(made) for one in made):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the nodes did not find each other: {made[0].agent.asked.status().peers}")
                time.sleep(0.2)
            rest()
            yield made

    def on_the_wire(self, here: Outside, tag: str, held: str = "") -> float:
        """Return the bytes of an image, its objects and its index, as agents send them over a thin link, each once.

        Nothing of the image that is `held` already counts.
        """
        sizes, index = _packed(self.home / "out/state", self._digest(here, tag))
        there = _packed(self.home / "out/state", self._digest(here, held))[0] if held else {}
        return float(index + sum(size for digest, size in sizes.items() if digest not in there))

    def hot_on_the_wire(self, here: Outside, tag: str) -> float:
        """Return the bytes of what its start touches, as they are sent."""
        return float(sum(_packed(self.home / "out/state", self._digest(here, tag), hot=True)[0].values()))

    def _digest(self, here: Outside, tag: str) -> str:
        return str(here.agent.asked.prefetch(here.reference(tag)).digest)


@contextmanager
def shop(*tags: str) -> Iterator[Shop]:
    """Open a shop whose registry has these tags of the image: `1`, and `2`, in which a part of it has changed."""
    if missing := lacking():
        raise Absent(missing)
    with TemporaryDirectory(prefix="nb-", ignore_cleanup_errors=True) as scratch, shared(Path(scratch)):
        opened = Shop(Path(scratch))
        for tag in tags:
            asyncio.run(publish(opened.storage, tag, _changes() if tag == "2" else ()))
        yield opened


@dataclass(frozen=True, slots=True)
class Started:
    """A start on all nodes at once: when it began, by the monotonic clock, and the seconds until each was ready."""

    begun: float
    seconds: tuple[float, ...]

    @property
    def last(self) -> float:
        """Seconds until all were ready."""
        return max(self.seconds)


def started(nodes: Sequence[EdgeNode], reference: str) -> Started:
    """Start an image on all nodes at once."""
    with ExitStack() as stack, ThreadPoolExecutor(len(nodes)) as together:
        answers = [stack.enter_context(waiting(one.host)) for one in nodes]
        begun = time.monotonic()
        name = f"pod-{begun:.0f}"
        moments = together.map(lambda one, answer: one.start(reference, answer, name), nodes, answers)
        return Started(begun, tuple(moment - begun for moment in moments))


def prefetched(nodes: Iterable[EdgeNode], reference: str) -> float:
    """Bring an image to all nodes at once; return the seconds that it took."""
    each = tuple(nodes)
    begun = time.monotonic()
    with ThreadPoolExecutor(len(each)) as together:
        # Through the agents' sockets: a command line for each node would be work of this machine that no node has.
        list(together.map(lambda one: one.agent.asked.prefetch(reference), each))
    return time.monotonic() - begun


def complete(nodes: Sequence[EdgeNode], begun: float) -> float:
    """Wait until every node has every object of every image; return the seconds from `begun`."""
    deadline = time.monotonic() + PATIENCE
    while not all(one.present == one.objects for each in nodes for one in each.agent.asked.status().images):
        if time.monotonic() > deadline:
            raise RuntimeError(f"a node did not complete: {nodes[0].agent.log()[-600:]}")
        time.sleep(0.5)  # an answer looks at every file, on the cores that are being measured
    return time.monotonic() - begun


@cache
def _packed(state: Path, image: str, *, hot: bool = False) -> tuple[dict[bytes, int], int]:
    """Return the bytes of pieces by their digests, and of the index, as they are sent."""
    store = ObjectStore(state / "store")
    index = store.index(image)
    assert index is not None
    keep = Keep(store, Pieces(index), Packer())
    profile = Profiles(state / "profiles").find(index) if hot else None
    numbers = profile.pieces(index) if profile else range(keep.pieces.count)
    sizes = {keep.pieces.piece(number).digest: len(keep.pack(number, Packing.SMALL)[1]) for number in numbers}
    return sizes, len(index.encode())


def _changes() -> Iterator[tuple[str, bytes]]:
    """Give files whose contents nobody has, as many bytes as are to change of the image; the same every time."""
    chance = Random(1)
    left = CHANGED * sum(path.lstat().st_size for path in root().rglob("*") if path.is_file() and not path.is_symlink())
    number = 0
    while left > 0:
        size = min(int(left) + 1, chance.choice((2_000, 20_000, 200_000)))
        yield f"/srv/changed/{number}", chance.randbytes(size // 2) + bytes(size - size // 2)
        left -= size
        number += 1
