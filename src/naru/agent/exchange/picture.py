"""What one node knows of one image in its site: who has what, who wants what, and what was asked of whom."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_

from naru.agent.exchange.leads import Leads
from naru.agent.exchange.links import Link
from naru.agent.exchange.wants import Wants
from naru.agent.source import Priority


@dataclass(slots=True)
class Picture:
    """See the module. Sets of pieces are bits (bits.py); `sizes` are bytes by piece number.

    `here` is what is committed, `own` what this node wants, `asked_of_us` what mates want of it, `profile` the order
    in which profiles are wanted, `origin` whether the origin may be asked, `deriving` whether it is at work.
    """

    node: str
    sizes: Sequence[int]
    leads: Leads
    here: int
    origin: bool
    links: dict[str, Link] = field(default_factory=dict)
    own: Wants = field(default_factory=Wants)
    asked_of_us: dict[str, Wants] = field(default_factory=dict)
    profile: list[int] = field(default_factory=list)
    deriving: bool = False

    @property
    def wanted(self) -> int:
        """What this node or a mate waits for."""
        return reduce(or_, (wants.all for wants in self.asked_of_us.values()), self.own.all)

    @property
    def wanted_by(self) -> list[int]:
        """What is wanted, by this node and for mates, each piece at its best priority."""
        by = list(self.own.by)
        for wants in self.asked_of_us.values():
            for priority, some in enumerate(wants.by):
                by[priority] |= some
        by[1] &= ~by[0]
        by[2] &= ~(by[0] | by[1])
        return by

    @property
    def flying(self) -> int:
        """What was asked of anybody and did not come yet."""
        flying = 0
        for link in self.links.values():
            flying |= link.asked[0] | link.asked[1] | link.asked[2]
        return flying

    @property
    def coming(self) -> int:
        """What is on its way from outside."""
        coming = reduce(or_, (one.flying for one in self.links.values() if not one.mate), 0)
        return coming | self.wanted if self.deriving else coming

    @property
    def mates(self) -> list[Link]:
        """Peers of the own site."""
        return [link for link in self.links.values() if link.mate]

    @property
    def outside(self) -> list[Link]:
        """Peers of other sites."""
        return [link for link in self.links.values() if not link.mate]

    def asked_by(self, mate: Link) -> int:
        """Return what a mate asks of this node, and so must not be asked for: both would wait."""
        return self.asked_of_us[mate.name].all if mate.name in self.asked_of_us else 0

    def order(self) -> list[int]:
        """Return the pieces of profiles that are still wanted, in their order."""
        self.profile = [n for n in self.profile if self.own.by[Priority.PROFILE] >> n & 1]
        return self.profile

    def settle(self, pieces: int) -> None:
        """Pieces are here: nobody wants them any more."""
        self.here |= pieces
        self.forgo(pieces)

    def forgo(self, pieces: int) -> None:
        """Nobody wants these any more."""
        self.own.remove(pieces)
        for wants in self.asked_of_us.values():
            wants.remove(pieces)
