"""A node that was thrown out is refused by all agents, wherever the authority is by then."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.service.agent.exchange.clusters import Node, cluster, sample

from naru.agent.exchange.channel import connect
from naru.agent.exchange.frames import Hello
from naru.agent.exchange.join import join, renew
from naru.agent.exchange.orders import Rules
from naru.domain.errors import Forbidden, NaruError, NotFound
from naru.domain.membership import Admission, Expulsion, Token

IMAGE = sample(100, 2000, 30_000)


async def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def knows(node: Node, *names: str) -> bool:
    return set(names) <= set(node.exchange.peers)


async def refused(node: Node, identity: object) -> bool:
    channel = await connect("127.0.0.1", node.exchange.port, identity.client())
    try:
        await channel.greet(Hello(identity.member.node, identity.member.site, 0), identity.member)
    except Forbidden as error:
        return "was removed" in str(error)
    finally:
        channel.abort()
    return False


async def test_a_node_that_is_thrown_out_is_cut_off_by_everybody(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        head = await nodes.start("head", "hall", authority=nodes.authority)
        mate = await nodes.start("mate", "edge")
        gone = await nodes.start("gone", "edge")
        await until(lambda: knows(head, "mate", "gone") and knows(mate, "head", "gone") and knows(gone, "head", "mate"))

        head.exchange.membership.revoke("gone")

        await until(lambda: "gone" not in head.exchange.peers and "gone" not in mate.exchange.peers)
        identity = gone.exchange.membership.identity
        for one in (head, mate):
            assert await refused(one, identity)
        await until(lambda: not gone.exchange.peers)
        with pytest.raises(Forbidden, match="was removed"):
            await renew(identity, "127.0.0.1", head.exchange.port)
        assert knows(head, "mate")


async def test_the_list_goes_on_without_the_authority_and_survives_a_restart(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        head = await nodes.start("head", "hall", authority=nodes.authority)
        mate = await nodes.start("mate", "edge")
        gone = nodes.identity("gone", "edge")
        await until(lambda: knows(mate, "head"))
        head.exchange.membership.revoke("gone")
        await until(lambda: (mate.exchange.membership.identity.directory / "revoked.crl").exists())
        await head.exchange.__aexit__(None, None, None)

        late = await nodes.start("late", "edge")  # it was not there, and hears of it from its mate

        await until(lambda: (late.exchange.membership.identity.directory / "revoked.crl").exists())
        assert await refused(late, gone)


async def test_the_control_plane_lets_nodes_in_and_out_through_the_authority(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        head = await nodes.start("head", "hall", authority=nodes.authority)
        token = Token(nodes.authority.token(datetime.now(UTC)).pin, "s" * 43)
        admission = Admission(token.hashed, datetime(2100, 1, 1, tzinfo=UTC), "new", 1)
        port = head.exchange.port
        with pytest.raises(Forbidden, match="unknown"):
            await join(tmp_path / "early", "new", "edge", "127.0.0.1", port, token)

        head.exchange.membership.admit([admission], [])
        identity = await join(tmp_path / "new", "new", "edge", "127.0.0.1", port, token)
        assert not await refused(head, identity)

        head.exchange.membership.admit([], [Expulsion("new", datetime.now(UTC))])
        assert await refused(head, identity)


async def test_who_does_not_hold_the_authority_throws_nobody_out(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        plain = await nodes.start("plain", "hall")
        with pytest.raises(NotFound, match="does not hold"):
            plain.exchange.membership.revoke("other")


async def test_a_forged_list_ends_the_connection_and_counts_for_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path / "ours") as ours, cluster(tmp_path / "theirs") as theirs:
        mate = await ours.start("mate", "edge")
        liar = await ours.start("liar", "edge")
        theirs.identity("mate", "edge")
        theirs.authority.revoke("mate", datetime.now(UTC))
        await until(lambda: knows(mate, "liar"))

        with pytest.raises(NaruError):
            mate.exchange.membership.hear(theirs.authority.revoked)
        with pytest.raises(NaruError):
            liar.exchange.membership.hear(b"nonsense")

        assert knows(mate, "liar")


async def test_files_are_given_as_before_to_those_who_stay(tmp_path: Path) -> None:
    async with cluster(tmp_path, Rules(grace=0.5, patience=5.0, stall=1.5, quiet=0.1)) as nodes:
        head = await nodes.start("head", "hall", authority=nodes.authority)
        mate = await nodes.start("mate", "edge")
        await nodes.start("gone", "edge")
        IMAGE.fill(head.store)
        await until(lambda: knows(mate, "head", "gone"))
        head.exchange.membership.revoke("gone")
        assert await mate.exchange.index(IMAGE.index.image) == IMAGE.index
