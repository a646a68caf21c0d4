"""Cancellations that are not lost."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heeded() -> Iterator[None]:
    """End the block with the cancellation that was asked for while it ran, whatever else it ends with.

    asyncio.gather raises the error of a part that fails at the moment when the whole is cancelled, and the cancellation
    is gone: a loop that waits and tries again after errors would go on for ever, and whoever ends it would wait for it
    as long. Not for task groups: before Python 3.13 those count a failure of their own as a cancellation of the task.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except Exception:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError from None
        raise
