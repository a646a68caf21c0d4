"""An app: a name, an address and the release that is live behind it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from naru.domain.workload import Address


class AppState(StrEnum):
    """Where an app stands."""

    NEW = "new"
    """Its first release is not live yet."""
    FAILED = "failed"
    """No release was ever live, and the latest rollout failed; never stored, it is told from the two."""
    LIVE = "live"
    REMOVED = "removed"
    """Only its history is left; the name may be used again."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an app answers: a whole URL without a path, such as `https://shop.example.org`."""

    url: str


@dataclass(frozen=True, slots=True)
class App:
    """An app as it is stored.

    `live` is the number of the release that should run, 0 before there is one. `version` grows by one with each
    change and is the entity tag of the app.
    """

    name: str
    state: AppState
    address: Address
    live: int
    created_by: str
    created_at: datetime
    version: int = 1
    target: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for the operator: what, to which app, when, and by whom.

    `number` orders events and never repeats; `subject` is the account that acted, or `naru`.
    """

    number: int
    at: datetime
    app: str
    kind: str
    subject: str
    text: str
    rollout: str = ""
