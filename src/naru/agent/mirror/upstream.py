"""The registries that stand behind the mirror: which one a request means, and what it answers."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Final

from naru.domain.account import Credentials
from naru.domain.errors import Forbidden, Invalid
from naru.oci.exchange import Ask, Exchange
from naru.oci.manifest import MANIFEST_TYPES, MAX_MANIFEST
from naru.oci.reference import DOCKER_HUB, Digest, Reference, registry_host

_ACCEPT: Final = ", ".join(MANIFEST_TYPES)
_DOMAIN: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+|localhost")
_CHUNK: Final = 256 * 1024
_LIAR: Final = "do not trust this registry or what stands between it and us"


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest, an index or a list as it was sent: nothing is written anew, since its digest is that of its bytes."""

    media_type: str
    content: bytes

    @property
    def digest(self) -> Digest:
        """The digest of the bytes."""
        return Digest.of(self.content)


def repository(path: str, named: str, default: str) -> Reference:
    """Return the repository that a request is for; raise Invalid.

    containerd says the registry in `ns` (`named`), Podman puts it before the path (`mirror/registry.org/team/shop`),
    and Docker says nothing, because it mirrors one registry: the `default`.
    """
    if named:
        domain = registry_host(named)
    else:
        head, slash, rest = path.partition("/")
        inside = bool(slash and _DOMAIN.fullmatch(head))
        domain, path = (registry_host(head), rest) if inside else (default, path)
    return Reference(domain, path, tag="latest")


class Upstream:
    """Asks registries whose host matches one of the shell patterns `allowed`; `login` says who we are at a host.

    A name through the mirror itself, at the host `mirror`, means what the mirror makes of it: `default` is the registry
    of those that name none.
    """

    def __init__(
        self,
        exchange: Exchange,
        allowed: Sequence[str] = ("*",),
        login: Callable[[str], Credentials | None] = lambda _: None,
        *,
        mirror: str = "",
        default: str = DOCKER_HUB,
    ) -> None:
        self._exchange = exchange
        self._allowed = allowed
        self._login = login
        self._mirror = mirror
        self._default = default

    async def manifest(self, of: Reference, wanted: str, accept: str = "") -> Document:
        """Fetch what a tag or digest names; a digest is held against the bytes."""
        ask = self._ask("GET", of, f"manifests/{wanted}", _accepted(accept))
        response, content = await self._exchange.read(ask, MAX_MANIFEST)
        document = Document(response.headers.get("Content-Type", "").partition(";")[0].strip(), content)
        told = response.headers.get("Docker-Content-Digest", "")
        for expected in (wanted, told):
            if expected.startswith("sha256:") and expected != str(document.digest):
                raise Forbidden(f"{of.domain} answers {document.digest} where {expected} belongs", _LIAR)
        return document

    async def digest(self, of: Reference, tag: str, accept: str = "") -> str:
        """Ask which digest a tag means now; empty when the registry does not say without sending it all."""
        async with self._exchange.open(self._ask("HEAD", of, f"manifests/{tag}", _accepted(accept))) as response:
            return str(response.headers.get("Docker-Content-Digest", ""))

    async def document(self, of: Reference, target: str, query: str = "") -> Document:
        """Fetch a list below the repository, such as `referrers/DIGEST`, as it is."""
        ask = self._ask("GET", of, target + (f"?{query}" if query else ""), "*/*")
        response, content = await self._exchange.read(ask, MAX_MANIFEST)
        return Document(response.headers.get("Content-Type", "application/json"), content)

    async def size(self, of: Reference, digest: Digest) -> int:
        """Ask how many bytes a blob has."""
        async with self._exchange.open(self._ask("HEAD", of, f"blobs/{digest}", "*/*")) as response:
            return _length(of, response.headers.get("Content-Length", ""))

    @asynccontextmanager
    async def blob(self, of: Reference, digest: Digest) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open a blob: its size, and its bytes, which nobody has verified yet."""
        async with self._exchange.open(self._ask("GET", of, f"blobs/{digest}", "*/*")) as response:
            size = _length(of, response.headers.get("Content-Length", ""))
            yield size, response.aiter_raw(_CHUNK)

    def _ask(self, method: str, of: Reference, target: str, accept: str) -> Ask:
        if of.domain == self._mirror:
            of = repository(of.path, "", self._default)
        if not any(fnmatch(of.domain, pattern) for pattern in self._allowed):
            raise Forbidden(f"images of {of.domain} may not come here", "add the host to NARU_REGISTRIES")
        return Ask(
            method,
            of.domain,
            f"/v2/{of.path}/{target}",
            f"{of.name} ({target.partition('/')[0]})",
            repository=of.path,
            login=self._login(of.domain),
            accept=accept,
        )


def _accepted(told: str) -> str:
    """Return what a client accepts; "anything" spelled out, because Debian's registry hides OCI manifests otherwise."""
    return told if "application/" in told else _ACCEPT


def _length(of: Reference, told: str) -> int:
    if not told.isdecimal() or len(told) > 18:
        raise Invalid(f"{of.domain} does not say how large a blob is", "check that it is an OCI registry")
    return int(told)
