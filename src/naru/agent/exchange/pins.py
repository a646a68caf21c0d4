"""Which index of an image is the right one, where a release names it, and who came with another."""

import logging
from dataclasses import dataclass
from typing import Final

from naru.agent.index.index import Index
from naru.domain.errors import Invalid

_LOG = logging.getLogger(__name__)

_MOST: Final = 10_000
_LAST: Final = 32


@dataclass(frozen=True, slots=True)
class Offered:
    """An index that was not taken: of which image, from which agent, and its digest."""

    image: str
    node: str
    index: bytes


class Pins:
    """The indexes that releases name, by image. `refused` are the last others that came."""

    def __init__(self) -> None:
        self._named: dict[str, bytes] = {}
        self._refused: dict[Offered, None] = {}

    @property
    def refused(self) -> tuple[Offered, ...]:
        """Return the last indexes that were not taken, each once."""
        return tuple(self._refused)

    def name(self, image: str, index: bytes) -> None:
        """Take no other index of an image from now on."""
        self._named.pop(image, None)
        self._named[image] = index
        if len(self._named) > _MOST:
            self._named.pop(next(iter(self._named)))

    def named(self, image: str) -> bytes | None:
        """Return the digest of the only index that is right, None while all are."""
        return self._named.get(image)

    def check(self, index: Index, node: str, pinned: bytes | None) -> None:
        """Raise Invalid, and remember it, when an agent came with another index than the pinned one."""
        if pinned is None or index.digest == pinned:
            return
        offered = Offered(index.image, node, index.digest)
        if offered not in self._refused:
            _LOG.warning("%s has an index of %s that the release does not name", node, index.image)
        self._refused.pop(offered, None)
        self._refused[offered] = None
        if len(self._refused) > _LAST:
            self._refused.pop(next(iter(self._refused)))
        raise Invalid(
            f"the index of {index.image} that {node} has is not the one that the release names",
            f"look at {node}: it is of another version, or it lies",
        )
