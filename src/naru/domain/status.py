"""An app at a glance: what should run, what does, and what is happening to it."""

from dataclasses import dataclass

from naru.domain.app import App, Endpoint
from naru.domain.instance import Instance
from naru.domain.release import Release
from naru.domain.rollout import Rollout


@dataclass(frozen=True, slots=True)
class AppStatus:
    """One app as it is now.

    `release` is the live one; `rollout` is the one under way or, when none is, the latest. `desired` is how many
    instances the live release should have and `ready` how many of them are as they should be. The endpoint's URL is
    empty for an app that the front door does not lead to.
    """

    app: App
    endpoint: Endpoint
    release: Release | None
    rollout: Rollout | None
    instances: tuple[Instance, ...]
    desired: int
    ready: int
