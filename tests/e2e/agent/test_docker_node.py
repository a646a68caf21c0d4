"""`naru deploy` to a plain Docker engine that pulls through its node's agent, which takes layers from another agent."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.agents import Running, agent
from tests.e2e.faults.conftest import Server, serving
from tests.layered import base, layer, push
from tests.ports import free_port
from tests.service.oci.conftest import registry

pytestmark = [pytest.mark.needs("docker", "docker-registry", "caddy"), pytest.mark.asyncio]
PAGE = "through the mirror\n"
ENTRY = ("/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www")
SMALL = 64 << 10
"""Bytes that a manifest and a configuration have at most; they come from the registry itself."""


@dataclass(frozen=True)
class Site:
    """A registry with an agent beside it, a node's agent whose mirror is at `mirror`, and a server."""

    registry: str
    outside: Running
    node: Running
    mirror: str
    server: Server


@pytest.fixture
def site(tmp_path: Path, docker_socket: str) -> Iterator[Site]:
    with ExitStack() as stack:
        images = stack.enter_context(contextmanager(registry)(tmp_path, {}))
        door, mirror = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        (home := tmp_path / "server").mkdir()
        server = stack.enter_context(serving(home, docker_socket, NARU_SITE="edge"))
        told = {"NARU_AGENT_SNAPSHOTTER": "no", "NARU_AGENT_UPSTREAM": images}
        beside = {"NARU_AGENT_NODE": "outside", "NARU_SITE": "outside", "NARU_AGENT_AUTHORITY": "yes"}
        outside = stack.enter_context(agent(tmp_path / "outside", NARU_AGENT_LISTEN=door, **beside, **told))
        settings = {
            **told,
            "NARU_AGENT_NODE": "edge",
            "NARU_SITE": "edge",
            "NARU_AGENT_ORIGIN": "no",
            "NARU_AGENT_MIRROR": mirror,
            "NARU_AGENT_PEERS": door,
            "NARU_URL": server.url,
            "NARU_AGENT_TOKEN_FILE": str(home / "state/cli-token"),
        }
        node = Running(tmp_path / "edge", settings)
        node.home.mkdir()
        node.command("join", outside.command("token", "--node", "edge").split()[-1], "--via", door)
        stack.enter_context(agent(node.home, **settings))
        yield Site(images, outside, node, mirror, server)


async def test_an_engine_that_knows_no_agents_pulls_layers_that_another_agent_gave(site: Site, tmp_path: Path):
    server, shop = site.server, site.server.name("shop")
    layers = [base(), layer({"www/index.html": PAGE.encode(), "ballast": os.urandom(4 << 20)})]
    image = await push(tmp_path / "made", f"{site.registry}/team/shop:1", layers, *ENTRY)
    site.outside.command("prefetch", f"{site.registry}/team/shop:1")
    server.until(lambda: server.call("GET", "/nodes").json()["items"], "the node's agent does not report")
    server.until(site.node.knows_somebody, "the agents do not find each other")

    words = ("--port", "8080", "--name", shop, "--stop-grace", "1s")
    said = server.naru("deploy", f"{site.mirror}/team/shop:1", *words)

    assert "1 node of edge fetches it" in said
    assert server.page("shop") == PAGE
    traffic = site.node.asked.status().traffic
    assert traffic.to_engines > 4 << 20
    assert traffic.from_outside > 4 << 20
    assert traffic.from_origin < SMALL

    server.end(server.call("DELETE", f"/apps/{shop}").json())
    server.docker("DELETE", f"/images/{site.mirror}/team/shop@{image.digest}")
