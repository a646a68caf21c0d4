"""What an operator asks for: an image, a port, a replica count, and how it is to run.

Alternatives carry a `kind`, so that their JSON says which one they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Literal

from naru.domain import names, schedule
from naru.domain.errors import Invalid
from naru.domain.kind import Affinity, Autoscale, WorkloadKind
from naru.domain.proof import ProofPolicy

MAX_REPLICAS = 1000
MAX_ENVIRONMENT_BYTES = 256 * 1024
MIN_MEMORY = 6 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """Healthy when a GET of `path` answers with a status from 200 to 399."""

    path: str = "/"
    kind: Literal["http"] = "http"


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """Healthy when the workload's port accepts a connection; without a port, while the process runs."""

    kind: Literal["tcp"] = "tcp"


@dataclass(frozen=True, slots=True)
class CommandCheck:
    """Healthy when the command, run inside the container, exits with 0."""

    command: tuple[str, ...]
    kind: Literal["command"] = "command"


Check = HttpCheck | TcpCheck | CommandCheck


@dataclass(frozen=True, slots=True)
class Health:
    """How often an instance is checked and when it is given up.

    All durations are seconds. An instance is ready after its first passing check, unhealthy after `retries`
    failing ones in a row; failures during its first `start_period` seconds do not count.
    """

    check: Check = TcpCheck()
    interval: float = 2.0
    timeout: float = 2.0
    retries: int = 3
    start_period: float = 60.0


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits of one instance: `cpus` in cores, `memory` in bytes; None means unlimited."""

    cpus: float | None = None
    memory: int | None = None


class Restart(StrEnum):
    """What happens when an instance's process ends; of a kind that is meant to end, ALWAYS stands for ON_FAILURE."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Volume:
    """A named volume at an absolute path, shared by all instances of the app on one node.

    Each instance of a stateful workload has one of its own, and the next instance of its number gets it again.
    """

    name: str
    path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A stored secret as a file at an absolute path, never as an environment variable.

    `version` is the version of the secret's value that the release uses; 0 stands for the newest.
    """

    name: str
    path: str
    version: int = 0


@dataclass(frozen=True, slots=True)
class Rolling:
    """Replace a few instances at a time: at most `max_surge` above and `max_unavailable` below the replica count."""

    max_surge: int = 1
    max_unavailable: int = 0
    kind: Literal["rolling"] = "rolling"


@dataclass(frozen=True, slots=True)
class Recreate:
    """Stop every old instance, then start the new ones: for workloads that cannot run twice."""

    kind: Literal["recreate"] = "recreate"


@dataclass(frozen=True, slots=True)
class BlueGreen:
    """Start all new instances beside the old ones, switch traffic at once, keep the old ones until the proof."""

    kind: Literal["blue-green"] = "blue-green"


@dataclass(frozen=True, slots=True)
class CanaryStep:
    """Send `percent` of the requests to the new release and hold for `seconds` before the next step."""

    percent: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Canary:
    """Shift traffic step by step; the last step, 100 percent, is implied."""

    steps: tuple[CanaryStep, ...] = (CanaryStep(10, 10.0), CanaryStep(50, 10.0))
    kind: Literal["canary"] = "canary"


Strategy = Rolling | Recreate | BlueGreen | Canary


class Tls(StrEnum):
    """Where the front door's certificate comes from."""

    OFF = "off"
    INTERNAL = "internal"
    ACME = "acme"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the app is reached: a host name, or a port of the front door's machine.

    With neither, Naru picks a free port and keeps it for the app's life.
    """

    host: str = ""
    port: int = 0
    tls: Tls = Tls.OFF

    @property
    def given(self) -> bool:
        """Whether it says where."""
        return bool(self.host or self.port)


@dataclass(frozen=True, slots=True)
class Workload:
    """Everything that an operator can say about an app; only the first four have no default.

    `image` is a reference as the operator wrote it. `port` is the port that the container listens on, 0 for none.
    `stop_grace` is how many seconds an instance may take to stop before it is killed. `schedule` has the five fields
    of crontab(5), in UTC, and is there exactly for the scheduled kind. The apps of one `project` share a private
    network, on which each is reached by its name; with `private` it is reached in no other way.
    """

    app: str
    image: str
    port: int
    replicas: int
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    health: Health = Health()
    resources: Resources = Resources()
    restart: Restart = Restart.ALWAYS
    volumes: tuple[Volume, ...] = ()
    secrets: tuple[SecretFile, ...] = ()
    stop_grace: float = 10.0
    strategy: Strategy = Rolling()
    proof: ProofPolicy = ProofPolicy()
    address: Address = Address()
    kind: WorkloadKind = WorkloadKind.SERVICE
    schedule: str = ""
    autoscale: Autoscale | None = None
    project: str = ""
    private: bool = False
    affinity: Affinity = Affinity()

    def __post_init__(self) -> None:
        for rule in _RULES:
            rule(self)

    @property
    def served(self) -> bool:
        """Whether the front door leads to it; what is not served has no address and no endpoint."""
        return self.kind.serves and bool(self.port) and not self.private

    @property
    def hosts(self) -> tuple[str, ...]:
        """By which names the apps of its project reach it: its own, and that without the project's before it."""
        short = self.app.removeprefix(f"{self.project}-") if self.project else ""
        return (self.app, short) if short not in ("", self.app) else (self.app,)

    @property
    def restarts(self) -> Restart:
        """What happens when a process ends: what is meant to end is started again after a failure at most."""
        return Restart.ON_FAILURE if self.kind.ends and self.restart is Restart.ALWAYS else self.restart

    @property
    def count(self) -> int:
        """How many instances should be there: the replicas, or the one that stands for the schedule."""
        return min(self.replicas, 1) if self.kind is WorkloadKind.SCHEDULED else self.replicas

    @property
    def checked(self) -> bool:
        """Whether its instances are asked how they are; the others are ready as soon as they run."""
        return bool(self.port) or isinstance(self.health.check, CommandCheck)


def _image(w: Workload) -> None:
    if not w.image or len(w.image) > 512:
        raise Invalid("an image reference has 1 to 512 characters", "name an image such as nginx:1.27")


def _numbers(w: Workload) -> None:
    _within("port", w.port, 0, 65535)
    _within("replicas", w.replicas, 0, MAX_REPLICAS)
    _within("stop grace", w.stop_grace, 0, 3600)
    if w.resources.cpus is not None:
        _within("cpus", w.resources.cpus, 0.01, 1024)
    if w.resources.memory is not None:
        _within("memory", w.resources.memory, MIN_MEMORY, 1 << 50)


def _health(w: Workload) -> None:
    _within("health interval", w.health.interval, 0.1, 3600)
    _within("health timeout", w.health.timeout, 0.1, 3600)
    _within("health retries", w.health.retries, 1, 100)
    _within("health start period", w.health.start_period, 0, 3600)
    match w.health.check:
        case HttpCheck(path) if not path.startswith("/"):
            raise Invalid(f"the health check's path {path!r} is not absolute", "start it with /")
        case HttpCheck() if not w.port:
            raise Invalid("an HTTP health check needs a port to ask", "name the port, or check with a command")
        case CommandCheck(()):
            raise Invalid("the health check's command is empty", "name the program to run")
        case _:
            pass


def _environment(w: Workload) -> None:
    for key in w.environment:
        names.variable(key)
    if sum(len(k) + len(v) for k, v in w.environment.items()) > MAX_ENVIRONMENT_BYTES:
        raise Invalid("the environment is larger than 256 KiB", "put large values into a volume or a secret file")
    if any("\0" in value for value in w.environment.values()):
        raise Invalid("an environment variable holds a NUL byte", "remove it")
    if any("\0" in word for word in (*w.command, *w.arguments)):
        raise Invalid("the command holds a NUL byte", "remove it")


def _files(w: Workload) -> None:
    for volume in w.volumes:
        names.label(volume.name, "a volume")
    for secret in w.secrets:
        names.label(secret.name, "a secret")
    paths = [volume.path for volume in w.volumes] + [secret.path for secret in w.secrets]
    for path in paths:
        if not path.startswith("/") or path == "/" or ".." in PurePosixPath(path).parts or "\0" in path:
            raise Invalid(f"{path!r} is no place for a file", "use an absolute path without '..', and not / itself")
    _unique("path", paths)


def _kind(w: Workload) -> None:
    if w.kind in (WorkloadKind.SERVICE, WorkloadKind.EDGE) and not w.port:
        raise Invalid(f"a workload of the kind {w.kind} answers at a port", "name its port, or say kind=worker")
    if w.kind is WorkloadKind.SCHEDULED and not w.schedule:
        raise Invalid("a scheduled workload needs a schedule", "write one such as '30 4 * * *'")
    if w.schedule and w.kind is not WorkloadKind.SCHEDULED:
        raise Invalid(f"a workload of the kind {w.kind} has no schedule", "say kind=scheduled, or leave it out")
    if w.schedule:
        schedule.parse(w.schedule)
    if w.project:
        names.label(w.project, "a project")
    if w.private and not w.project:
        raise Invalid("a private app is reached by the apps of its project, and this one has none", "name its project")


def _autoscale(w: Workload) -> None:
    if w.autoscale is None:
        return
    if w.kind.ends or w.kind is WorkloadKind.STATEFUL:
        raise Invalid(f"a workload of the kind {w.kind} cannot grow by itself", "leave autoscale out")
    _within("autoscale's min", w.autoscale.min, 1, MAX_REPLICAS)
    _within("autoscale's max", w.autoscale.max, w.autoscale.min, MAX_REPLICAS)
    _within("autoscale's cpu percent", w.autoscale.cpu_percent, 1, 100)
    if w.resources.cpus is None:
        raise Invalid("autoscale measures by the cores that an instance may use", "name cpus as well")
    if w.replicas:
        _within("replicas", w.replicas, w.autoscale.min, w.autoscale.max)


def _affinity(w: Workload) -> None:
    for what, wanted in (
        ("target", w.affinity.targets),
        ("engine", w.affinity.engines),
        ("site", w.affinity.sites),
    ):
        if not all(wanted) or any(len(name) > 253 for name in wanted):
            raise Invalid(f"the affinity names a {what} by nothing, or by far too much", f"name a {what}")
        _unique(f"affinity's {what}", list(wanted))
    if w.affinity.near:
        names.label(w.affinity.near, "an app")
        if w.affinity.near == w.app:
            raise Invalid(f"{w.app} is always near itself", "name another app")


def _strategy(w: Workload) -> None:
    match w.strategy:
        case BlueGreen() | Canary() if not w.served:
            raise Invalid(
                f"{w.strategy.kind} shifts requests from one release to the next, and {w.app} gets none",
                "use rolling or recreate",
            )
        case BlueGreen() | Canary() if w.kind is WorkloadKind.STATEFUL:
            raise Invalid(
                f"{w.strategy.kind} runs two releases at once, and a stateful app's data has room for one",
                "use rolling or recreate",
            )
        case Rolling(surge, unavailable):
            _within("max surge", surge, 0, MAX_REPLICAS)
            _within("max unavailable", unavailable, 0, MAX_REPLICAS)
            if surge + unavailable == 0:
                raise Invalid("max surge and max unavailable are both 0, so nothing could move", "raise one of them")
        case Canary(steps):
            percents = [step.percent for step in steps]
            if not steps or percents != sorted(set(percents)) or not 1 <= percents[0] <= percents[-1] <= 99:
                raise Invalid("canary steps must rise from 1 to 99 percent", "write them as 10, 50; 100 is implied")
            for step in steps:
                _within("canary step's seconds", step.seconds, 0, 86400)
        case Recreate() | BlueGreen():
            pass


def _address(w: Workload) -> None:
    if not w.served and (w.address.host or w.address.port):
        raise Invalid(f"nobody is led to {w.app}, so it has no address", "leave the address out, or make it a service")
    if w.address.host:
        names.host(w.address.host)
    if w.address.port:
        _within("address port", w.address.port, 1, 65535)
    if w.address.host and w.address.port:
        raise Invalid("an address is a host name or a port, not both", "leave one of them out")
    if w.address.tls is Tls.ACME and not w.address.host:
        raise Invalid("a public certificate needs a host name", "name the host, or use tls=internal")


def _within(what: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        shown = f"{value:g}" if abs(value) < 1 << 63 else "larger than any number that is meant"
        raise Invalid(f"{what} is {shown}", f"choose a value from {least:g} to {most:g}")


def _unique(what: str, values: list[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise Invalid(f"the {what} {value!r} appears twice", "keep one of them")


_RULES: tuple[Callable[[Workload], object], ...] = (
    lambda w: names.label(w.app, "an app"),
    _image,
    _numbers,
    _health,
    _environment,
    _files,
    _kind,
    _autoscale,
    _affinity,
    _strategy,
    _address,
)
