"""What the Docker Engine API answers about a swarm, as far as Naru reads it (API 1.41)."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from naru.engines.dockerapi.answers import Answer, Info, Listing, Moment, Table


def _filled(value: object) -> object:
    return value or {}


class Version(Answer):
    """Grows with every change of an object; an update must name the one that it read."""

    index: int = 0


class Limits(Answer):
    """Billionths of a core, and bytes; 0 means unlimited."""

    nano_cpus: int = Field(0, alias="NanoCPUs")
    memory_bytes: int = 0


class Resources(Answer):
    """What a task may use."""

    limits: Annotated[Limits, BeforeValidator(_filled)] = Field(default_factory=Limits.model_construct)


class RestartPolicy(Answer):
    """When Swarm makes a new task for one that ended: none, on-failure, any."""

    condition: str = "any"


class SecretUse(Answer):
    """A secret that a service uses."""

    secret_name: str = ""


class ContainerSpec(Answer):
    """What a service's containers are made of."""

    image: str = ""
    secrets: Listing[SecretUse] = Field(default_factory=list)


class TaskTemplate(Answer):
    """What a service's tasks are made of."""

    container_spec: Annotated[ContainerSpec, BeforeValidator(_filled)] = ContainerSpec()
    resources: Annotated[Resources, BeforeValidator(_filled)] = Resources()
    restart_policy: Annotated[RestartPolicy, BeforeValidator(_filled)] = RestartPolicy()


class Replicated(Answer):
    """How many tasks a service has."""

    replicas: int = 1


class Mode(Answer):
    """How a service is scaled; Naru's are replicated."""

    replicated: Replicated | None = None


class ServiceSpec(Answer):
    """What a service is told to be."""

    name: str = ""
    labels: Table[str] = Field(default_factory=dict)
    task_template: Annotated[TaskTemplate, BeforeValidator(_filled)] = TaskTemplate()
    mode: Annotated[Mode, BeforeValidator(_filled)] = Mode()


class UpdateStatus(Answer):
    """How Swarm's own update goes: updating, completed, paused, rollback_started, _paused or _completed."""

    state: str = ""
    message: str = ""


class Service(Answer):
    """A service, listed or inspected; `previous_spec` is there once somebody changed it."""

    id: str = Field(alias="ID")
    version: Version = Version()
    created_at: Moment
    spec: ServiceSpec
    previous_spec: ServiceSpec | None = None
    update_status: UpdateStatus | None = None


class ContainerStatus(Answer):
    """A task's container; its process id is one of the node's."""

    container_id: str = Field("", alias="ContainerID")
    pid: int = Field(0, alias="PID")
    exit_code: int = 0


class PublishedPort(Answer):
    """A port of the node that leads to a port of the task."""

    target_port: int = 0
    published_port: int = 0


class PortStatus(Answer):
    """The ports of the node that the task has."""

    ports: Listing[PublishedPort] = Field(default_factory=list)


class TaskStatus(Answer):
    """Where a task stands: new, pending, … running, complete, shutdown, failed, rejected, remove, orphaned."""

    state: str
    message: str = ""
    err: str = ""
    container_status: Annotated[ContainerStatus, BeforeValidator(_filled)] = Field(
        default_factory=ContainerStatus.model_construct
    )
    port_status: Annotated[PortStatus, BeforeValidator(_filled)] = PortStatus()


class Task(Answer):
    """One attempt of a service to run a container on a node."""

    id: str = Field(alias="ID")
    created_at: Moment
    service_id: str = Field("", alias="ServiceID")
    node_id: str = Field("", alias="NodeID")
    desired_state: str = ""
    status: TaskStatus


class NodeSpec(Answer):
    """What a node is told to be; `availability` is active, pause or drain."""

    availability: str = "active"


class Description(Answer):
    """What a node has."""

    hostname: str = ""
    resources: Annotated[Limits, BeforeValidator(_filled)] = Field(default_factory=Limits.model_construct)


class NodeStatus(Answer):
    """How a node stands: ready, down, disconnected, unknown; and the address that the manager sees it under."""

    state: str = ""
    message: str = ""
    addr: str = ""


class ManagerStatus(Answer):
    """A manager's address, with its port."""

    addr: str = ""


class Node(Answer):
    """A machine of the swarm."""

    id: str = Field(alias="ID")
    spec: NodeSpec = NodeSpec()
    description: Annotated[Description, BeforeValidator(_filled)] = Description()
    status: NodeStatus = NodeStatus()
    manager_status: ManagerStatus | None = None


class SecretSpec(Answer):
    """A secret's name and whose it is."""

    name: str = ""
    labels: Table[str] = Field(default_factory=dict)


class Secret(Answer):
    """A secret, listed: never its value."""

    id: str = Field(alias="ID")
    spec: SecretSpec


class Cluster(Answer):
    """A swarm."""

    id: str = Field("", alias="ID")


class Membership(Answer):
    """An engine's place in a swarm."""

    node_id: str = Field("", alias="NodeID")
    local_node_state: str = ""
    control_available: bool = False
    nodes: int = 0
    cluster: Annotated[Cluster, BeforeValidator(_filled)] = Field(default_factory=Cluster.model_construct)


class SwarmInfo(Info):
    """What an engine says of itself and of its place in a swarm."""

    swarm: Annotated[Membership, BeforeValidator(_filled)] = Field(default_factory=Membership.model_construct)
