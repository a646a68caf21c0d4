"""Who may act."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is signed in: the account's name, and the API token's name where one was used."""

    account: str
    token: str = ""

    def __str__(self) -> str:
        return f"{self.account}/{self.token}" if self.token else self.account


@dataclass(frozen=True, slots=True)
class ApiToken:
    """An API token without its value, which is shown once and stored as a hash."""

    id: str
    name: str
    account: str
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """A stored secret without its value."""

    name: str
    version: int
    created_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are at one registry host."""

    registry: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RegistryInfo:
    """Stored credentials of a registry host, without the password."""

    registry: str
    username: str
    updated_at: datetime
