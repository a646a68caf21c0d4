"""Comparisons over HTTP."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from naru.client import wire
from naru.client.transport import Transport
from naru.domain.comparison import Comparison


@dataclass(frozen=True, slots=True)
class _Ask:
    targets: tuple[str, ...]
    repeats: int
    image: str


class Comparisons:
    """The client's side of comparisons."""

    def __init__(self, transport: Transport) -> None:
        self._http = transport

    async def start(self, targets: Sequence[str], *, repeats: int, image: str = "") -> Comparison:
        """Start to compare targets, all of them when none is named."""
        return await self._http.write("POST", "comparisons", Comparison, _Ask(tuple(targets), repeats, image))

    async def get(self, comparison: str) -> Comparison:
        """Return one comparison with its results so far."""
        return await self._http.get(_path(comparison), Comparison)

    async def latest(self, limit: int = 20) -> Sequence[Comparison]:
        """Return comparisons, newest first."""
        return (await self._http.get("comparisons", wire.Page[Comparison], {"limit": limit})).items

    async def cancel(self, comparison: str) -> Comparison:
        """Stop a comparison and have all removed that it made."""
        return await self._http.write("POST", f"{_path(comparison)}/cancel", Comparison)

    def follow(self, comparison: str) -> AsyncIterator[Comparison]:
        """Yield the comparison now and at each change, through lost connections, and end after its end."""

        async def connect() -> AsyncIterator[Comparison]:
            async for event in self._http.stream(f"{_path(comparison)}/stream"):
                yield wire.parse(Comparison, event.data)

        return self._http.persistent(connect)


def _path(comparison: str) -> str:
    return f"comparisons/{quote(comparison, safe='')}"
