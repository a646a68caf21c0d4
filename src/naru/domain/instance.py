"""One running copy of an app, as an engine sees it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class InstanceState(StrEnum):
    """Where an instance stands."""

    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    STOPPING = "stopping"
    EXITED = "exited"
    COMPLETED = "completed"
    """Ended with exit code 0, as its kind is meant to."""
    SCHEDULED = "scheduled"
    """Stands for a schedule that the engine keeps: nothing runs before its time comes."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance, observed.

    `address` is `host:port` as the front door reaches it, empty until it has one. `exits` counts how often its
    process ended; `exit_code` and `oom_killed` tell of the last end. `failure` holds the failing check and its
    answer while the instance is not ready. `drift` names what someone else changed. `target` is set where instances
    of several targets are listed together.
    """

    id: str
    app: str
    release: int
    revision: str
    state: InstanceState
    address: str = ""
    node: str = ""
    created_at: datetime | None = None
    exits: int = 0
    exit_code: int | None = None
    oom_killed: bool = False
    failure: str = ""
    drift: tuple[str, ...] = ()
    target: str = ""

    @property
    def sound(self) -> bool:
        """Whether it is as it should be, now or for good."""
        return self.state in (InstanceState.READY, InstanceState.COMPLETED, InstanceState.SCHEDULED)

    @property
    def ready(self) -> bool:
        """Whether requests may be sent to it."""
        return self.state is InstanceState.READY


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that an instance wrote to `stdout` or `stderr`."""

    instance: str
    at: datetime
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What an instance uses: `cpu` in cores, `memory` in bytes (page cache left out), network in bytes since start."""

    instance: str
    at: datetime
    cpu: float
    memory: int
    memory_limit: int
    received: int
    sent: int


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command run inside an instance left behind."""

    exit_code: int
    stdout: bytes
    stderr: bytes
