"""An agent and a server, each as it is: reports on one side, orders on the other."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.agents import agent
from tests.service.cli.conftest import DEPLOY, Served, served, until

__all__ = ["served"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")


def test_a_server_knows_its_agents_and_they_follow_its_orders(served: Served):
    with TemporaryDirectory(prefix="no-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        (home / "token").write_text(served.token)
        told = {"NARU_URL": served.url, "NARU_AGENT_TOKEN_FILE": str(home / "token"), "NARU_AGENT_NODE": "gull"}
        # A registry that answers nobody: the order is followed, and what hinders it is said.
        with agent(home / "agent", NARU_AGENT_HOST="10.0.0.9", NARU_REGISTRIES="none.example.org", **told) as running:
            until(lambda: served.do(served.site.platform.nodes.all()))
            (node,) = served.do(served.site.platform.nodes.all())
            assert (node.report.name, node.report.host, node.alive) == ("gull", "10.0.0.9", True)
            assert node.report.mode == running.asked.status().mode

            assert served.naru(*DEPLOY).exit_code == 0

            until(lambda: "shop:1 is wanted and does not come" in running.log())


def test_an_agent_that_is_killed_follows_its_orders_without_the_server(served: Served):
    with TemporaryDirectory(prefix="no-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        (home / "token").write_text(served.token)
        told = {"NARU_URL": served.url, "NARU_AGENT_TOKEN_FILE": str(home / "token"), "NARU_AGENT_NODE": "gull"}
        with agent(home / "agent", NARU_REGISTRIES="none.example.org", **told) as running:
            until(lambda: served.do(served.site.platform.nodes.all()))
            assert served.naru(*DEPLOY).exit_code == 0
            image = served.do(served.site.apps.release("shop", 1)).image.digest
            kept = home / "agent/state/orders.json"
            until(lambda: kept.exists() and image in kept.read_text())

            running.kill()
            running.settings = {**running.settings, "NARU_URL": "http://127.0.0.1:9"}  # where nobody answers
            (home / "agent/log").unlink()
            running.start()

            until(lambda: "shop:1 is wanted and does not come" in running.log())
            until(lambda: "the control plane does not answer" in running.log())
