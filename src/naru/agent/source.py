"""Where missing objects come from: what the lazy mount, the mirror and prefetching ask of the exchange."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

from naru.agent.index.index import Index


class Priority(IntEnum):
    """What goes first when a link is full; the lowest number wins."""

    DEMAND = 0
    """Somebody waits in read(2)."""
    PROFILE = 1
    """A start will touch it, as earlier starts did."""
    BACKGROUND = 2


class Source(Protocol):
    """Fetches what the node lacks."""

    async def fetch(self, index: Index, digests: Sequence[bytes], priority: Priority) -> None:
        """Bring objects of an index into the object store, verified and committed.

        What is there already costs nothing. Raises NotFound when nobody has one of them, Unavailable when nobody
        answers; the objects that did arrive stay.
        """

    async def fetch_pieces(self, index: Index, numbers: Sequence[int], priority: Priority) -> None:
        """Bring pieces (naru.agent.exchange.pieces numbers them), in this order, so that `read` has them at once.

        An object of which all pieces came is committed; of others the rest can be fetched later. Raises as `fetch`.
        """

    async def read(self, index: Index, digest: bytes, offset: int, length: int) -> bytes:
        """Return bytes of an object, verified by its chunks, before the whole of it has arrived; at most to its end."""
