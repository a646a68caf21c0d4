"""What Marathon and Mesos answer, as far as Naru reads it (Marathon's REST API v2, 1.5 and later; Mesos 1.x)."""

from datetime import datetime
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

T = TypeVar("T")
Listing = Annotated[list[T], BeforeValidator(lambda value: value or [])]
"""A list that may be null."""


class Answer(BaseModel):
    """A part of an answer: read once, never changed."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, populate_by_name=True)


class HealthResult(Answer):
    """What one health check of a task has come to; `last_failure_cause` is empty for checks that Mesos performs."""

    alive: bool = False
    consecutive_failures: int = 0
    first_success: datetime | None = None
    last_failure_cause: str | None = None


class Task(Answer):
    """One attempt to run an instance; `version` is that of the application it was launched from."""

    id: str
    app_id: str
    host: str = ""
    ports: Listing[int] = []
    slave_id: str = ""
    state: str = ""
    staged_at: datetime | None = None
    version: datetime | None = None
    health_check_results: Listing[HealthResult] = []


class TaskFailure(Answer):
    """The last task of an application that ended by itself."""

    task_id: str
    state: str = ""
    message: str = ""
    timestamp: datetime
    host: str = ""
    slave_id: str = ""


class DockerImage(Answer):
    """The Docker part of a container."""

    image: str = ""


class Container(Answer):
    """How an application is contained."""

    docker: DockerImage | None = None


class VersionInfo(Answer):
    """When an application was changed last."""

    last_scaling_at: datetime
    last_config_change_at: datetime


class Identified(Answer):
    """Something named by its id alone."""

    id: str


class App(Answer):
    """An application, with its tasks, its running deployments and its last failure embedded; `mem` is MiB."""

    id: str
    instances: int = 1
    cpus: float = 0
    mem: float = 0
    container: Container | None = None
    labels: dict[str, str] = {}
    version_info: VersionInfo | None = None
    tasks: Listing[Task] = []
    deployments: Listing[Identified] = []
    last_task_failure: TaskFailure | None = None


class Apps(Answer):
    """The answer to a list of applications."""

    apps: Listing[App] = []


class Deployment(Answer):
    """A change that Marathon is making; it locks what it affects until it ends."""

    id: str
    affected_apps: Listing[str] = []
    affected_pods: Listing[str] = []


class Started(Answer):
    """The answer to a change: the deployment that makes it."""

    deployment_id: str = ""


class Refusal(Answer):
    """The answer to what Marathon will not do; `deployments` are those that hold the lock."""

    message: str = ""
    deployments: Listing[Identified] = []


class Group(Answer):
    """A group, with what is in it."""

    apps: Listing[Identified] = []
    groups: Listing[Identified] = []
    pods: Listing[Identified] = []


class Rejection(Answer):
    """Why offers were declined: `declined` of `processed` for this reason."""

    reason: str
    declined: int = 0
    processed: int = 0


class Offers(Answer):
    """What became of the offers for an application that waits."""

    reject_summary_last_offers: Listing[Rejection] = []


class Delay(Answer):
    """How long Marathon holds back the next launch, in seconds."""

    time_left_seconds: int = 0


class Waiting(Answer):
    """An application with instances that have no task yet."""

    app: Identified
    count: int = 0
    delay: Delay = Delay()
    processed_offers_summary: Offers = Offers()


class Queue(Answer):
    """The answer to what waits for a launch."""

    queue: Listing[Waiting] = []


class MarathonConfig(BaseModel):
    """The part of Marathon's settings that leads to Mesos."""

    mesos_leader_ui_url: str | None = None


class Info(BaseModel):
    """What Marathon says of itself."""

    version: str
    marathon_config: MarathonConfig = MarathonConfig()


class Metrics(BaseModel):
    """What the Mesos master counts: cores and MiB."""

    cpus: float = Field(alias="master/cpus_total")
    memory: float = Field(alias="master/mem_total")
    disk: float = Field(0, alias="master/disk_total")
    disk_used: float = Field(0, alias="master/disk_used")


class Agent(BaseModel):
    """A Mesos agent; `pid` is `slave(1)@ADDRESS:PORT`."""

    id: str
    pid: str


class Agents(BaseModel):
    """The answer of the master to a list of agents."""

    slaves: list[Agent] = []


class Executor(BaseModel):
    """Runs one task; `directory` is its sandbox."""

    id: str
    directory: str = ""


class Framework(BaseModel):
    """The executors of one framework on an agent."""

    executors: list[Executor] = []
    completed_executors: list[Executor] = []


class AgentState(BaseModel):
    """What an agent runs and ran."""

    frameworks: list[Framework] = []
    completed_frameworks: list[Framework] = []


class File(BaseModel):
    """A file of a sandbox; `mtime` is seconds since 1970."""

    path: str
    size: int = 0
    mtime: float = 0
