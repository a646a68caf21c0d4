"""The messages of containerd's snapshot service, with the field numbers of its published interface."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from naru.agent.protobuf import at
from naru.agent.snapshotter import values

SERVICE = "containerd.services.snapshots.v1.Snapshots"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Empty:
    """Nothing to say."""


@dataclass(frozen=True, slots=True)
class Timestamp:
    """Seconds and nanoseconds since 1970 in UTC."""

    seconds: int = at(1, 0)
    nanos: int = at(2, 0)


@dataclass(frozen=True, slots=True)
class FieldMask:
    """Names of fields."""

    paths: tuple[str, ...] = at(1, ())


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount."""

    type: str = at(1, "")
    source: str = at(2, "")
    target: str = at(3, "")
    options: tuple[str, ...] = at(4, ())


@dataclass(frozen=True, slots=True)
class Mounts:
    """The answer to Prepare, View and Mounts."""

    mounts: tuple[Mount, ...] = at(1, ())


@dataclass(frozen=True, slots=True)
class Make:
    """Prepare and View."""

    snapshotter: str = at(1, "")
    key: str = at(2, "")
    parent: str = at(3, "")
    labels: Mapping[str, str] = at(4, {})


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit `key` as `name`."""

    snapshotter: str = at(1, "")
    name: str = at(2, "")
    key: str = at(3, "")
    labels: Mapping[str, str] = at(4, {})


@dataclass(frozen=True, slots=True)
class Keyed:
    """Mounts, Remove, Stat and Usage."""

    snapshotter: str = at(1, "")
    key: str = at(2, "")


@dataclass(frozen=True, slots=True)
class Info:
    """What is told of a snapshot."""

    name: str = at(1, "")
    parent: str = at(2, "")
    kind: values.Kind = at(3, values.Kind.UNKNOWN)
    created_at: Timestamp | None = at(4, None)
    updated_at: Timestamp | None = at(5, None)
    labels: Mapping[str, str] = at(6, {})


@dataclass(frozen=True, slots=True)
class Told:
    """The answer to Stat and Update."""

    info: Info | None = at(1, None)


@dataclass(frozen=True, slots=True)
class Update:
    """Change the fields of `info` that the mask names."""

    snapshotter: str = at(1, "")
    info: Info | None = at(2, None)
    update_mask: FieldMask | None = at(3, None)


@dataclass(frozen=True, slots=True)
class List:
    """Ask for the snapshots that any of the filters lets through."""

    snapshotter: str = at(1, "")
    filters: tuple[str, ...] = at(2, ())


@dataclass(frozen=True, slots=True)
class Listed:
    """A part of the answer to List."""

    info: tuple[Info, ...] = at(1, ())


@dataclass(frozen=True, slots=True)
class Usage:
    """The answer to Usage, in bytes and inodes."""

    size: int = at(1, 0)
    inodes: int = at(2, 0)


@dataclass(frozen=True, slots=True)
class Cleanup:
    """Clean up."""

    snapshotter: str = at(1, "")


def info(snapshot: values.Snapshot) -> Info:
    """Tell of a snapshot."""
    return Info(
        name=snapshot.key,
        parent=snapshot.parent,
        kind=snapshot.kind,
        created_at=_timestamp(snapshot.created),
        updated_at=_timestamp(snapshot.updated),
        labels=snapshot.labels,
    )


def mounts(found: tuple[values.Mount, ...]) -> Mounts:
    """Tell of mounts."""
    return Mounts(tuple(Mount(one.type, one.source, "", one.options) for one in found))


def _timestamp(moment: datetime) -> Timestamp:
    since = moment - _EPOCH
    return Timestamp(since // timedelta(seconds=1), since % timedelta(seconds=1) // timedelta(microseconds=1) * 1000)
