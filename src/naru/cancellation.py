"""Cancellations that are not lost."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heeded() -> Iterator[None]:
    """End the block with the cancellation that was asked for while it ran, whatever else it ends with.

    asyncio.gather, and task groups before Python 3.13, raise the error of a part that fails at the moment when the
    whole is cancelled, and the cancellation is gone: a loop that waits and tries again after errors would go on for
    ever, and whoever ends it would wait for it as long.
    """
    try:
        yield
    except Exception:
        task = asyncio.current_task()
        if task and task.cancelling():
            raise asyncio.CancelledError from None
        raise
