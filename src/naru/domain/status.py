"""An app at a glance: what should run, what does, and what is happening to it."""

from dataclasses import dataclass

from naru.domain.app import App, Endpoint
from naru.domain.instance import Instance
from naru.domain.release import Release
from naru.domain.rollout import Rollout


@dataclass(frozen=True, slots=True)
class AppStatus:
    """One app as it is now.

    `release` is the live one; `rollout` is the one under way or, when none is, the latest. `desired` is the replica
    count of the live release and `ready` how many of its instances may be sent requests.
    """

    app: App
    endpoint: Endpoint
    release: Release | None
    rollout: Rollout | None
    instances: tuple[Instance, ...]
    desired: int
    ready: int
