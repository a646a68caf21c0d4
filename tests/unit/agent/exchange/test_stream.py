import asyncio
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.agent.exchange.stream import FrameStream
from naru.agent.exchange.wire import HEADER, LARGEST
from naru.domain.errors import Invalid, Unavailable

BODIES = st.lists(st.integers(0, 5) | st.integers(30_000, 34_000) | st.just(300_000), max_size=6)


class Pipe(asyncio.Transport):
    """A transport that remembers what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = self.aborted = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted


def feed(stream: FrameStream, content: bytes, most: int) -> None:
    while content:
        room = stream.get_buffer(-1)
        assert len(room)
        some = content[: min(most, len(room))]
        room[: len(some)] = some
        stream.buffer_updated(len(some))
        content = content[len(some) :]


@given(BODIES, st.integers(1, 400_000))
def test_frames_are_the_same_however_their_bytes_come(sizes: list[int], most: int) -> None:
    most = max(most, sum(sizes) // 200)  # not too many steps
    bodies = [bytes([at + 1]) * size for at, size in enumerate(sizes)]

    async def carried() -> list[bytes]:
        stream = FrameStream()
        stream.connection_made(Pipe())
        feed(stream, b"".join(HEADER.pack(len(body), 12) + body for body in bodies), most)
        return [bytes((await stream.read())[1]) for _ in bodies]

    assert asyncio.run(carried()) == bodies


async def test_a_reader_that_takes_nothing_stops_the_sender_until_it_does() -> None:
    stream, pipe = FrameStream(), Pipe()
    stream.connection_made(pipe)
    frame = HEADER.pack(400_000, 12) + bytes(400_000)
    for _ in range(3):
        feed(stream, frame, 1 << 18)
    assert pipe.paused
    await stream.read()
    await stream.read()
    assert not pipe.paused


async def test_what_came_before_the_end_is_read_and_then_the_end_is_told() -> None:
    stream = FrameStream()
    stream.connection_made(Pipe())
    feed(stream, HEADER.pack(3, 12) + b"abc", 100)
    stream.connection_lost(None)
    assert await stream.read() == (12, b"abc")
    with pytest.raises(Unavailable):
        await stream.read()
    with pytest.raises(Unavailable):
        await stream.drained()
    await stream.closed()


@pytest.mark.parametrize("start", [HEADER.pack(LARGEST + 1, 12), HEADER.pack(1, 200)])
async def test_what_is_no_frame_ends_the_connection_before_it_takes_memory(start: bytes) -> None:
    stream, pipe = FrameStream(), Pipe()
    stream.connection_made(cast(asyncio.BaseTransport, pipe))
    feed(stream, start, 100)
    assert pipe.aborted
    with pytest.raises(Invalid):
        await stream.read()


async def test_a_writer_waits_while_much_is_unsent_and_hears_when_the_connection_goes() -> None:
    stream = FrameStream()
    stream.connection_made(Pipe())
    stream.pause_writing()
    waiting = asyncio.create_task(stream.drained())
    await asyncio.sleep(0)
    assert not waiting.done()
    stream.resume_writing()
    await waiting
    stream.pause_writing()
    waiting = asyncio.create_task(stream.drained())
    await asyncio.sleep(0)
    stream.connection_lost(None)
    with pytest.raises(Unavailable):
        await waiting
