"""A real Kubernetes node whose containerd asks an agent for root file systems, and a server that deploys to it.

The node's agent has nothing and may ask no registry; one outside of its site has the images.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.agents import Running, agent
from tests.contract.kubernetes_node import Cluster, Network, cluster
from tests.contract.kubernetes_plane import manifest
from tests.e2e.faults.conftest import Server, serving

MIRROR = Path(__file__).parents[3] / "deploy/agent/hosts.toml"


@dataclass(frozen=True)
class Edge:
    """A node and its agent, the agent outside, and a server that knows them."""

    outside: Running
    node: Running
    kubernetes: Cluster
    server: Server

    def deploy(self, image: str, *words: str) -> str:
        """Deploy an image as the app `shop`, as an operator does; return what is said."""
        return self.server.naru("deploy", image, "--port", "8080", "--name", self.server.name("shop"), *words)

    def distributed(self, digest: str) -> dict[str, object]:
        """Return what is kept of an image's way to the node."""
        kept = self.server.call("GET", "/distributions").json()["items"]
        return next(one for one in kept if one["image"] == digest)

    def completed(self, digest: str) -> dict[str, object]:
        """Wait until the node has all of an image; return what is kept of its way there."""
        self.server.until(lambda: self.distributed(digest)["complete"] is not None, "the image does not come whole")
        return self.distributed(digest)


@contextmanager
def edge(home: Path, where: Network, registry: str, outside: Running) -> Iterator[Edge]:
    """Run a node on a network, and a server on this machine, until the end; `home` is shared between mount namespaces.

    The agent outside holds the cluster's authority and is beside `registry`, which the node reaches.
    """
    door = outside.settings["NARU_AGENT_LISTEN"]
    node = Running(home / "edge", {}, where.node)
    (plane := home / "kubernetes").mkdir(parents=True)
    (control := home / "server").mkdir()
    with ExitStack() as stack:
        kubernetes = stack.enter_context(cluster(plane, where, {"naru": node.snapshotter}))
        for one in manifest():
            kubernetes.plane.apply(one)
        engine = f"kubernetes://{kubernetes.plane.kubeconfig(home / 'kubeconfig', 'naru')}"
        server = stack.enter_context(
            serving(control, engine, where.machine, NARU_INSECURE_REGISTRIES=registry, NARU_SITE="edge")
        )
        node.settings = {
            "NARU_AGENT_NODE": "edge",
            "NARU_SITE": "edge",
            "NARU_AGENT_ORIGIN": "no",
            "NARU_AGENT_RECORD": "1",
            "NARU_AGENT_LISTEN": f"{where.node.address}:7071",
            "NARU_AGENT_PEERS": door,
            "NARU_AGENT_MIRROR": "127.0.0.1:7072",
            "NARU_INSECURE_REGISTRIES": registry,
            "NARU_URL": server.url,
            "NARU_AGENT_TOKEN_FILE": str(control / "state/cli-token"),
        }
        _mirrored(kubernetes.home / "hosts/_default")
        node.home.mkdir()
        node.command("join", outside.command("token", "--node", "edge").split()[-1], "--via", door)
        stack.enter_context(agent(node.home, node.host, **node.settings))
        server.until(node.knows_somebody, "the agents do not find each other")
        yield Edge(outside, node, kubernetes, server)


def _mirrored(hosts: Path) -> None:
    """Let containerd ask the mirror, as its page says."""
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(MIRROR.read_text())
