"""A part in memory whose calls are counted, refused, held up or left without an answer on command."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from naru.domain.errors import NaruError, Unavailable


class Breakable:
    """Every call begins with `_enter`, and what lasts asks `_answering` on its way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[tuple[str, ...]] = []
        """Every call in order: the method's name, then what it was about."""
        self._failures: dict[str, list[NaruError]] = defaultdict(list)
        self._holds: dict[str, asyncio.Event] = {}
        self._away = ""

    def fail(self, method: str, error: NaruError, *, times: int = 1) -> None:
        """Let the next `times` calls of the method raise the error, before anything is done."""
        self._failures[method].extend([error] * times)

    @contextmanager
    def hold(self, method: str) -> Iterator[None]:
        """Let calls of the method hang, before anything is done, until the block ends."""
        self._holds[method] = asyncio.Event()
        try:
            yield
        finally:
            self._holds.pop(method).set()

    def go_away(self, cause: str = "") -> None:
        """Stop answering: calls raise Unavailable."""
        self._away = cause or f"{self.name} does not answer"

    def come_back(self) -> None:
        """Answer again."""
        self._away = ""

    async def _enter(self, method: str, *about: str) -> None:
        self.calls.append((method, *about))
        if held := self._holds.get(method):
            await held.wait()
        else:
            await asyncio.sleep(0)
        self._answering()
        if failures := self._failures[method]:
            raise failures.pop(0)

    def _answering(self) -> None:
        if self._away:
            raise Unavailable(self._away, "start it again")
