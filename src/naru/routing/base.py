"""What every front door can be asked."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from naru.domain.app import Endpoint
from naru.domain.workload import Address, Health


@dataclass(frozen=True, slots=True)
class Upstream:
    """An instance's `host:port` and its share of the traffic relative to the others; weight 0 gets none."""

    address: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Route:
    """Which instances serve an app's address; with no upstream the door answers 503."""

    app: str
    address: Address
    upstreams: tuple[Upstream, ...]
    health: Health


class Door(Protocol):
    """Routes requests. Every method raises only errors of naru.domain.errors."""

    def endpoint(self, address: Address) -> Endpoint:
        """Say where an address is reached."""

    async def demand(self, app: str, address: Address) -> None:
        """Check that the app can have this address, and change nothing, even while the door is away.

        Raises Invalid or Conflict as `apply` would.
        """

    async def apply(self, route: Route) -> None:
        """Make the route the app's only one.

        Idempotent. Afterwards no new request goes to an address that the route does not name; requests under way
        are finished, and clients' connections stay open. Raises Conflict, naming the holder, when another process
        has the port.
        """

    async def drain(self, addresses: Collection[str], patience: float) -> Mapping[str, int]:
        """Wait until no request is under way to these upstreams, `patience` seconds at most; return what is left."""

    async def remove(self, app: str) -> None:
        """Forget the app's route; its port is free again."""

    async def routes(self) -> Mapping[str, Route]:
        """Say which routes the door has now, by app."""
