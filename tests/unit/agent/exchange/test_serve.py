import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from naru.agent.exchange import bits
from naru.agent.exchange.channel import Channel
from naru.agent.exchange.frames import Document, Frame, Have, More, Open
from naru.agent.exchange.identity import Member
from naru.agent.exchange.keep import Keep
from naru.agent.exchange.pace import Pace
from naru.agent.exchange.pack import Packer
from naru.agent.exchange.pieces import Pieces
from naru.agent.exchange.serve import Answerer, Served
from naru.agent.index.index import Index, Object
from naru.agent.objects import ObjectStore
from naru.agent.source import Priority

INDEX = Index("sha256:" + "ab" * 32, b"", tuple(Object(bytes([n]) * 32, 100) for n in range(50)))
MATE = Member("mate", "edge", "naru")


class Wire:
    """A channel's other end: what is put into `asked` is read, and what is said is kept."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[Frame] = asyncio.Queue()
        self.said: list[Frame] = []

    def buffer(self, size: int) -> None: ...

    def write(self, *frames: Frame) -> None:
        self.said += frames

    async def drained(self) -> None: ...

    async def read(self) -> Frame:
        return await self.asked.get()


@dataclass
class Image:
    """An image of which pieces arrive one by one (serve.Served)."""

    keep: Keep | None
    seeking: bool = True
    here: int = 0
    committed: int = 0
    coming: int = 0
    listeners: list[Answerer] = field(default_factory=list)
    done: bool = False

    def complete(self, member: Member) -> bool:
        return self.done

    def listen(self, listener: Answerer) -> None:
        self.listeners.append(listener)

    def deafen(self, listener: Answerer) -> None:
        self.listeners.remove(listener)

    def relay(self, member: Member, numbers: Iterable[int], priority: Priority) -> None: ...

    def unrelay(self, member: Member, numbers: Iterable[int]) -> None: ...

    def arrive(self, number: int) -> None:
        self.committed |= 1 << number
        for listener in self.listeners:
            listener.arrived(self, (number,))


@dataclass
class Shelf:
    image: Image

    async def opened(self, member: Member, asked: Open) -> Served | None:
        return self.image

    async def document(self, served: Served, document: Document, *, relay: bool, member: Member) -> bytes:
        return b""

    def sent(self, size: int) -> None: ...


@asynccontextmanager
async def asked_for(image: Image) -> AsyncIterator[Wire]:
    wire = Wire()
    answering = asyncio.create_task(
        Answerer(cast(Channel, wire), MATE, Shelf(image), Pace(None, time.monotonic), "edge").run()
    )
    wire.asked.put_nowait(Open(1, bytes(32)))
    await until(lambda: any(isinstance(one, Have) for one in wire.said))
    yield wire
    answering.cancel()
    with suppress(asyncio.CancelledError):
        await answering


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what a loop does elsewhere ends it
            await asyncio.sleep(0.01)


def told(wire: Wire) -> list[More]:
    return [one for one in wire.said if isinstance(one, More)]


async def test_what_arrives_in_a_moment_is_advertised_in_one_message(tmp_path: Path) -> None:
    image = Image(Keep(ObjectStore(tmp_path), Pieces(INDEX), Packer()))
    async with asked_for(image) as wire:
        for number in range(50):
            image.arrive(number)
        await until(lambda: told(wire))
        assert told(wire) == [More(1, tuple(range(50)))]


async def test_who_has_everything_is_told_nothing_until_it_lacks_something(tmp_path: Path) -> None:
    image = Image(Keep(ObjectStore(tmp_path), Pieces(INDEX), Packer()), done=True)
    async with asked_for(image) as wire:
        image.arrive(3)
        image.listeners[0]._tell_fresh()
        assert not told(wire)
        image.done = False
        image.arrive(7)
        await until(lambda: told(wire))
        assert bits.of(number for more in told(wire) for number in more.numbers) == 1 << 3 | 1 << 7
