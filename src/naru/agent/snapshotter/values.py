"""The words of a snapshotter, as containerd defines them, and what may go wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

from naru.domain.errors import Conflict


class Kind(IntEnum):
    """What a snapshot may be used for, numbered as on the wire."""

    UNKNOWN = 0
    VIEW = 1
    """Mounted, read only."""
    ACTIVE = 2
    """Mounted, written to, and then committed or removed."""
    COMMITTED = 3
    """Never changes again; the only kind that others build on."""


class AlreadyExists(Conflict):
    """The key is taken, or the layer that was to be unpacked is there without unpacking."""


class InUse(Conflict):
    """The snapshot is of another kind, or others build on it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a snapshot takes on the disk, without its parents: bytes and inodes."""

    size: int = 0
    inodes: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """The lowest `depth` layers of an image, given without unpacking them; all of them when it is `whole`.

    `reference` is the image's name, `manifest` its platform's manifest digest, `chain` the chain ID of these layers
    (OCI image-spec, config.md); both digests are `sha256:` and 64 hexadecimal digits.
    """

    reference: str
    manifest: str
    chain: str
    depth: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot. `id` names its directory; a claimed one has none."""

    id: int
    key: str
    kind: Kind
    parent: str
    labels: Mapping[str, str]
    created: datetime
    updated: datetime
    usage: Usage = field(default_factory=Usage)
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """What containerd passes to mount(2): `type`, `source` and fstab-style `options`."""

    type: str
    source: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lower:
    """The lower part of an overlay: what goes after `lowerdir=`, and the options that it needs.

    `root` is its uppermost directory, whose mode and owner the file system's root has.
    """

    lowerdir: str
    root: str
    options: tuple[str, ...] = ()
