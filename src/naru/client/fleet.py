"""Targets over HTTP: add, cordon and remove them."""

from dataclasses import dataclass
from urllib.parse import quote

from naru.client.transport import Transport
from naru.domain.evacuation import Evacuation
from naru.domain.target import Target, TargetState


@dataclass(frozen=True, slots=True)
class _Target:
    name: str
    url: str
    site: str
    force: bool


@dataclass(frozen=True, slots=True)
class _Change:
    state: TargetState


@dataclass(frozen=True, slots=True)
class _Drain:
    copy_volumes: bool


class Fleet:
    """The client's side of the targets."""

    def __init__(self, transport: Transport) -> None:
        self._http = transport

    async def show(self, name: str) -> Target:
        """Return one target."""
        return await self._http.get(_path(name), Target)

    async def add(self, name: str, url: str, *, site: str = "", force: bool = False) -> Target:
        """Add the engine at a URL as a target; with `force` also one that does not answer yet."""
        return await self._http.write("POST", "targets", Target, _Target(name, url, site, force), timeout=60)

    async def cordon(self, name: str) -> Target:
        """Let nothing new come to the target."""
        return await self._http.write("PATCH", _path(name), Target, _Change(TargetState.CORDONED))

    async def uncordon(self, name: str) -> Target:
        """Let the target take new apps again."""
        return await self._http.write("PATCH", _path(name), Target, _Change(TargetState.ACTIVE))

    async def drain(self, name: str, *, copy_volumes: bool = False) -> Evacuation:
        """Cordon the target and begin to move its apps away; those with volumes only with `copy_volumes`."""
        return await self._http.write("POST", f"{_path(name)}/drain", Evacuation, _Drain(copy_volumes), timeout=120)

    async def remove(self, name: str) -> None:
        """Forget a target on which no app lives."""
        await self._http.delete(_path(name))


def _path(name: str) -> str:
    return f"targets/{quote(name, safe='')}"
