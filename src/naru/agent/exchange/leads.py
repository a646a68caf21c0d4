"""Which member of a site fetches what from outside, so that only one does."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

from naru.agent.exchange import bits

_BID: Final = 8
"""Bytes of a member's hash for a key."""


class Leads:
    """Who leads which pieces, among given members; shared by all who know the same pieces."""

    def __init__(self, keys: Sequence[bytes], image: str) -> None:
        grouped: dict[bytes, list[int]] = {}
        for number, key in enumerate(keys):
            grouped.setdefault(key, []).append(number)
        self._groups = [(key, bits.of(numbers)) for key, numbers in grouped.items()]
        self._image = image.encode()
        self._bids: dict[str, list[bytes]] = {}
        self._known: dict[frozenset[str], tuple[dict[str, int], str]] = {}

    def among(self, members: frozenset[str]) -> tuple[Mapping[str, int], str]:
        """Return the pieces that each member leads, and the lead of the image as a whole."""
        if members not in self._known:
            if len(self._known) >= 256:
                self._known.clear()
                self._bids.clear()
            led = {member.encode(): 0 for member in members}
            for (_, group), *bids in zip(self._groups, *map(self._bid, members), strict=True):
                led[max(bids)[_BID:]] |= group
            named = {member.decode(): pieces for member, pieces in led.items()}
            self._known[members] = named, lead(self._image, sorted(members))
        return self._known[members]

    def _bid(self, member: str) -> list[bytes]:
        """Return a member's bid for every group; the members of a site come one by one, and bids stay."""
        if member not in self._bids:
            self._bids[member] = [_bid(key, member.encode()) for key, _ in self._groups]
        return self._bids[member]


def lead(key: bytes, members: Sequence[str]) -> str:
    """Return the member that is to fetch `key` (rendezvous hashing: Thaler and Ravishankar, 1998).

    Whoever knows the same members gives the same answer; a member that leaves changes only what it led.
    """
    return max(_bid(key, member.encode()) for member in members)[_BID:].decode()


def _bid(key: bytes, member: bytes) -> bytes:
    """Return what the highest of leads: a hash, then who it is."""
    return blake2b(key, key=member[:64], digest_size=_BID).digest() + member
