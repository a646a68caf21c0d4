"""What the Kubernetes API answers, as far as Naru reads it (core/v1, apps/v1 and metrics.k8s.io/v1beta1)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

T = TypeVar("T")


def _filled(value: object) -> object:
    return value or {}


def _listed(value: object) -> object:
    return value or ()


def _text(value: object) -> object:
    return value or ""


Table = Annotated[dict[str, T], BeforeValidator(_filled)]
"""A map that may be null."""
Listing = Annotated[tuple[T, ...], BeforeValidator(_listed)]
"""A list that may be null."""
Text = Annotated[str, BeforeValidator(_text)]
"""A string that may be null."""


class Answer(BaseModel):
    """A part of an answer: read once, never changed."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, populate_by_name=True)


class Metadata(Answer):
    """What every object carries."""

    name: Text = ""
    namespace: Text = ""
    uid: Text = ""
    resource_version: Text = ""
    labels: Table[str] = {}
    annotations: Table[str] = {}
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class Object(Answer):
    """Any object, as far as its metadata."""

    metadata: Metadata = Metadata()


class ListMetadata(Answer):
    """Where a list stands: the version to watch from, and the token of the next page."""

    resource_version: Text = ""
    next_page: Text = Field(default="", alias="continue")


class Page(Answer, Generic[T]):
    """A page of a list."""

    metadata: ListMetadata = Field(default_factory=ListMetadata.model_construct)
    items: Listing[T] = ()


class ResourceAmounts(Answer):
    """What a container may use and is promised, as quantities."""

    limits: Table[str] = {}
    requests: Table[str] = {}


class Container(Answer):
    """The shape of a container, as far as others can change it while it runs."""

    name: str
    image: Text = ""
    command: Listing[str] = ()
    args: Listing[str] = ()
    resources: Annotated[ResourceAmounts, BeforeValidator(_filled)] = ResourceAmounts()


class PullSecret(Answer):
    """The name of a Secret with a registry's credentials."""

    name: Text = ""


class PodSpec(Answer):
    """The shape of a pod."""

    containers: Listing[Container] = ()
    node_name: Text = ""
    image_pull_secrets: Listing[PullSecret] = ()


class Waiting(Answer):
    """Why a container does not run."""

    reason: Text = ""
    message: Text = ""


class Running(Answer):
    """Since when a container runs."""

    started_at: datetime | None = None


class Terminated(Answer):
    """How a container ended."""

    exit_code: int = 0
    reason: Text = ""
    message: Text = ""


class ContainerState(Answer):
    """Where a container stands; one of the three is there, or none before it is known."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(Answer):
    """A container, observed."""

    name: str
    ready: bool = False
    restart_count: int = 0
    state: Annotated[ContainerState, BeforeValidator(_filled)] = ContainerState()
    last_state: Annotated[ContainerState, BeforeValidator(_filled)] = ContainerState()


class Condition(Answer):
    """One thing that holds, or does not, of a pod, a Deployment or a node."""

    type: str
    status: str = "Unknown"
    reason: Text = ""
    message: Text = ""
    last_transition_time: datetime | None = None


class PodStatus(Answer):
    """A pod, observed."""

    phase: Text = ""
    reason: Text = ""
    message: Text = ""
    pod_ip: Text = Field(default="", alias="podIP")
    conditions: Listing[Condition] = ()
    container_statuses: Listing[ContainerStatus] = ()


class Pod(Object):
    """A pod."""

    spec: PodSpec = PodSpec()
    status: Annotated[PodStatus, BeforeValidator(_filled)] = Field(default_factory=PodStatus.model_construct)


class InvolvedObject(Answer):
    """What an event is about."""

    kind: Text = ""
    name: Text = ""


class Event(Object):
    """Something that a component of the cluster says of an object."""

    involved_object: InvolvedObject = InvolvedObject()
    reason: Text = ""
    message: Text = ""


class Template(Object):
    """What pods are made of."""

    spec: PodSpec = PodSpec()


class HolderSpec(Answer):
    """How many pods of what."""

    replicas: int = 1
    template: Template = Template()


class HolderStatus(Answer):
    """How far the controller came; its words are about the spec of `observed_generation`."""

    conditions: Listing[Condition] = ()


class Holder(Object):
    """What makes pods of a template: a Deployment, a StatefulSet or a Job."""

    spec: HolderSpec = HolderSpec()
    status: Annotated[HolderStatus, BeforeValidator(_filled)] = HolderStatus()


class NodeInfo(Answer):
    """What kind of machine a node is."""

    operating_system: Text = "linux"
    architecture: Text = "amd64"


class NodeSpec(Answer):
    """Whether the scheduler may use a node."""

    unschedulable: bool = False


class NodeStatus(Answer):
    """What a node has for pods, as quantities."""

    allocatable: Table[str] = {}
    node_info: NodeInfo = NodeInfo()


class Node(Object):
    """A machine of the cluster."""

    spec: Annotated[NodeSpec, BeforeValidator(_filled)] = NodeSpec()
    status: Annotated[NodeStatus, BeforeValidator(_filled)] = NodeStatus()


class Version(Answer):
    """What the API server is."""

    git_version: str


class ContainerUsage(Answer):
    """What a container uses, as quantities."""

    name: str
    usage: Table[str] = {}


class PodMetrics(Object):
    """What a pod uses, measured at `timestamp`."""

    timestamp: datetime
    containers: Listing[ContainerUsage] = ()


class Cause(Answer):
    """One reason of a refusal; of a conflict, the field and who manages it."""

    reason: Text = ""
    message: Text = ""
    field: Text = ""


class ReviewStatus(Answer):
    """Whether an account may do what it asked about."""

    allowed: bool = False


class AccessReview(Answer):
    """An answer to a SelfSubjectAccessReview."""

    status: Annotated[ReviewStatus, BeforeValidator(_filled)] = ReviewStatus()


class Details(Answer):
    """More on a refusal; seconds to wait before trying again."""

    causes: Listing[Cause] = ()
    retry_after_seconds: int = 0


class Status(Answer):
    """A refusal, or how a command ended."""

    status: Text = ""
    code: int = 0
    reason: Text = ""
    message: Text = ""
    details: Annotated[Details, BeforeValidator(_filled)] = Details()


def container(containers: Sequence[Container], name: str) -> Container | None:
    """Return the container of that name among others that something may have added."""
    return next((one for one in containers if one.name == name), None)
