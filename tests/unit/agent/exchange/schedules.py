"""Schedules to test: of 24 pieces, each its own lead."""

from naru.agent.exchange import bits
from naru.agent.exchange.leads import Leads
from naru.agent.exchange.orders import Ask, Rules
from naru.agent.exchange.schedule import Schedule
from naru.agent.source import Priority

KB = 1024
COUNT = 24
ALL = bits.everything(COUNT)
KEYS = tuple(bytes([n]) for n in range(COUNT))
LEADS = Leads(KEYS, "image")
DEMAND, PROFILE, BACKGROUND = Priority


def node(name: str = "me", *, size: int = 8 * KB, rules: Rules | None = None, **options: object) -> Schedule:
    return Schedule(name, (size,) * COUNT, LEADS, 0.0, rules=rules or Rules(), **options)  # type: ignore[arg-type]


def heard(schedule: Schedule, peer: str, *, mate: bool = True, has: int = 0) -> None:
    schedule.joined(peer, mate=mate, member=True)
    schedule.has(peer, has, all_of_it=True)


def asked(orders: list, peer: str) -> list[int]:
    return [number for order in orders if isinstance(order, Ask) and order.peer == peer for number in order.numbers]
