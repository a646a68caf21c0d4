"""Secrets and registry logins: written here, never read back."""

from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import Response

from naru.api.answers import Page, document, page
from naru.api.idempotency import IdempotentRoute
from naru.api.identity import By, Naru
from naru.control.vault import MAX_SECRET
from naru.domain.account import RegistryInfo, SecretInfo
from naru.domain.errors import Invalid

router = APIRouter(route_class=IdempotentRoute, tags=["vault"])


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """The version that a secret's value got."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and password."""

    username: str
    password: str


@router.get("/secrets", response_model=Page[SecretInfo])
async def list_secrets(request: Request, naru: Naru, by: By) -> Response:
    """List every version of every secret, without values."""
    secrets = await naru.vault.secrets()
    return page(request, SecretInfo, secrets, len(secrets) + 1)


@router.put("/secrets/{name}", response_model=SecretVersion)
async def save_secret(request: Request, naru: Naru, by: By, name: str) -> Response:
    """Store the body as the secret's next version."""
    value = b""
    async for chunk in request.stream():
        value += chunk
        if len(value) > MAX_SECRET:
            raise Invalid(f"the secret {name} is larger than 512 KiB", "put large files into a volume")
    version = await naru.vault.save_secret(name, value, subject=by)
    return document(request, SecretVersion, SecretVersion(name, version))


@router.delete("/secrets/{name}", status_code=HTTPStatus.NO_CONTENT)
async def remove_secret(naru: Naru, by: By, name: str) -> Response:
    """Destroy a secret."""
    await naru.vault.remove_secret(name, subject=by)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.get("/registries", response_model=Page[RegistryInfo])
async def list_registries(request: Request, naru: Naru, by: By) -> Response:
    """List the registry logins without passwords."""
    registries = await naru.vault.registries()
    return page(request, RegistryInfo, registries, len(registries) + 1)


@router.put("/registries/{registry}", status_code=HTTPStatus.NO_CONTENT)
async def save_registry(naru: Naru, by: By, registry: str, login: Login) -> Response:
    """Store who we are at a registry."""
    await naru.vault.save_registry(registry, login.username, login.password, subject=by)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.delete("/registries/{registry}", status_code=HTTPStatus.NO_CONTENT)
async def remove_registry(naru: Naru, by: By, registry: str) -> Response:
    """Forget a registry login."""
    await naru.vault.remove_registry(registry, subject=by)
    return Response(status_code=HTTPStatus.NO_CONTENT)
