"""Many calls to one engine, a few at a time."""

import asyncio
from collections.abc import Coroutine, Iterable


class Together:
    """Takes steps side by side, `at_once` of them at a time."""

    def __init__(self, at_once: int) -> None:
        self._room = asyncio.Semaphore(at_once)

    async def __call__(self, steps: Iterable[Coroutine[object, object, None]]) -> None:
        """Take all steps, also when some fail; then raise the first error."""
        for result in await asyncio.gather(*map(self._take, steps), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _take(self, step: Coroutine[object, object, None]) -> None:
        async with self._room:
            await step
