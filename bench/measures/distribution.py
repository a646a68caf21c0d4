"""Image distribution to edge nodes through real containerds, side by side with their own pull.

One node and fleets of a site, empty at first: ready is from the pull to the first HTTP 200 of a service that has
imported NumPy. Bytes are those that the site's router received from outside, headers included.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from itertools import product
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

from tests import cri
from tests.agents import shared
from tests.containerds import Pods, containerd
from tests.fleets import Place, Shape, fleet

from bench.edge import EdgeNode, Outside, lacking, node, outside
from bench.figures import Figure, measured
from bench.measures import Absent
from bench.origin import PAUSE, publish, root
from naru.agent.exchange.frames import Packing
from naru.agent.exchange.keep import Keep
from naru.agent.exchange.pack import Packer
from naru.agent.exchange.pieces import Pieces
from naru.agent.objects import ObjectStore
from naru.control.distribute import PREPARE_SECONDS, QUIET_SECONDS, START_ROUND_TRIPS
from naru.domain.distribution import Way
from naru.lab.models.distribution import Burden, Site, estimate, kumar_ross

LINKS = ((100e6, 0.02, 2.5), (50e6, 0.06, 4.2))
"""Bits per second, round trip in seconds, and how soon a lone node is to be ready, in seconds."""
FLEETS = (8, 16)
REPEATS = int(os.environ.get("NARU_BENCH_REPEATS", "3"))
LAN = 1e9
SETTINGS = tuple(product((1, 2, 4, 8), (50e6, 100e6, 200e6)))
"""Nodes and uplinks that the model is tried at."""
FREE = 1e9
"""An uplink that is no limit to agents on this machine: how long they take at it is their processors' work."""
CHANGED = 0.05
PATIENCE = 240.0
ROUND_TRIP = 0.02
HEADERS = 1514 / 1448 * (1 + 22 / 16384)
"""What frames of Ethernet with IPv4 and TCP's timestamps add to their contents, and records of TLS 1.3 to those."""


def measure() -> Iterator[Figure]:
    """Measure one node, fleets, an update, and the model, in this order."""
    if missing := lacking():
        raise Absent(missing)
    with TemporaryDirectory(prefix="nb-", ignore_cleanup_errors=True) as scratch, shared(Path(scratch)):
        shop = Path(scratch)
        asyncio.run(publish(shop / "registry", "1"))
        asyncio.run(publish(shop / "registry", "2", _changes()))
        yield from _one_node(shop)
        yield from _fleets(shop)
        yield from _update(shop)
        yield from _model(shop)


def _one_node(shop: Path) -> Iterator[Figure]:
    for rate, round_trip, goal in LINKS:
        link = f"{rate / 1e6:.0f} Mbit/s and {round_trip * 1000:.0f} ms"
        mark = f"{rate / 1e6:.0f}"
        with (
            fleet(Shape(1, rate, round_trip, LAN)) as sites,
            outside(shop / "out", shop / "registry", sites.outside, "1") as here,
        ):
            ours = []
            for turn in range(REPEATS):
                with _nodes(shop / f"one-{mark}-{turn}", here, sites.sites[0]) as (lone,):
                    ours.append(lone.start(here.reference("1"), time.monotonic()))
            plain = _plain(shop / f"plain-{mark}", here, sites.sites[0])
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


def _fleets(shop: Path) -> Iterator[Figure]:
    for count in FLEETS:
        rate, round_trip, _ = LINKS[0]
        with (
            fleet(Shape(count, rate, round_trip, LAN)) as sites,
            outside(shop / "out", shop / "registry", sites.outside, "1") as here,
            _nodes(shop / f"fleet-{count}", here, sites.sites[0]) as nodes,
        ):
            before = sites.sites[0].received()
            begun = time.monotonic()
            with ThreadPoolExecutor(count) as together:
                ready = sorted(together.map(partial(EdgeNode.start, reference=here.reference("1"), begun=begun), nodes))
            complete = _complete(nodes, begun)
            egress = sites.sites[0].received() - before
            size = _on_the_wire(shop, here, "1")
            for one in nodes:
                if one.engine:
                    one.engine.clear()
            again = time.monotonic()
            with ThreadPoolExecutor(count) as together:
                warm = max(together.map(partial(EdgeNode.start, reference=here.reference("1"), begun=again), nodes))
        day = datetime.now(UTC).date()
        yield measured(
            f"distribution-fleet-{count:02}",
            f"{count} empty nodes of one site at once, all on this machine: the last one ready",
            [ready[-1]],
            unit="s",
            goal=3.5,
            better="lower",
            against=f"the same with every file there already: {warm:.1f} s",
            day=day,
        )
        bound = kumar_ross(size, rate / 8, [LAN / 8] * count, [LAN / 8] * count)
        yield measured(
            f"distribution-complete-{count:02}",
            f"{count} empty nodes of one site at once: all complete",
            [complete / bound],
            unit="×",
            goal=1.25,
            better="lower",
            against=f"the Kumar-Ross bound, {bound:.1f} s",
            day=day,
        )
        yield measured(
            f"distribution-egress-{count:02}",
            f"{count} empty nodes of one site at once: bytes from outside",
            [egress / size],
            unit="×",
            goal=1.05,
            better="lower",
            against=f"the objects as they are sent, each once, {size / 1e6:.0f} MB",
            day=day,
        )


def _update(shop: Path) -> Iterator[Figure]:
    rate, round_trip, _ = LINKS[0]
    with (
        fleet(Shape(4, rate, round_trip, LAN)) as sites,
        outside(shop / "out", shop / "registry", sites.outside, "1", "2") as here,
        _nodes(shop / "update", here, sites.sites[0], engine=False) as nodes,
    ):
        _prefetch(nodes, here.reference("1"))
        before = sites.sites[0].received()
        _prefetch(nodes, here.reference("2"))
        egress = sites.sites[0].received() - before
        missing = _on_the_wire(shop, here, "2") - _on_the_wire(shop, here, "1")
    yield measured(
        "distribution-egress-update",
        "an update that changes 5 % of the image, on 4 nodes of one site: bytes from outside",
        [egress / missing],
        unit="×",
        goal=1.05,
        better="lower",
        against=f"the changed objects as they are sent, each once, {missing / 1e6:.1f} MB",
        day=datetime.now(UTC).date(),
    )


def _model(shop: Path) -> Iterator[Figure]:
    """Compare estimates with transfers; only what processors take is measured first, at an uplink that is no limit."""
    errors = []
    before = Burden(0, 0, 0, 0, round_trips=START_ROUND_TRIPS, prepare=PREPARE_SECONDS, pause=QUIET_SECONDS)
    work: dict[int, float] = {}
    for count, rate in sorted(
        {(count, FREE) for count, _ in SETTINGS} | set(SETTINGS), key=lambda one: (one[0], -one[1])
    ):
        seconds, size = _transfer(shop, count, rate)
        site = Site(count, rate / 8, LAN / 8, LAN / 8, ROUND_TRIP)
        if rate == FREE:
            work[count] = seconds - estimate(Way.PEERS, site, before).complete
            continue
        burden = replace(before, missing=size * HEADERS, absent=size * HEADERS, work=work[count])
        expected = estimate(Way.PEERS, site, burden).complete
        errors.append(abs(expected - seconds) / seconds)
        print(
            f"  {count} nodes, {rate / 1e6:.0f} Mbit/s: {seconds:.1f} s, expected {expected:.1f} s "
            f"({expected / seconds - 1:+.1%}; link {size * HEADERS * 8 / rate:.1f} s, work {work[count]:.1f} s)",
            flush=True,
        )
    day = datetime.now(UTC).date()
    for name, value, goal in (("median", median(errors), 0.10), ("worst", max(errors), 0.20)):
        yield measured(
            f"distribution-model-{name}",
            f"the model's {name} error over {len(errors)} settings of nodes and uplink",
            [value * 100],
            unit="%",
            goal=goal * 100,
            better="lower",
            against="what was measured; the processors' share measured apart, at an uplink that is no limit",
            day=day,
        )


def _transfer(shop: Path, count: int, rate: float) -> tuple[float, float]:
    """Return how long so many empty nodes take to have an image at an uplink, and its bytes as they are sent."""
    with (
        fleet(Shape(count, rate, ROUND_TRIP, LAN)) as sites,
        outside(shop / "out", shop / "registry", sites.outside, "1") as here,
        _nodes(shop / f"model-{count}-{rate:.0f}", here, sites.sites[0], engine=False) as nodes,
        ThreadPoolExecutor(count) as together,
    ):
        size = _on_the_wire(shop, here, "1")
        begun = time.monotonic()
        # Through the agents' sockets: a command line for each node would be work of this machine that no node has.
        list(together.map(lambda one: one.agent.asked.prefetch(here.reference("1")), nodes))
        return time.monotonic() - begun, size


@contextmanager
def _nodes(home: Path, here: Outside, place: Place, *, engine: bool = True) -> Iterator[tuple[EdgeNode, ...]]:
    """Run an empty node on every host of a site, once they have found each other."""
    with ExitStack() as stack:
        made = tuple(
            stack.enter_context(node(home, here, host, f"n{number}", engine=engine))
            for number, host in enumerate(place.nodes)
        )
        deadline = time.monotonic() + PATIENCE
        while any(sum(peer.connected for peer in one.agent.asked.status().peers) < len(made) for one in made):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the nodes did not find each other: {made[0].agent.asked.status().peers}")
            time.sleep(0.2)
        yield made


def _plain(home: Path, here: Outside, place: Place) -> float:
    """Return how long containerd's own pull, unpacking and start take on an empty node."""
    home.mkdir()
    host = place.nodes[0]
    pods = Pods("overlayfs", f"{here.address}/{PAUSE}", here.address)
    with containerd(home / "engine", host, pods=pods) as engine:
        cri.pull(engine.socket, pods.pause)
        return EdgeNode(host, here.agent, engine).start(here.reference("1"), time.monotonic())


def _prefetch(nodes: Sequence[EdgeNode], reference: str) -> None:
    """Bring an image to all nodes at once."""
    with ThreadPoolExecutor(len(nodes)) as together:
        list(together.map(lambda one: one.agent.command("prefetch", reference), nodes))


def _complete(nodes: Sequence[EdgeNode], begun: float) -> float:
    """Wait until every node has every object of every image; return the seconds from `begun`."""
    deadline = time.monotonic() + PATIENCE
    while not all(one.present == one.objects for each in nodes for one in each.agent.asked.status().images):
        if time.monotonic() > deadline:
            raise RuntimeError(f"a node did not complete: {nodes[0].agent.log()[-600:]}")
        time.sleep(0.5)  # an answer looks at every file, on the cores that are being measured
    return time.monotonic() - begun


def _on_the_wire(shop: Path, here: Outside, tag: str) -> float:
    """Return the bytes of an image's objects as agents send them over a thin link, each once."""
    image = next(one for one in here.agent.asked.status().images if one.reference == here.reference(tag))
    return _packed(shop / "out/state/store", image.digest)


@cache
def _packed(home: Path, image: str) -> float:
    store = ObjectStore(home)
    index = store.index(image)
    assert index is not None
    keep = Keep(store, Pieces(index), Packer())
    return float(sum(len(keep.pack(number, Packing.SMALL)[1]) for number in range(keep.pieces.count)))


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
