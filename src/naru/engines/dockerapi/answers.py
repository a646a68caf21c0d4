"""What the Docker Engine API answers, as far as Naru reads it (API 1.41, and what Podman makes of it)."""

import re
from datetime import MINYEAR, datetime
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_pascal

T = TypeVar("T")

NEVER = MINYEAR
_NANOSECONDS = re.compile(r"(\.\d{6})\d+")


def _microseconds(value: object) -> object:
    return _NANOSECONDS.sub(r"\1", value) if isinstance(value, str) else value


def _filled(value: object) -> object:
    return value or {}


def _listed(value: object) -> object:
    return value or []


Moment = Annotated[datetime, BeforeValidator(_microseconds)]
"""A time as Go writes it, with nanoseconds; the year 1 stands for never."""
Table = Annotated[dict[str, T], BeforeValidator(_filled)]
"""A map that Go may write as null."""
Listing = Annotated[list[T], BeforeValidator(_listed)]
"""A list that Go may write as null."""


class Answer(BaseModel):
    """A part of an answer: Go's capitals, read once, never changed."""

    model_config = ConfigDict(alias_generator=to_pascal, frozen=True, populate_by_name=True)


class CheckRun(Answer):
    """One run of a container's own health check."""

    exit_code: int = 0
    output: str = ""


class CheckState(Answer):
    """What the engine makes of a container's own health check."""

    status: str = ""
    log: Listing[CheckRun] = []


class State(Answer):
    """Where a container stands; `status` is created, running, paused, restarting, removing, exited or dead."""

    status: str
    oom_killed: bool = Field(False, alias="OOMKilled")
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_at: Moment
    health: CheckState | None = None


class RestartPolicy(Answer):
    """What the engine does when the process ends: empty or no, always, unless-stopped, on-failure."""

    name: str = ""


class HostConfig(Answer):
    """The part of a container's shape that belongs to the machine; limits are bytes and billionths of a core."""

    memory: int = 0
    nano_cpus: int = 0
    cpu_quota: int = 0
    cpu_period: int = 0
    restart_policy: RestartPolicy = RestartPolicy()


class Config(Answer):
    """The part of a container's shape that belongs to the image."""

    labels: Table[str] = {}


class Attachment(Answer):
    """A container's place in one network."""

    ip_address: str = Field("", alias="IPAddress")


class Binding(Answer):
    """A port of the machine that leads to a port of the container."""

    host_port: str = ""


class NetworkSettings(Answer):
    """Where a container is reached."""

    networks: Table[Attachment] = {}
    ports: Table[Listing[Binding]] = {}


class Container(Answer):
    """A container, inspected."""

    id: str
    name: str
    created: Moment
    state: State
    restart_count: int = 0
    host_config: HostConfig
    config: Config
    network_settings: NetworkSettings


class Row(Answer):
    """A container, listed: enough to tell whether it is still as it was inspected."""

    id: str
    state: str = ""
    names: Listing[str] = []
    network_settings: Annotated[NetworkSettings, BeforeValidator(_filled)] = Field(default_factory=NetworkSettings)


class Labelled(Answer):
    """A network or a volume."""

    name: str
    labels: Table[str] = {}


class StoredVolume(Labelled):
    """A volume, with where its engine keeps it and since when."""

    mountpoint: str = ""
    created_at: str = ""


class StoredImage(Answer):
    """An image, inspected."""

    id: str
    repo_digests: Listing[str] = []
    os: str = "linux"
    architecture: str = ""
    variant: str = ""
    size: int = 0


class Component(Answer):
    """A part of the engine and its version."""

    name: str = ""
    version: str = ""


class Version(Answer):
    """What the engine is."""

    version: str
    os: str = "linux"
    arch: str = ""
    components: Listing[Component] = []


class Info(Answer):
    """What the engine's machine has."""

    id: str = Field("", alias="ID")
    name: str = ""
    n_cpu: int = Field(0, alias="NCPU")
    mem_total: int = 0
    docker_root_dir: str = ""
    memory_limit: bool = False
    cpu_cfs_quota: bool = Field(False, alias="CpuCfsQuota")
    security_options: Listing[str] = []


class Actor(Answer):
    """What an event is about."""

    id: str = Field(default="", alias="ID")
    attributes: Table[str] = {}


class Event(Answer):
    """One event of the engine's stream; `time_nano` is nanoseconds since 1970."""

    type: str = ""
    action: str = ""
    actor: Actor = Field(default_factory=Actor.model_construct)
    time_nano: int = Field(0, alias="timeNano")


class CpuUsage(BaseModel):
    """Nanoseconds of CPU used since the container started."""

    total_usage: int = 0


class CpuStats(BaseModel):
    """CPU of one sample."""

    cpu_usage: CpuUsage = CpuUsage()


class MemoryStats(BaseModel):
    """Memory of one sample, in bytes; the names in `stats` differ between cgroup v1 and v2."""

    usage: int = 0
    limit: int = 0
    stats: Table[int] = {}


class NetworkStats(BaseModel):
    """Bytes through one network since the container started."""

    rx_bytes: int = 0
    tx_bytes: int = 0


class Stats(BaseModel):
    """One sample; `preread` is when the sample before it was taken."""

    read: Moment
    preread: Moment
    cpu_stats: CpuStats = CpuStats()
    precpu_stats: CpuStats = CpuStats()
    memory_stats: MemoryStats = MemoryStats()
    networks: Table[NetworkStats] = {}


class Progress(BaseModel):
    """Bytes done and bytes in all, as far as known."""

    current: int = 0
    total: int = 0


class PullLine(BaseModel):
    """One line of a pull's or a load's report."""

    id: str = ""
    status: str = ""
    progress: Annotated[Progress, BeforeValidator(_filled)] = Field(Progress(), alias="progressDetail")
