"""Secrets for apps and logins for registries, encrypted at rest and never shown again."""

import contextlib
import hmac
from collections.abc import Sequence

from naru.control.record import Clock
from naru.domain import names
from naru.domain.account import Credentials, RegistryInfo, SecretInfo, Subject
from naru.domain.errors import Invalid, NotFound
from naru.oci.reference import Reference
from naru.store import Store

MAX_SECRET = 512 * 1024


class Vault:
    """Keeps what must not be read back."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def save_secret(self, name: str, value: bytes, *, subject: Subject) -> int:
        """Store a new version of a secret and return its number; apps take it with their next release.

        A value that is the newest already stays as it is, so that storing it again gives no app a new release.
        """
        names.label(name, "a secret")
        if len(value) > MAX_SECRET:
            raise Invalid(f"the secret {name} is larger than 512 KiB", "put large files into a volume")
        with contextlib.suppress(NotFound):
            if hmac.compare_digest(await self._store.secrets.value(name), value):
                return await self._store.secrets.newest_version(name)
        version = await self._store.secrets.put(name, value, str(subject), self._clock())
        await self._tell("secret", subject, f"stored version {version} of the secret {name}")
        return version

    async def secrets(self) -> Sequence[SecretInfo]:
        """List every version of every secret, without values."""
        return await self._store.secrets.all()

    async def remove_secret(self, name: str, *, subject: Subject) -> None:
        """Destroy a secret; raise Conflict while a live release uses it."""
        users = [
            live.app
            for live in await self._store.releases.live()
            if name in {secret.name for secret in live.workload.secrets}
        ]
        await self._store.secrets.delete(name, in_use=", ".join(users))
        await self._tell("secret", subject, f"removed the secret {name}")

    async def save_registry(self, registry: str, username: str, password: str, *, subject: Subject) -> None:
        """Store who we are at a registry; `registry` is its host, with a port where it has one."""
        host = Reference.parse(f"{registry}/image").domain
        if not username or not password:
            raise Invalid("a registry login needs a user name and a password", "give both")
        await self._store.registries.put(Credentials(host, username, password), self._clock())
        await self._tell("registry", subject, f"stored the login {username} for {host}")

    async def registries(self) -> Sequence[RegistryInfo]:
        """List the logins without their passwords."""
        return await self._store.registries.all()

    async def remove_registry(self, registry: str, *, subject: Subject) -> None:
        """Forget a login; raise NotFound when there is none."""
        await self._store.registries.delete(registry)
        await self._tell("registry", subject, f"removed the login for {registry}")

    async def _tell(self, kind: str, subject: Subject, text: str) -> None:
        await self._store.journal.append(self._clock(), "", kind, str(subject), text)
