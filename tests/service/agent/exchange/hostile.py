"""Agents with good certificates and bad manners."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from tests.service.agent.exchange.clusters import Sample

from naru.agent.exchange import bits
from naru.agent.exchange.channel import Channel, listen
from naru.agent.exchange.discover import Seen
from naru.agent.exchange.frames import Bundle, Frame, Have, Hello, Missing, Open, Part, Piece, Ping, Pong, Reason, Want
from naru.agent.exchange.identity import Identity
from naru.agent.exchange.stream import FrameStream
from naru.domain.errors import NaruError

Answer = Callable[[Channel, Want, Sample], Awaitable[None]]


@asynccontextmanager
async def liar(identity: Identity, sample: Sample, answer: Answer) -> AsyncIterator[Seen]:
    """An agent that advertises the whole image and answers every Want with `answer`."""
    count = sum(max(1, len(one.chunks)) for one in sample.index.objects)

    answering: set[asyncio.Task[None]] = set()

    def accepted(stream: FrameStream) -> None:
        answering.add(asyncio.create_task(accept(Channel(stream))))

    async def accept(channel: Channel) -> None:
        with suppress(NaruError, asyncio.CancelledError, OSError):
            while True:
                match await channel.read():
                    case Hello():
                        channel.write(Hello(identity.member.node, identity.member.site, 0))
                    case Open(handle):
                        channel.write(Have(handle, count, bits.everything(count)))
                    case Ping(token):
                        channel.write(Pong(token))
                    case Want() as want:
                        await answer(channel, want, sample)
                await channel.drained()
        channel.abort()

    server = await listen("127.0.0.1", 0, identity.server(), accepted)
    try:
        port = server.sockets[0].getsockname()[1]
        yield Seen(identity.member.node, identity.member.site, "127.0.0.1", port)
    finally:
        server.close()
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)


async def wrong(channel: Channel, want: Want, sample: Sample) -> None:
    size = sample.index.objects[want.numbers[0]].size
    channel.write(Bundle(want.handle, (Piece(want.numbers[0], False, bytes(size)),)))


async def short(channel: Channel, want: Want, sample: Sample) -> None:
    one = sample.index.objects[want.numbers[0]]
    channel.write(Bundle(want.handle, (Piece(want.numbers[0], False, sample.content[one.digest][:-1]),)))


async def silent(channel: Channel, want: Want, sample: Sample) -> None:
    pass


async def endless(channel: Channel, want: Want, sample: Sample) -> None:
    frame: Frame = Bundle(want.handle, (Piece(want.numbers[0], False, bytes(1000)),))
    while True:
        channel.write(frame)
        await asyncio.sleep(0)
        await channel.drained()


async def never_whole(channel: Channel, want: Want, sample: Sample) -> None:
    for number in range(1 << 20):
        channel.write(Part(want.handle, number, False, 0, 1 << 20, b"x"))
        await asyncio.sleep(0)
        await channel.drained()


async def bomb(channel: Channel, want: Want, sample: Sample) -> None:
    import zstandard

    channel.write(Bundle(want.handle, (Piece(want.numbers[0], True, zstandard.compress(bytes(1 << 28))),)))


async def stale(channel: Channel, want: Want, sample: Sample) -> None:
    channel.write(Missing(want.handle, Reason.ABSENT, want.numbers))
