"""The ways by which an image reaches a site, gone by real agents behind a thin link: who fetched from outside?

The way is given, for which others are chosen is tried with values; the orders, the waves and the fetching are real.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest
from tests.agents import Running, agent
from tests.fleets import Place, Shape, bridged, fleet
from tests.service.agent.exchange.clusters import Sample, sample
from tests.service.cli.conftest import Served, serving
from tests.service.control.site import image

from naru.agent.objects import ObjectStore
from naru.agent.status import TrafficStatus
from naru.control import distribute
from naru.control.distribute import Plan
from naru.domain.distribution import Distribution, NodeReport, Way
from naru.domain.image import Image
from naru.domain.rollout import Rollout

pytestmark = pytest.mark.needs("fleet", "lazy roots")

NAMES = ("n0", "n1", "n2")
TAGS = {Way.PEERS: "shop:1", Way.SEED: "shop:2", Way.DIRECT: "shop:3"}
PATIENCE = 240.0
MOST, LITTLE = 0.6, 0.35
"""Shares of an image's bytes: more than the one is all of it, compressed; less than the other is what a node takes from
elsewhere when its source is slow for seconds, on a busy machine."""


def content(tag: str) -> Sample:
    """An image of which two thirds do not compress."""
    made = sample(*[20_000] * 40, 2_500_000, seed=len(tag) * ord(tag[-1]), name=tag)
    return Sample(replace(made.index, image=image(tag).digest), made.content)


@dataclass(frozen=True)
class Edge:
    """A server, a site of three nodes that it orders, and an agent outside that has the images."""

    served: Served
    place: Place
    nodes: Mapping[str, Running]

    def carried(self) -> dict[str, TrafficStatus]:
        return {name: node.asked.status().traffic for name, node in self.nodes.items()}

    def distribution(self, tag: str) -> Distribution | None:
        kept = self.served.do(self.served.site.platform.nodes.distributions())
        return next((one for one in kept if one.image == image(tag).digest), None)

    def deploy(self, app: str, tag: str) -> Rollout:
        self.served.tell(lambda: self.served.site.registry.push(tag))
        deploying = self.served.site.deploy(name=app, image=tag, replicas=1)
        return asyncio.run_coroutine_threadsafe(deploying, self.served.loop).result(PATIENCE)

    def until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, "\n".join(node.log() for node in self.nodes.values())
            time.sleep(0.1)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="nw-", ignore_cleanup_errors=True)))
        served = stack.enter_context(serving(tmp_path_factory.mktemp("served")))
        built = stack.enter_context(fleet(Shape(len(NAMES), uplink=50e6, round_trip=0.02)))
        (place,) = built.sites
        server = stack.enter_context(bridged(built.outside, urlsplit(served.url).port or 0))
        (home / "token").write_text(served.token)
        told = {"NARU_URL": f"http://{server}", "NARU_AGENT_TOKEN_FILE": str(home / "token")}

        source = ObjectStore(home / "out/state/store")
        for tag in TAGS.values():
            content(tag).fill(source)
        source.close()
        door = f"{built.outside.address}:7071"
        outside = {"NARU_AGENT_NODE": "out", "NARU_SITE": "out", "NARU_AGENT_LISTEN": door, **told}
        outside |= {"NARU_AGENT_AUTHORITY": "yes", "NARU_AGENT_HOST": built.outside.address}
        first = stack.enter_context(agent(home / "out", built.outside, **outside))

        nodes = {}
        for name, host in zip(NAMES, place.nodes, strict=True):
            own = {"NARU_AGENT_NODE": name, "NARU_SITE": "home", "NARU_AGENT_LISTEN": f"{host.address}:7071"}
            own |= {"NARU_AGENT_HOST": host.address, "NARU_AGENT_PEERS": door, "NARU_AGENT_ORIGIN": "no", **told}
            joining = Running(home / name, own, host)
            joining.home.mkdir()
            joining.command("join", first.command("token", "--node", name).split()[-1], "--via", door)
            nodes[name] = stack.enter_context(agent(home / name, host, **own))
        made = Edge(served, place, nodes)
        made.until(lambda: all(mates(node) == {"out", *NAMES} - {name} for name, node in nodes.items()))
        yield made


def mates(node: Running) -> set[str]:
    return {peer.node for peer in node.asked.status().peers if peer.connected}


@contextmanager
def going(way: Way, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every image go this way, a node a wave where there are waves of any size."""

    def plan(nodes: Sequence[NodeReport], _: Image) -> Plan:
        names = tuple(sorted(node.name for node in nodes))
        return Plan(way, distribute._waves(way, names, 1))

    with patch.context() as patched:
        patched.setattr("naru.control.nodes.plan", plan)
        yield


@pytest.mark.parametrize("way", list(TAGS))
def test_an_image_goes_the_way_that_was_chosen(edge: Edge, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    tag, size = TAGS[way], content(TAGS[way]).size
    before, wide = edge.carried(), edge.place.received()

    with going(way, monkeypatch):
        ended = edge.deploy(f"app-{way}", tag)
    assert ended.image.digest == image(tag).digest
    edge.until(lambda: (one := edge.distribution(tag)) and one.complete is not None)

    after = edge.carried()
    outside = {name: (after[name].from_outside - before[name].from_outside) / size for name in NAMES}
    near = {name: (after[name].from_site - before[name].from_site) / size for name in NAMES}
    copies = (edge.place.received() - wide) / size
    for name, node in edge.nodes.items():
        (held,) = [one for one in node.asked.status().images if one.digest == image(tag).digest]
        assert held.present_size == held.size == size, name
    distribution = edge.distribution(tag)
    assert distribution is not None
    match way:
        case Way.PEERS:
            assert distribution.waves == (3,)
            assert MOST < sum(outside.values()) < 1.3, outside
            assert copies < 1.5
        case Way.SEED:
            assert distribution.waves == (1, 2)
            assert outside["n0"] > MOST, outside
            assert max(outside["n1"], outside["n2"]) < LITTLE, outside
            assert min(near["n1"], near["n2"]) > MOST, near
            assert copies < 1.5
        case Way.DIRECT:
            assert distribution.waves == (1, 1, 1)
            assert min(outside.values()) > MOST, outside
            assert max(near.values()) < LITTLE, near
