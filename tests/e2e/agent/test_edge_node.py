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
from tests.agents import Running, agent, shared
from tests.containerds import KUBERNETES, Containerd
from tests.contract.kubernetes_node import Cluster, cluster, network
from tests.contract.kubernetes_plane import manifest
from tests.e2e.faults.conftest import Server, serving
from tests.layered import base, layer, push
from tests.ports import free_port
from tests.service.oci.conftest import registry

from naru.domain.image import Image

pytestmark = [
    pytest.mark.needs("kubernetes node", "docker-registry", "caddy"),
    pytest.mark.asyncio(loop_scope="module"),
]
MIRROR = Path(__file__).parents[3] / "deploy/agent/hosts.toml"
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
    """A registry and an agent outside, a node, its agent, and a server that knows them."""

    registry: str
    outside: Running
    node: Running
    kubernetes: Cluster
    server: Server
    home: Path

    async def publish(self, tag: str, page: str) -> Published:
        """Push a version of the shop, and let the agent outside have it."""
        ballast = (self.home / "ballast").read_bytes()
        layers = [base(), layer({"srv/ballast": ballast}), layer({"www/index.html": page.encode()})]
        image = await push(self.home / "made", f"{self.registry}/shop:{tag}", layers, *ENTRY)
        self.outside.command("prefetch", f"{self.registry}/shop:{tag}")
        return Published(image, frozenset(f"sha256:{hashlib.sha256(one).hexdigest()}" for one in layers))

    def deploy(self, tag: str) -> str:
        """Deploy a version as an operator does; return what is said."""
        words = ("--port", "8080", "--name", self.server.name("shop"), "--health", "http:/", "--stop-grace", "1s")
        return self.server.naru("deploy", f"{self.registry}/shop:{tag}", *words)

    def distributed(self, image: Image) -> dict[str, object]:
        """Return what is kept of an image's way to the node."""
        kept = self.server.call("GET", "/distributions").json()["items"]
        return next(one for one in kept if one["image"] == image.digest)

    def lacking(self, image: Image) -> int:
        """Return how many bytes of an image the node has not got."""
        (told,) = (one for one in self.node.asked.status().images if one.digest == image.digest)
        return told.size - told.present_size

    def widen(self) -> None:
        """Let the agent outside give as fast as it can, from now on."""
        self.outside.stop()
        self.outside.settings = {**self.outside.settings, "NARU_AGENT_UPLOAD": ""}
        self.outside.start()

    def content(self) -> set[str]:
        """Return the digests of what containerd itself holds."""
        engine = Containerd(self.kubernetes.home, os.getpid())
        return set(engine.ctr("content", "ls", "--quiet", namespace=KUBERNETES).split())


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="ne-", ignore_cleanup_errors=True)))
        stack.enter_context(shared(home))
        (home / "ballast").write_bytes(os.urandom(BALLAST))
        where = stack.enter_context(network())
        images = stack.enter_context(contextmanager(registry)(home, {}, address=where.machine))
        door = f"{where.machine}:{free_port()}"
        told = {"NARU_INSECURE_REGISTRIES": images, "NARU_AGENT_RECORD": "1"}
        outside = {"NARU_AGENT_NODE": "outside", "NARU_SITE": "outside", "NARU_AGENT_AUTHORITY": "yes", **told}
        source = stack.enter_context(
            agent(home / "outside", NARU_AGENT_LISTEN=door, NARU_AGENT_UPLOAD=str(THIN), **outside)
        )
        edge = Running(home / "edge", {**told, "NARU_AGENT_NODE": "edge", "NARU_AGENT_ORIGIN": "no"}, where.node)
        cluster_home = home / "kubernetes"
        cluster_home.mkdir()
        kubernetes = stack.enter_context(cluster(cluster_home, where, {"naru": edge.snapshotter}))
        for one in manifest():
            kubernetes.plane.apply(one)
        engine = f"kubernetes://{kubernetes.plane.kubeconfig(home / 'kubeconfig', 'naru')}"
        (server_home := home / "server").mkdir()
        server = stack.enter_context(
            serving(server_home, engine, where.machine, NARU_INSECURE_REGISTRIES=images, NARU_SITE="edge")
        )
        edge.settings = {
            **edge.settings,
            "NARU_SITE": "edge",
            "NARU_URL": server.url,
            "NARU_AGENT_TOKEN_FILE": str(server_home / "state/cli-token"),
            "NARU_AGENT_LISTEN": f"{where.node.address}:7071",
            "NARU_AGENT_PEERS": door,
            "NARU_AGENT_MIRROR": "127.0.0.1:7072",
        }
        mirrored(kubernetes.home / "hosts/_default")
        edge.home.mkdir()
        edge.command("join", source.command("token", "--node", "edge").split()[-1], "--via", door)
        stack.enter_context(agent(edge.home, edge.host, **edge.settings))
        yield Site(images, source, edge, kubernetes, server, home)


def mirrored(hosts: Path) -> None:
    """Let containerd ask the mirror, as its page says."""
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(MIRROR.read_text())


async def test_an_empty_node_runs_a_service_before_its_image_has_come_and_the_next_is_foreseen(site: Site):
    first = await site.publish("1", "one\n")
    site.server.until(site.node.knows_somebody, "the agents do not find each other")

    said = site.deploy("1")

    assert site.lacking(first.image) > 0, "the ballast came before the service was proven"
    assert "1 node of edge fetches it" in said
    assert site.server.page("shop") == "one\n"
    held = site.content()
    assert {first.image.digest, first.image.config_digest} <= held
    assert not first.layers & held

    site.widen()
    site.server.until(lambda: site.distributed(first.image)["complete"] is not None, "the image does not come")
    way = site.distributed(first.image)
    assert (way["site"], way["nodes"], way["estimate"]) == ("edge", 1, None)  # nobody has measured a link yet
    assert 0 < way["ready"] <= way["complete"]
    assert way["egress"] > BALLAST
    assert site.node.asked.status().traffic.from_origin < SMALL

    second = await site.publish("2", "two\n")
    said = site.deploy("2")

    assert "expected ready in" in said
    assert site.server.page("shop") == "two\n"
    site.server.until(lambda: site.distributed(second.image)["complete"] is not None, "the update does not come")
    way = site.distributed(second.image)
    assert 0 < way["estimate"]["egress"] < 0.1 * second.image.size  # the node had said what it lacks
    assert way["egress"] < SMALL  # the ballast was there
