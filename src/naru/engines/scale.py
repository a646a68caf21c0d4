"""Who leaves when an app shrinks: one rule for every engine that picks instances itself."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

from naru.domain.instance import Instance

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def outworn(instance: Instance, retire: Collection[str]) -> bool:
    """Whether an instance that someone changed is made anew now: it serves nobody, or `retire` names it."""
    return bool(instance.drift) and (not instance.ready or instance.id in retire)


def leaving(instances: Iterable[Instance], surplus: int, retire: Collection[str] = ()) -> Sequence[Instance]:
    """Choose `surplus` instances to stop: those named in `retire`, then those not ready, then the youngest."""
    if surplus <= 0:
        return ()
    youngest_first = sorted(instances, key=lambda one: (one.created_at or _LONG_AGO, one.id), reverse=True)
    return sorted(youngest_first, key=lambda one: (one.id not in retire, one.ready))[:surplus]
