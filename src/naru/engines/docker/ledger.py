"""What is known of Naru's containers, kept only as long as no event spoke against it."""

from collections.abc import Collection

from naru.engines.docker.translate import End, Known, Owned, short
from naru.engines.dockerapi.answers import Container, Row

OOM_EXIT = 137


class Ledger:
    """Remembers inspected containers, how they ended, and what Naru itself is doing with them; by short id.

    Nothing is remembered while nobody listens to the engine's events, as it could be false.
    """

    def __init__(self) -> None:
        self.listening = False
        self.making: set[str] = set()
        """Names of containers that are being created and started now."""
        self.stopping: set[str] = set()
        self._kept: dict[str, Owned] = {}
        self._editions: dict[str, int] = {}
        self._ends: dict[str, End] = {}
        self._ooms: set[str] = set()

    def recall(self, row: Row) -> Owned | None:
        """Return the container that the row is about, if it is still as it was inspected."""
        one = self._kept.get(short(row.id))
        return one if one and _same(one.container, row) else None

    def find(self, instance: str) -> Owned | None:
        """Return a container by its short id, if it is known."""
        return self._kept.get(instance)

    def edition(self, instance: str) -> int:
        """Number what is known; to be asked before inspecting and given to `keep`."""
        return self._editions.get(instance, 0)

    def keep(self, one: Owned, edition: int) -> None:
        """Remember an inspected container, unless an event came while it was inspected."""
        if self.listening and self.edition(one.id) == edition:
            self._kept[one.id] = one

    def spoil(self, instance: str) -> None:
        """Remember that the container has changed."""
        self._editions[instance] = self.edition(instance) + 1
        self._kept.pop(instance, None)

    def forget(self, instance: str) -> None:
        """Forget a container that is gone."""
        self._kept.pop(instance, None)
        self._editions.pop(instance, None)
        self._ends.pop(instance, None)
        self._ooms.discard(instance)

    def retain(self, instances: Collection[str]) -> None:
        """Forget all containers but these: they went while nobody listened."""
        for gone in (self._kept.keys() | self._editions.keys() | self._ends.keys()) - set(instances):
            self.forget(gone)

    def stop_listening(self) -> None:
        """Trust nothing until the events are listened to again."""
        self.listening = False
        self._kept.clear()

    def ran_out_of_memory(self, instance: str) -> None:
        """Remember that the kernel killed something in the container; the end may follow."""
        self._ooms.add(instance)

    def ended(self, instance: str, exit_code: int) -> None:
        """Remember how the container's process ended."""
        self._ends[instance] = End(exit_code, instance in self._ooms and exit_code == OOM_EXIT)
        self._ooms.discard(instance)

    def known(self, one: Owned) -> Known:
        """Say what is known of the container beside what the engine says."""
        return Known(
            end=self._ends.get(one.id),
            making=one.container.name.lstrip("/") in self.making,
            stopping=one.id in self.stopping,
        )


def _same(container: Container, row: Row) -> bool:
    """Whether a container is listed as it was inspected; not every engine tells of every change by an event."""
    return (
        container.state.status == row.state
        and container.name in row.names
        and container.network_settings.networks.keys() == row.network_settings.networks.keys()
    )
