"""Who is signed in, API tokens and sign-in links over HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from naru.client import wire
from naru.client.transport import Transport
from naru.domain.account import ApiToken, Subject


@dataclass(frozen=True, slots=True)
class _NewToken:
    name: str
    expires_at: datetime | None


class Accounts:
    """The client's side of accounts."""

    def __init__(self, transport: Transport) -> None:
        self._http = transport

    async def who(self) -> Subject:
        """Return who the server takes us for, else raise SignInRequired."""
        return await self._http.get("session", Subject)

    async def login_link(self) -> str:
        """Return a fresh code that signs a browser in once."""
        return (await self._http.write("POST", "session/link", wire.LoginCode)).code

    async def create_token(self, name: str, *, expires_at: datetime | None = None) -> tuple[ApiToken, str]:
        """Create an API token and return it with its value, which is told only now."""
        created = await self._http.create("tokens", wire.CreatedToken, _NewToken(name, expires_at))
        return created.token, created.value

    async def tokens(self) -> Sequence[ApiToken]:
        """Return the API tokens without their values."""
        return (await self._http.get("tokens", wire.Page[ApiToken])).items

    async def revoke_token(self, token: str) -> None:
        """End a token by its id."""
        await self._http.delete(f"tokens/{quote(token, safe='')}")
