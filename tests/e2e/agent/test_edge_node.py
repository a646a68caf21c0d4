"""`naru deploy` to an empty node of a real Kubernetes whose containerd asks an agent for root file systems.

The node's agent has nothing and may ask no registry; one outside of its site has the images. Upload from there is thin,
so that a pod which runs has started before its image has come.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.agents import agent, shared
from tests.containerds import KUBERNETES, Containerd
from tests.contract.kubernetes_node import network
from tests.e2e.agent.edge import Edge, edge
from tests.layered import base, layer, push
from tests.ports import free_port
from tests.service.oci.conftest import registry

from naru.domain.image import Image

pytestmark = [
    pytest.mark.needs("kubernetes node", "docker-registry", "caddy"),
    pytest.mark.asyncio(loop_scope="module"),
]
BALLAST = 64 << 20
"""Bytes of an image that no start touches, and that do not compress."""
THIN = 1 << 20
"""Bytes a second: the ballast takes a minute, a start a few seconds."""
SMALL = 1 << 20
ENTRY = ("/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www")


@dataclass(frozen=True)
class Published:
    """An image in the registry, and the digests of its layers."""

    image: Image
    layers: frozenset[str]


@dataclass(frozen=True)
class Site:
    """A registry, and a node that has nothing of it."""

    registry: str
    edge: Edge
    home: Path

    async def publish(self, tag: str, page: str) -> Published:
        """Push a version of the shop, and let the agent outside have it."""
        ballast = (self.home / "ballast").read_bytes()
        layers = [base(), layer({"srv/ballast": ballast}), layer({"www/index.html": page.encode()})]
        image = await push(self.home / "made", f"{self.registry}/shop:{tag}", layers, *ENTRY)
        self.edge.outside.command("prefetch", f"{self.registry}/shop:{tag}")
        return Published(image, frozenset(f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers))

    def deploy(self, tag: str) -> str:
        """Deploy a version as an operator does; return what is said."""
        return self.edge.deploy(f"{self.registry}/shop:{tag}", "--health", "http:/", "--stop-grace", "1s")

    def lacking(self, image: Image) -> int:
        """Return how many bytes of an image the node has not got."""
        (told,) = (one for one in self.edge.node.asked.status().images if one.digest == image.digest)
        return told.size - told.present_size

    def widen(self) -> None:
        """Let the agent outside give as fast as it can, from now on."""
        outside = self.edge.outside
        outside.stop()
        outside.settings = {**outside.settings, "NARU_AGENT_UPLOAD": ""}
        outside.start()

    def content(self) -> set[str]:
        """Return the digests of what containerd itself holds."""
        engine = Containerd(self.edge.kubernetes.home, os.getpid())
        return set(engine.ctr("content", "ls", "--quiet", namespace=KUBERNETES).split())


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="ne-", ignore_cleanup_errors=True)))
        stack.enter_context(shared(home))
        (home / "ballast").write_bytes(os.urandom(BALLAST))
        where = stack.enter_context(network())
        images = stack.enter_context(contextmanager(registry)(home, {}, address=where.machine))
        settings = {
            "NARU_AGENT_NODE": "outside",
            "NARU_SITE": "outside",
            "NARU_AGENT_AUTHORITY": "yes",
            "NARU_AGENT_LISTEN": f"{where.machine}:{free_port()}",
            "NARU_AGENT_UPLOAD": str(THIN),
            "NARU_INSECURE_REGISTRIES": images,
        }
        outside = stack.enter_context(agent(home / "outside", **settings))
        yield Site(images, stack.enter_context(edge(home / "site", where, images, outside)), home)


async def test_an_empty_node_runs_a_service_before_its_image_has_come_and_the_next_is_foreseen(site: Site):
    first = await site.publish("1", "one\n")

    said = site.deploy("1")

    assert site.lacking(first.image) > 0, "the ballast came before the service was proven"
    assert "1 node of edge fetches it" in said
    assert site.edge.server.page("shop") == "one\n"
    held = site.content()
    assert {first.image.digest, first.image.config_digest} <= held
    assert not first.layers & held

    site.widen()
    way = site.edge.completed(first.image.digest)
    assert (way["site"], way["nodes"], way["estimate"]) == ("edge", 1, None)  # nobody has measured a link yet
    assert 0 < way["ready"] <= way["complete"]
    assert way["egress"] > BALLAST
    assert site.edge.node.asked.status().traffic.from_origin < SMALL

    second = await site.publish("2", "two\n")
    said = site.deploy("2")

    assert "expected ready in" in said
    assert site.edge.server.page("shop") == "two\n"
    way = site.edge.completed(second.image.digest)
    assert 0 < way["estimate"]["egress"] < 0.1 * second.image.size  # the node had said what it lacks
    assert way["egress"] < SMALL  # the ballast was there
