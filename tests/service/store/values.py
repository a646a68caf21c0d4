"""Values that the tests store."""

from datetime import UTC, datetime, timedelta

from naru.domain.app import App, AppState
from naru.domain.image import Image, Origin, Platform
from naru.domain.rollout import Kind, Rollout, RolloutState
from naru.domain.workload import Address, Workload

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
IMAGE = Image(
    reference="registry.example.org/shop:1",
    digest="sha256:" + "a" * 64,
    config_digest="sha256:" + "b" * 64,
    platform=Platform(),
    origin=Origin.REGISTRY,
    size=1234,
)


def app(name: str = "shop", *, host: str = "", port: int = 0) -> App:
    return App(name=name, state=AppState.NEW, address=Address(host, port), live=0, created_by="admin", created_at=NOON)


def workload(name: str = "shop") -> Workload:
    return Workload(app=name, image=IMAGE.reference, port=8080, replicas=3, environment={"MODE": "fast"})


def rollout(id_: str, name: str = "shop") -> Rollout:
    return Rollout(
        id=id_,
        app=name,
        kind=Kind.DEPLOY,
        workload=workload(name),
        state=RolloutState.QUEUED,
        requested_by="admin",
        requested_at=NOON,
    )
