"""An app goes live from the machine's Docker engine to others and back, asked all the while.

The others are one node with a network of its own: as a Docker engine on another machine, and as a swarm.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.faults.conftest import Server, serving, used
from tests.images import busybox_image
from tests.swarms import Node, swarm

pytestmark = pytest.mark.needs("docker", "caddy", "swarm")
PATIENCE = 120.0
PORT = 2375


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with swarm(1, f"--host=tcp://0.0.0.0:{PORT} --tls=false") as (node,):
        yield node


@pytest.fixture
def server(docker_socket: str, node: Node, tmp_path: Path) -> Iterator[Server]:
    """A server on the machine's engine, with the swarm as its second target and an app that runs at home."""
    with serving(tmp_path, docker_socket) as server:
        archive = tmp_path / "shop.tar"
        busybox_image(archive, reference="moving:1", body="moving\n")
        server.load(archive)
        assert server.end(server.deploy("shop", "moving:1"))["state"] == "succeeded"
        server.naru("targets", "add", "swarm", node.url, "--site", "yard")
        yield server


def services(node: Node, server: Server) -> int:
    found = node.ask("GET", f'/services?filters={{"label":["naru.app={server.name("shop")}"]}}')
    assert isinstance(found, list)
    return len(found)


def test_an_app_moves_to_a_swarm_and_back_without_a_failed_request(server: Server, node: Node):
    shop = server.name("shop")
    with used(server.status("shop")["endpoint"]["url"]) as client:
        server.naru("targets", "add", "plant", f"tcp://{node.address}:{PORT}")
        assert "succeeded" in server.naru("move", shop, "--to", "plant")
        assert server.containers("shop") == []
        there = server.call("GET", f"/apps/{shop}/instances").json()["items"]
        assert [one["address"].partition(":")[0] for one in there] == [node.address] * 2
        server.naru("targets", "cordon", "plant")
        told = server.naru("move", shop, "--to", "swarm")
        assert "succeeded" in told
        there = server.status("shop")
        assert (there["app"]["target"], there["ready"]) == ("swarm", 2)
        assert (services(node, server), server.containers("shop")) == (2, [])
        drained = server.naru("targets", "drain", "swarm")
        assert f"{shop} → docker  succeeded" in drained
    assert client.failures == []
    assert client.sent > 100
    assert client.bodies == {"moving"}
    assert (services(node, server), len(server.containers("shop"))) == (0, 2)
    assert "cordoned" in server.naru("targets")
    server.naru("targets", "remove", "plant")
    server.naru("targets", "remove", "swarm")
    assert "swarm" not in server.naru("targets")


def test_a_move_goes_on_after_the_server_was_killed(server: Server, node: Node):
    with used(server.status("shop")["endpoint"]["url"]) as client:
        rollout = server.call("POST", f"/apps/{server.name('shop')}/move", json={"to": "swarm"}).json()
        server.until_step(rollout, "roll")
        server.kill()
        server.start()
        moved = server.end(rollout, PATIENCE)
    assert (moved["state"], moved["proof"]["failed"]) == ("succeeded", 0), moved["reason"]
    assert client.failures == []
    assert (services(node, server), server.containers("shop")) == (2, [])
