"""What a scheduler decides, and by which figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from naru.agent.source import Priority


class Fault(Enum):
    """Why a peer is dropped."""

    SLOW = "it sent nothing of what it was asked for"
    LYING = "it sent other bytes than it was asked for"
    STALE = "it advertised what it does not have"


COOL_DOWN: Final[Mapping[Fault, tuple[float, float]]] = {
    Fault.SLOW: (2.0, 60.0),
    Fault.LYING: (2.0, 600.0),
    Fault.STALE: (2.0, 60.0),
}
"""Seconds for which a dropped peer is not asked: the first time, and at most; they double each time."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Want these pieces of a peer, in this order; `again` when they were asked for with a worse priority."""

    peer: str
    numbers: tuple[int, ...]
    priority: Priority
    relay: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """These came from elsewhere, or are not wanted any more."""

    peer: str
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the mates that these are coming from outside."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Derive:
    """Have the origin bring the whole image."""


@dataclass(frozen=True, slots=True)
class Fail:
    """These cannot be had. `absent`: all who answer lack them; otherwise nobody answers."""

    numbers: tuple[int, ...]
    absent: bool


@dataclass(frozen=True, slots=True)
class Drop:
    """End the connection, and ask the peer nothing for as long as COOL_DOWN says."""

    peer: str
    fault: Fault


Order = Ask | Cancel | Announce | Derive | Fail | Drop


@dataclass(frozen=True, slots=True)
class Rules:
    """Seconds: `grace` for mates to be heard, `patience` without a source, `stall` without a byte of what was asked.

    A peer that stalls is dropped when another has what it was asked for, else after four times as long.
    The background rests while anything else is under way, and for `quiet` after it.
    `stale` wrong advertisements and a peer is dropped; at most `last` pieces are asked twice at once.
    """

    grace: float = 0.5
    patience: float = 10.0
    stall: float = 5.0
    quiet: float = 1.0
    stale: int = 16
    last: int = 8


RULES: Final = Rules()
