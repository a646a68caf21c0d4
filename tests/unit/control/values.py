"""Values that the tests of the control plane share."""

from datetime import UTC, datetime, timedelta

from naru.domain.image import Image, Origin, Platform
from naru.domain.instance import Instance, InstanceState
from naru.domain.release import Release, ReleaseState
from naru.domain.target import Capacity, Feature, Target
from naru.domain.workload import Address, Workload

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
IMAGE = Image("registry.example.org/shop:1", "sha256:" + "a" * 64, "sha256:" + "b" * 64, Platform(), Origin.REGISTRY)
OLD, NEW = "old", "new"


def instance(name: str, revision: str = NEW, state: InstanceState = InstanceState.READY, **more: object) -> Instance:
    born = NOON + timedelta(seconds=int("".join(c for c in name if c.isdigit()) or 0))
    fields = {"address": f"{name}:8080", "created_at": born, **more}
    return Instance(name, "shop", 1, revision, state, **fields)  # type: ignore[arg-type]


def workload(replicas: int = 3, **more: object) -> Workload:
    fields = {"address": Address(port=20000), **more}
    return Workload("shop", IMAGE.reference, 8080, replicas, **fields)  # type: ignore[arg-type]


def release(replicas: int = 3, **more: object) -> Release:
    return Release("shop", 1, workload(replicas, **more), IMAGE, ReleaseState.LIVE, "admin", NOON)


def target(name: str = "docker", **more: object) -> Target:
    fields: dict[str, object] = {
        "engine": "docker",
        "version": "1",
        "site": "home",
        "platform": Platform(),
        "features": tuple(Feature),
        "capacity": Capacity(4, 8 << 30, 100 << 30, 0),
        **more,
    }
    return Target(name, **fields)  # type: ignore[arg-type]
