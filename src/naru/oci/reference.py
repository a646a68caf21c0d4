"""How images are named.

The grammar is the one of the distribution project's `reference` package, which Docker, containerd and the
registries share: `[domain/]path[:tag][@digest]`. A name without a domain belongs to Docker Hub.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from naru.domain.errors import Invalid

DOCKER_HUB = "docker.io"
DEFAULT_TAG = "latest"
MAX_NAME = 255
MAX_REFERENCE = 512

_HUB_ALIASES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
_OFFICIAL = "library/"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]{{2,45}}\])(?::[0-9]{{1,5}})?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The SHA-256 of some bytes: 64 lower-case hexadecimal digits. Safe as a file name."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.hex):
            raise Invalid(f"{_shown(self.hex)} is no SHA-256", "a digest is sha256: and 64 hexadecimal digits")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `sha256:HEX`; raise Invalid for anything else, other algorithms included."""
        algorithm, colon, encoded = text.partition(":")
        if not colon or algorithm != "sha256":
            raise Invalid(f"{_shown(text)} is no digest that Naru verifies", "use sha256: and 64 hexadecimal digits")
        return cls(encoded)

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Compute the digest of `content`."""
        return cls(hashlib.sha256(content).hexdigest())

    @classmethod
    def of_stream(cls, chunks: Iterable[bytes]) -> Self:
        """Compute the digest of everything that `chunks` yields."""
        sha256 = hashlib.sha256()
        for chunk in chunks:
            sha256.update(chunk)
        return cls(sha256.hexdigest())

    def __str__(self) -> str:
        return f"sha256:{self.hex}"


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """The full name of an image: always a domain and a path, and a tag, a digest, or both.

    `str()` gives the full form, which parses back to the same value.
    """

    domain: str
    path: str
    tag: str = ""
    digest: Digest | None = None

    def __post_init__(self) -> None:
        _check(self.domain, _DOMAIN, "registry host", "use a name such as registry.example.org:5000")
        written = self.path.removeprefix(_OFFICIAL)  # which people leave out
        _check(written, _PATH, "image name", "use lower-case letters, digits and single separators, as in team/shop")
        if self.tag:
            _check(self.tag, _TAG, "tag", "use up to 128 letters, digits, dots, hyphens and underscores, as in 1.27")
        if len(self.path) > MAX_NAME:
            raise Invalid(f"an image name of {len(self.path)} characters is too long", f"use at most {MAX_NAME}")
        if not self.tag and self.digest is None:
            raise Invalid(f"{_shown(self.name)} has neither tag nor digest", "add one, as in :latest")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference as people write it: `nginx`, `team/shop:2`, `host:5000/a/b@sha256:…`.

        Without tag and digest the tag is `latest`. Raises Invalid, saying which part is wrong.
        """
        if not text or len(text) > MAX_REFERENCE:
            raise Invalid(
                f"an image reference has 1 to {MAX_REFERENCE} characters, not {len(text)}",
                "name an image such as nginx:1.27",
            )
        if _HEX.fullmatch(text):
            raise Invalid(f"{_shown(text)} is an image id, not a name", "name an image such as nginx:1.27")
        rest, at, digest = text.partition("@")
        head, slash, last = rest.rpartition("/")
        last, colon, tag = last.partition(":")
        if colon:
            _check(tag, _TAG, "tag", "use up to 128 letters, digits, dots, hyphens and underscores, as in 1.27")
        domain, path = _split(head + slash + last)
        return cls(
            domain,
            path,
            tag=tag if colon else "" if at else DEFAULT_TAG,
            digest=Digest.parse(digest) if at else None,
        )

    @property
    def name(self) -> str:
        """Domain and path: which repository this is."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """The shortest form that means the same: `nginx:1.27` for Docker Hub's `library/nginx:1.27`."""
        short = self.name
        if self.domain == DOCKER_HUB:
            for candidate in (self.path.removeprefix(_OFFICIAL), self.path):
                if _PATH.fullmatch(candidate) and _split(candidate) == (self.domain, self.path):
                    short = candidate
                    break
        return short + self._suffix

    def at(self, digest: Digest) -> Self:
        """Return the same name pinned to `digest`."""
        return replace(self, digest=digest)

    def only(self, digest: Digest) -> Self:
        """Return the same name with `digest` and no tag."""
        return replace(self, tag="", digest=digest)

    def __str__(self) -> str:
        return self.name + self._suffix

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def registry_host(text: str) -> str:
    """Return the domain that references to the registry `text` carry.

    Accepts what people and Docker's own files write: a host, a host with a port, or a URL. Every name of Docker Hub
    becomes docker.io. Raises Invalid.
    """
    host = re.sub(r"^https?://", "", text.strip()).partition("/")[0]
    _check(host, _DOMAIN, "registry host", "use a name such as registry.example.org:5000")
    return DOCKER_HUB if host in _HUB_ALIASES else host


def _split(name: str) -> tuple[str, str]:
    """Tell the domain from the path: a domain has a dot, a colon or capitals, or is localhost."""
    first, slash, rest = name.partition("/")
    if not slash or not (set(first) & set(".:[") or first == "localhost" or first != first.lower()):
        first, rest = DOCKER_HUB, name
    if first in _HUB_ALIASES:
        first, rest = DOCKER_HUB, rest if "/" in rest else _OFFICIAL + rest
    return first, rest


def _check(text: str, grammar: re.Pattern[str], what: str, mend: str) -> None:
    if not grammar.fullmatch(text):
        raise Invalid(f"{_shown(text)} is no {what}", mend)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}…")
