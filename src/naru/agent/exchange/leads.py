"""Which member of a site fetches what from outside, so that only one does."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from naru.agent.exchange import bits


class Leads:
    """Who leads which pieces, among given members; shared by all who know the same pieces."""

    def __init__(self, keys: Sequence[bytes], image: str) -> None:
        grouped: dict[bytes, list[int]] = {}
        for number, key in enumerate(keys):
            grouped.setdefault(key, []).append(number)
        self._groups = [(key, bits.of(numbers)) for key, numbers in grouped.items()]
        self._image = image.encode()
        self._known: dict[frozenset[str], tuple[dict[str, int], str]] = {}

    def among(self, members: frozenset[str]) -> tuple[Mapping[str, int], str]:
        """Return the pieces that each member leads, and the lead of the image as a whole."""
        if members not in self._known:
            if len(self._known) >= 256:
                self._known.clear()
            names = sorted(members)
            led = dict.fromkeys(names, 0)
            for key, group in self._groups:
                led[lead(key, names)] |= group
            self._known[members] = led, lead(self._image, names)
        return self._known[members]


def lead(key: bytes, members: Sequence[str]) -> str:
    """Return the member that is to fetch `key` (rendezvous hashing: Thaler and Ravishankar, 1998).

    Whoever knows the same members gives the same answer; a member that leaves changes only what it led.
    """
    return max(members, key=lambda member: (blake2b(key, key=member.encode()[:64], digest_size=8).digest(), member))
