"""Pieces on their way into the store: in batches, so that a thread is woken for many and not for each."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from naru.agent.exchange.frames import Piece
from naru.agent.exchange.keep import Keep
from naru.domain.errors import NaruError

_IN_LOOP: Final = 32 << 10
"""Bytes that are kept without a thread: it would cost more than the work."""
_MOST: Final = 4 << 20
"""Bytes that may wait; who brings more waits too, and so does the network behind it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a piece: the pieces that are committed with it, or why it could not be kept."""

    node: str
    number: int
    result: range | NaruError


class Intake:
    """Verifies and keeps what comes for one image; `done` hears what became of each piece, in the order they came."""

    def __init__(self, keep: Keep, done: Callable[[Sequence[Kept]], None]) -> None:
        self._keep = keep
        self._done = done
        self._waiting: list[tuple[str, Piece]] = []
        self._size = 0
        self._held: set[tuple[str, int]] = set()
        self._task: asyncio.Task[None] | None = None
        self._room = asyncio.Event()

    def holds(self, node: str, number: int) -> bool:
        """Whether a piece of that node is on its way."""
        return (node, number) in self._held

    async def put(self, node: str, pieces: Sequence[Piece]) -> None:
        """Take pieces in; return when there is room for more."""
        self._waiting += ((node, piece) for piece in pieces)
        self._held |= {(node, piece.number) for piece in pieces}
        self._size += sum(len(piece.body) for piece in pieces)
        if self._task is None:
            if self._size <= _IN_LOOP:
                self._end(self._stored(self._begin()))
                return
            self._task = asyncio.create_task(self._run())
        while self._size > _MOST and self._task:
            self._room.clear()
            await self._room.wait()

    def close(self) -> None:
        """Take nothing in any more."""
        if self._task:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                self._end(await asyncio.to_thread(self._stored, self._begin()))
        finally:
            self._task = None
            self._room.set()

    def _begin(self) -> list[tuple[str, Piece]]:
        batch, self._waiting, self._size = self._waiting, [], 0
        self._room.set()
        return batch

    def _end(self, kept: Sequence[Kept]) -> None:
        self._held -= {(one.node, one.number) for one in kept}
        self._done(kept)

    def _stored(self, batch: Sequence[tuple[str, Piece]]) -> list[Kept]:
        return [Kept(node, piece.number, self._store(piece)) for node, piece in batch]

    def _store(self, piece: Piece) -> range | NaruError:
        try:
            return self._keep.store(piece.number, piece.zstd, piece.body)
        except NaruError as error:
            return error
