"""What many instances say becomes one stream."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Collection

import pytest

from naru.control.gather import gathered, once
from naru.domain.errors import NotFound, Unavailable


async def says(*items: str, error: Exception | None = None) -> AsyncIterator[str]:
    for item in items:
        yield item
        await asyncio.sleep(0)
    if error:
        raise error


async def everything(stream: AsyncIterator[str]) -> list[str]:
    return [item async for item in stream]


async def test_all_instances_are_heard_and_the_end_is_the_end_of_the_last():
    heard = await everything(gathered(once(["a", "b"]), lambda one, _: says(f"{one}1", f"{one}2")))

    assert sorted(heard) == ["a1", "a2", "b1", "b2"]


async def test_instances_that_come_later_are_heard_once_and_told_from_the_first():
    async def batches() -> AsyncIterator[Collection[str]]:
        yield ["a"]
        yield ["a", "b"]

    heard = await everything(gathered(batches(), lambda one, first: says(f"{one} {first}")))

    assert sorted(heard) == ["a True", "b False"]


async def test_an_instance_that_is_gone_ends_alone():
    def stream_of(one: str, _: bool) -> AsyncIterator[str]:
        return says("last words", error=NotFound("gone")) if one == "a" else says("x", "y")

    assert sorted(await everything(gathered(once(["a", "b"]), stream_of))) == ["last words", "x", "y"]


async def test_an_engine_that_goes_away_ends_the_whole_with_its_error():
    with pytest.raises(Unavailable):
        await everything(gathered(once(["a"]), lambda *_: says("x", error=Unavailable("away"))))


async def test_what_cannot_list_the_instances_ends_the_whole_with_its_error():
    async def batches() -> AsyncIterator[Collection[str]]:
        yield ["a"]
        raise Unavailable("the disk is full")

    with pytest.raises(Unavailable):
        await everything(gathered(batches(), lambda *_: says("x")))


async def test_a_reader_who_leaves_stops_every_stream():
    stopped: list[str] = []

    async def endless(one: str) -> AsyncIterator[str]:
        try:
            while True:
                yield one
                await asyncio.sleep(0)
        finally:
            stopped.append(one)

    stream = gathered(once(["a", "b"]), lambda one, _: endless(one))
    assert await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]

    assert sorted(stopped) == ["a", "b"]


async def test_a_reader_who_leaves_as_an_instance_comes_leaves_no_work_behind():
    came = asyncio.Event()

    async def batches() -> AsyncIterator[Collection[str]]:
        yield ["a"]
        await came.wait()
        yield ["b"]

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        stream = gathered(batches(), lambda one, _: says(one))
        assert await anext(stream) == "a"
        came.set()
        await asyncio.sleep(0)  # the task of b is made now, and has not begun
        await stream.aclose()  # type: ignore[attr-defined]
        gc.collect()

    assert [str(one.message) for one in warned] == []
