"""A server, the agent that signs, and one that is let in and thrown out, each as it is."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.agents import Running, agent
from tests.ports import free_port
from tests.service.cli.conftest import Served, served, until

from naru.domain.errors import Forbidden

__all__ = ["served"]


def test_a_node_is_let_in_by_the_console_s_command_and_thrown_out_again(served: Served):
    with TemporaryDirectory(prefix="nj-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        (home / "token").write_text(served.token)
        told = {
            "NARU_URL": served.url,
            "NARU_AGENT_TOKEN_FILE": str(home / "token"),
            "NARU_AGENT_HOST": "127.0.0.1",
            "NARU_AGENT_SNAPSHOTTER": "no",
        }
        head = {**told, "NARU_AGENT_NODE": "head", "NARU_AGENT_AUTHORITY": "yes"}
        gull = {**told, "NARU_AGENT_NODE": "gull"}
        with agent(home / "head", NARU_AGENT_LISTEN=f"127.0.0.1:{free_port()}", **head) as first:
            until(lambda: served.do(served.site.platform.nodes.all()))

            made = served.naru("nodes", "invite", "--node", "gull")
            assert made.exit_code == 0, made.output
            command = next(line for line in made.stdout.splitlines() if line.startswith("naru agent join"))
            joining = Running(home / "gull", {**gull, "NARU_AGENT_LISTEN": f"127.0.0.1:{free_port()}"})
            until(lambda: "has joined" in _tried(joining, *command.split()[2:]))

            with agent(home / "gull", **joining.settings) as second:
                until(lambda: "gull" in _connected(first) and "head" in _connected(second))

                assert served.naru("nodes", "remove", "gull").exit_code == 0

                until(lambda: "gull" not in _connected(first) and not _connected(second))
                until(lambda: "was removed" in second.log())
                with pytest.raises(Forbidden):
                    served.do(served.site.platform.nodes.report(_report(second)))


def _tried(node: Running, *words: str) -> str:
    """Try to join: the agent that signs hears of a token a moment after it was made."""
    try:
        return node.command(*words)
    except AssertionError as error:
        return str(error)


def _connected(node: Running) -> set[str]:
    return {peer.node for peer in node.asked.status().peers if peer.connected}


def _report(node: Running) -> object:
    from naru.agent.reports import report
    from naru.domain.distribution import Link

    return report(node.asked.status(), "127.0.0.1", 1, Link())
