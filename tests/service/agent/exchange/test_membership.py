"""Who may connect, join and see what."""

import asyncio
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.service.agent.exchange.clusters import Cluster, cluster, sample

from naru.agent.exchange.access import Listed
from naru.agent.exchange.authority import Authority
from naru.agent.exchange.channel import Channel, connect, within
from naru.agent.exchange.discover import Multicast
from naru.agent.exchange.frames import Hello
from naru.agent.exchange.identity import Identity, Member
from naru.agent.exchange.join import found, join, renew
from naru.agent.source import Priority
from naru.domain.errors import Forbidden, NaruError, NotFound, Unavailable

IMAGE = sample(100, 2000, 30_000)


async def greeted(channel: Channel, member: Member) -> None:
    await channel.greet(Hello(member.node, member.site, 0), member)


async def test_a_node_joins_with_a_token_and_renews(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        first = await nodes.start("first", "hall", authority=nodes.authority)
        token = nodes.authority.token(datetime.now(UTC))
        port = first.exchange.port

        identity = await join(tmp_path / "n1", "n1", "edge", "127.0.0.1", port, token)
        renewed = await renew(identity, "127.0.0.1", port)

        assert renewed.member == identity.member == Member("test", "edge", "n1")
        channel = await connect("127.0.0.1", port, renewed.client())
        await greeted(channel, renewed.member)
        await channel.close()


async def test_a_token_of_another_cluster_or_an_old_one_joins_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        first = await nodes.start("first", "hall", authority=nodes.authority)
        other = Authority.create(tmp_path / "other", "test", datetime.now(UTC))
        with pytest.raises(Forbidden, match="another cluster"):
            await join(tmp_path / "n1", "n1", "e", "127.0.0.1", first.exchange.port, other.token(datetime.now(UTC)))
        old = nodes.authority.token(datetime.now(UTC) - timedelta(hours=2))
        with pytest.raises(Forbidden, match="expired"):
            await join(tmp_path / "n1", "n1", "e", "127.0.0.1", first.exchange.port, old)
        assert not (tmp_path / "n1").exists()


async def test_an_agent_without_the_authority_lets_nobody_join(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        plain = await nodes.start("plain", "hall")
        token = nodes.authority.token(datetime.now(UTC))
        with pytest.raises(Forbidden, match="does not hold"):
            await join(tmp_path / "n1", "n1", "e", "127.0.0.1", plain.exchange.port, token)


async def test_nobody_of_another_cluster_or_without_a_certificate_gets_anything(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await nodes.start("seed", "a")
        foreign = Authority.create(tmp_path / "foreign", "test", datetime.now(UTC))
        stranger = found(tmp_path / "stranger", foreign, "n1", "a")
        anonymous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anonymous.check_hostname = False
        anonymous.load_verify_locations(tmp_path / "seed" / "identity" / "authority.pem")
        blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        blind.load_cert_chain(tmp_path / "stranger" / "node.pem")
        for context in (stranger.client(), anonymous, blind):
            with pytest.raises((Unavailable, Forbidden)):
                await intrude(seed.exchange.port, context)


async def intrude(port: int, context: ssl.SSLContext) -> None:
    """Say Hello, and read until the other side ends the connection."""
    channel = await connect("127.0.0.1", port, context)
    try:
        channel.write(Hello("n1", "a", 0))
        while True:
            assert not isinstance(await within(channel.read(), 5, "it goes on"), Hello)
    finally:
        channel.abort()


async def test_a_member_that_calls_itself_another_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        seed = await nodes.start("seed", "a")
        n1 = nodes.identity("n1", "a")
        for claimed in (Hello("n2", "a", 0), Hello("n1", "b", 0)):
            channel = await connect("127.0.0.1", seed.exchange.port, n1.client())
            with pytest.raises(Forbidden, match="its certificate does not"):
                await channel.greet(claimed, n1.member)
            channel.abort()


async def test_an_image_that_the_cluster_does_not_list_is_refused(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        images = {IMAGE.index.image}
        seed = await nodes.start("seed", "far", access=Listed(lambda: images))
        secret = sample(500, seed=9, name="secret")
        IMAGE.fill(seed.store)
        secret.fill(seed.store)
        node = await nodes.start("new", "edge")

        assert await node.exchange.index(IMAGE.index.image) == IMAGE.index
        with pytest.raises(NotFound):
            await node.exchange.index(secret.index.image)
        with pytest.raises(NaruError):
            await node.exchange.fetch(secret.index, secret.digests, Priority.DEMAND)
        assert node.store.missing(secret.digests) == secret.digests


async def test_agents_of_a_network_find_each_other(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        group = "239.255.70.72", probe.getsockname()[1]
    here, there = Member("test", "edge", "here"), Member("test", "edge", "there")
    options = {"interface": "127.0.0.1", "group": group, "every": 0.05}
    async with (
        Multicast(here, 1001, time.monotonic, **options) as one,
        Multicast(there, 1002, time.monotonic, **options) as other,
    ):
        deadline = time.monotonic() + 5
        while not (await one.peers() and await other.peers()):
            if time.monotonic() > deadline:
                pytest.skip("this network carries no multicast")
            await asyncio.sleep(0.01)
        assert [(seen.node, seen.port) for seen in await one.peers()] == [("there", 1002)]
        assert [(seen.node, seen.port) for seen in await other.peers()] == [("here", 1001)]


def test_an_identity_is_of_the_cluster_that_made_it(tmp_path: Path) -> None:
    nodes = Cluster(tmp_path)
    assert Identity.load(nodes.identity("n1", "a").directory).member.cluster == "test"
