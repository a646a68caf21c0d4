"""The volumes of the engine in memory."""

from collections.abc import Iterator, Sequence

from naru.domain.errors import NotFound
from naru.engines.base import Stored

EMPTY = bytes(1024)
"""An archive of nothing."""
_CHUNK = 512


class FakeDisk:
    """Keeps each volume as an archive of what it holds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.holds: dict[tuple[str, str], bytes] = {}
        """By app and volume."""

    def stored(self, app: str) -> Sequence[Stored]:
        """List the volumes of an app."""
        return [Stored(volume, f"{self.name}/{app}/{volume}") for owner, volume in sorted(self.holds) if owner == app]

    def make(self, app: str, volume: str) -> None:
        """Have the volume, empty unless it is there."""
        self.holds.setdefault((app, volume), EMPTY)

    def make_anew(self, app: str, volume: str) -> None:
        """Lose what the volume held."""
        self.holds[app, volume] = b""

    def append(self, app: str, volume: str, chunk: bytes) -> None:
        """Write more of an archive."""
        self.holds[app, volume] += chunk

    def read(self, app: str, volume: str) -> Iterator[bytes]:
        """Yield the archive in pieces; raise NotFound without the volume."""
        if (app, volume) not in self.holds:
            raise NotFound(f"{self.name} has no volume {volume} of {app}", "look at its volumes")
        archive = self.holds[app, volume]
        return (archive[at : at + _CHUNK] for at in range(0, len(archive), _CHUNK))

    def remove(self, app: str) -> None:
        """Remove the volumes of an app."""
        self.holds = {one: archive for one, archive in self.holds.items() if one[0] != app}
