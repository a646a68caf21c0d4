"""A cancellation outlives an error that comes at the same moment."""

import asyncio

import pytest

from naru.cancellation import heeded


async def test_a_loop_that_tries_again_after_errors_ends_when_it_is_cancelled():
    failing = asyncio.Event()

    async def fail() -> None:
        await failing.wait()
        raise OSError("gone")

    async def try_again() -> None:
        while True:
            try:
                with heeded():
                    await asyncio.gather(fail(), asyncio.sleep(60))
            except OSError:
                failing.clear()

    loop = asyncio.create_task(try_again())
    await asyncio.sleep(0)
    for moments in range(8):  # between the failure of a part and the end of the whole are several turns of the loop
        await asyncio.sleep(0)
        failing.set()
        for _ in range(moments):
            await asyncio.sleep(0)
        loop.cancel()
        done, _ = await asyncio.wait([loop], timeout=5)
        assert done, f"it went on although it was cancelled {moments} moments after a part of it had failed"
        assert loop.cancelled()
        failing.clear()
        loop = asyncio.create_task(try_again())
        await asyncio.sleep(0)
    loop.cancel()


async def test_an_error_alone_stays_what_it_is():
    with pytest.raises(OSError, match="gone"), heeded():
        raise OSError("gone")


async def test_what_a_failed_task_group_left_behind_is_no_cancellation():
    async def fail() -> None:
        raise OSError("gone")

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())

    with pytest.raises(OSError, match="again"), heeded():
        raise OSError("again")
