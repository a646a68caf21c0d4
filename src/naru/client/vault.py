"""Secrets and registry credentials over HTTP; their values go in and never come out."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from naru.client import wire
from naru.client.transport import Transport
from naru.domain.account import RegistryInfo, SecretInfo


@dataclass(frozen=True, slots=True)
class _Credentials:
    username: str
    password: str


class Vault:
    """The client's side of what is stored encrypted."""

    def __init__(self, transport: Transport) -> None:
        self._http = transport

    async def save_secret(self, name: str, value: bytes) -> int:
        """Store a secret's value and return its version."""
        return (await self._http.write("PUT", f"secrets/{quote(name, safe='')}", wire.SavedSecret, value)).version

    async def secrets(self) -> Sequence[SecretInfo]:
        """Return the stored secrets without their values."""
        return (await self._http.get("secrets", wire.Page[SecretInfo])).items

    async def remove_secret(self, name: str) -> None:
        """Forget a secret."""
        await self._http.delete(f"secrets/{quote(name, safe='')}")

    async def save_registry(self, registry: str, username: str, password: str) -> None:
        """Store the credentials of a registry host."""
        await self._http.put(f"registries/{quote(registry, safe='')}", _Credentials(username, password))

    async def registries(self) -> Sequence[RegistryInfo]:
        """Return the registry hosts whose credentials are stored."""
        return (await self._http.get("registries", wire.Page[RegistryInfo])).items

    async def remove_registry(self, registry: str) -> None:
        """Forget the credentials of a registry host."""
        await self._http.delete(f"registries/{quote(registry, safe='')}")
