"""What the instances of the engine in memory do once they are started."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ready:
    """Becomes ready `after` seconds."""

    after: float = 0.0


@dataclass(frozen=True, slots=True)
class NeverReady:
    """Runs, and every check fails with `failure`; unhealthy `after` seconds, None: when the workload's Health says."""

    failure: str = "GET / on 10.0.0.1:8080 answered 500"
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Exits:
    """Ends `after` seconds, again after each restart; restarts wait one second of the clock, as the policy says."""

    code: int = 1
    oom: bool = False
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Waits:
    """Stays starting until the test says what happens."""


Behaviour = Ready | NeverReady | Exits | Waits
