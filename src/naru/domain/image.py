"""A container image, resolved: no tag is ever deployed, only its digest."""

from dataclasses import dataclass
from enum import StrEnum


class Origin(StrEnum):
    """Where the bytes of an image come from."""

    REGISTRY = "registry"
    """A registry serves it by digest."""
    STORED = "stored"
    """It was loaded into Naru's own image store as an archive."""
    ENGINE = "engine"
    """It was built on the engine and exists nowhere else."""


@dataclass(frozen=True, slots=True)
class Platform:
    """Operating system and architecture, as in the OCI image index (image-spec, image-index.md)."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Image:
    """One image for one platform.

    `reference` is the full name that was asked for, with its tag; `digest` is the manifest's digest and is what
    runs; `config_digest` is the digest of the configuration, which engines show as the image's id. Both digests
    are `sha256:` and 64 hexadecimal digits. `size` is the number of compressed bytes of the layers, 0 when the
    origin does not tell.
    """

    reference: str
    digest: str
    config_digest: str
    platform: Platform
    origin: Origin
    size: int = 0
