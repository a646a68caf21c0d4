"""What Naru's words mean to Docker Swarm, and the other way round: nothing here talks to anything.

The shapes are those of the Docker Engine API, version 1.41. One service with one task is one instance.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from naru.domain.image import Image
from naru.domain.instance import Instance, InstanceState
from naru.domain.release import Release
from naru.domain.workload import CommandCheck, Resources, Restart, SecretFile, Workload
from naru.engines.dockerapi.health import Course
from naru.engines.dockerapi.shape import Shape, changed_limits, read_mark, whose, written
from naru.engines.dockerapi.translate import (
    Json,
    healthcheck,
    in_bytes,
    labels,
    nanoseconds,
    volume_name,
    volume_number,
)
from naru.engines.swarm.answers import Node, Service, Task

STOPPING_LABEL = "naru.stopping"
"""On a service that Naru is taking away: whoever finds it finishes that."""
RESTART_DELAY = 0.5
"""Seconds before Swarm replaces a task that ended."""
_RESTART = {Restart.ALWAYS: "any", Restart.ON_FAILURE: "on-failure", Restart.NEVER: "none"}
ENDED = frozenset({"complete", "failed", "rejected"})
"""The states of tasks that ended by themselves; those that were told to are `shutdown`."""
OVER = ENDED | {"shutdown", "remove", "orphaned"}
_UNHEALTHY = "unhealthy container"
_BAD_UPDATES = frozenset({"paused", "rollback_started", "rollback_paused", "rollback_completed"})


@dataclass(frozen=True, slots=True)
class Owned:
    """A service that Naru made, and what its labels say; its tasks, the newest first, and their nodes.

    A shape of None is one that nobody can read.
    """

    service: Service
    app: str
    release: int
    revision: str
    shape: Shape | None
    tasks: tuple[Task, ...] = ()
    nodes: Mapping[str, Node] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The instance's name: the first twelve letters of the service's, as `docker service ls` shows them."""
        return short(self.service.id)

    @property
    def task(self) -> Task | None:
        """The task that counts: the newest."""
        return self.tasks[0] if self.tasks else None

    @property
    def node(self) -> Node | None:
        """The node of the task that counts, once it has one."""
        return self.nodes.get(self.task.node_id) if self.task else None

    @property
    def stopping(self) -> bool:
        """Whether Naru is taking it away."""
        return STOPPING_LABEL in self.service.spec.labels

    @property
    def running(self) -> bool:
        """Whether its process runs, as far as can be known: on a node that is away nothing does."""
        return self.task is not None and self.task.status.state == "running" and alive(self.node)

    @property
    def ended(self) -> tuple[Task, ...]:
        """The tasks that ended by themselves, as far as Swarm remembers, the newest first."""
        return tuple(task for task in self.tasks if task.status.state in ENDED)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an instance beside what the manager says of it now.

    Swarm forgets all but the last few tasks, and never says why the kernel killed one.
    """

    course: Course | None = None
    exits: int = 0
    oom_killed: bool = False


def short(service_id: str) -> str:
    """Shorten a service's id as `docker service ls` does."""
    return service_id[:12]


def network_name(app: str, project: str = "") -> str:
    """Name the overlay network of a project or an app; another than on one engine, so that an app may run on both."""
    return f"naru_{project}_swarm" if project else f"naru-{app}-swarm"


def service_name(app: str, revision: str, number: int) -> str:
    """Name a service: the same for the same instance, so that two who make it at once make one."""
    return f"naru-{app}-{revision}-{number}"


def secret_name(app: str, secret: SecretFile, owner: str) -> str:
    """Name a secret's version, in the 64 characters that Swarm has for it."""
    mark = hashlib.sha256(f"{owner}/{app}/{secret.name}".encode()).hexdigest()[:16]
    return f"naru-{mark}-v{secret.version}"


def service_spec(
    release: Release, number: int, image: str, *, owner: str, secret_ids: Mapping[str, str], node: str = ""
) -> Json:
    """Describe the service of instance `number`; `secret_ids` names Swarm's secrets by the workload's.

    It runs on the node with the id `node` and nowhere else, if one is given.

    Memory is reserved as well as limited, so that Swarm says when there is no node left for it; cores are not, as
    what is short of them is slow and not dead.
    """
    workload = release.workload
    marks = whose(release, owner)
    return {
        "Name": service_name(release.app, release.revision, number),
        "Labels": {**marks, **written(Shape.of(workload, number, image))},
        "TaskTemplate": {
            "ContainerSpec": _container(workload, number, image, marks, owner, secret_ids),
            "Resources": _limits(workload.resources),
            "RestartPolicy": {
                "Condition": _RESTART[workload.restarts],
                "Delay": nanoseconds(RESTART_DELAY),
                "MaxAttempts": 0,
            },
            "Placement": {
                "Platforms": [_platform(release.image)],
                "Constraints": [f"node.id=={node}"] if node else [],
            },
            "Networks": [{"Target": network_name(release.app, workload.project), "Aliases": list(workload.hosts)}],
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        # A virtual address, Swarm's default, would be routed by IPVS, which not every kernel has.
        "EndpointSpec": {
            "Mode": "dnsrr",
            "Ports": [{"Protocol": "tcp", "TargetPort": workload.port, "PublishMode": "host"}] if workload.port else [],
        },
    }


def stopped(spec: Json) -> Json:
    """Take the task from a service's specification and mark it; everything else stays as it is."""
    found = spec.get("Labels")
    marked = {**(found if isinstance(found, dict) else {}), STOPPING_LABEL: "yes"}
    return {**spec, "Labels": marked, "Mode": {"Replicated": {"Replicas": 0}}}


def secret_config(owner: str, app: str, secret: SecretFile, value: bytes) -> Json:
    """Describe a secret with its value."""
    return {
        "Name": secret_name(app, secret, owner),
        "Labels": labels(owner, app),
        "Data": base64.b64encode(value).decode(),
    }


def owned(service: Service, tasks: Sequence[Task], nodes: Mapping[str, Node], owner: str) -> Owned | None:
    """Read a service's labels; None when this Naru did not make it."""
    mark = read_mark(service.spec.labels, owner)
    if mark is None:
        return None
    newest_first = tuple(sorted(tasks, key=lambda task: task.created_at, reverse=True))
    return Owned(service, mark.app, mark.release, mark.revision, mark.shape, newest_first, nodes)


def alive(node: Node | None) -> bool:
    """Whether a node answers the manager."""
    return node is not None and node.status.state == "ready"


def address(one: Owned) -> str:
    """Say at which `host:port` the instance is reached: a port of its node; empty while it is not."""
    if not one.running or one.shape is None or one.task is None or one.node is None:
        return ""
    ports = one.task.status.port_status.ports
    port = next((p.published_port for p in ports if p.target_port == one.shape.port and p.published_port), 0)
    host = _host(one.node)
    return f"{host}:{port}" if host and port else ""


def instance(one: Owned, known: Known) -> Instance:
    """Tell a service in Naru's words."""
    standing, failure = _standing(one, known)
    last = one.ended[0] if one.ended else None
    return Instance(
        id=one.id,
        app=one.app,
        release=one.release,
        revision=one.revision,
        state=standing,
        address=address(one),
        node=one.node.description.hostname if one.node else "",
        created_at=one.service.created_at.astimezone(UTC),
        exits=max(known.exits, len(one.ended)),
        exit_code=last.status.container_status.exit_code if last and last.status.state != "rejected" else None,
        oom_killed=known.oom_killed,
        failure=failure,
        drift=() if one.stopping else drift(one),
    )


def drift(one: Owned) -> tuple[str, ...]:
    """Name what someone else changed since Naru made the service, and how Swarm's own update of it ended.

    Naru never updates a service that is to run, so an update is always another's.
    """
    if one.shape is None:
        return ("its labels cannot be read",)
    spec = one.service.spec
    limits, policy = spec.task_template.resources.limits, spec.task_template.restart_policy.condition
    name = service_name(one.app, one.revision, one.shape.number)
    replicas = spec.mode.replicated.replicas if spec.mode.replicated else 0
    found: list[str] = []
    if spec.name != name:
        found.append(f"it is called {spec.name}, not {name}")
    if replicas != 1:
        found.append(f"it was scaled to {replicas}")
    if spec.task_template.container_spec.image != one.shape.image:
        found.append(f"its image is {spec.task_template.container_spec.image}, not {one.shape.image}")
    found.extend(changed_limits(one.shape.resources, limits.memory_bytes, limits.nano_cpus / 1e9))
    if policy != _RESTART[one.shape.restart]:
        found.append(f"its restart policy is {policy}, not {_RESTART[one.shape.restart]}")
    update = one.service.update_status
    if update and update.state in _BAD_UPDATES:
        found.append(f"an update of it is {update.state.replace('_', ' ')}: {update.message}")
    return tuple(found)


def waiting(one: Owned, tasks: Sequence[Task], nodes: Mapping[str, Node]) -> bool:
    """Whether the service may not be deleted yet.

    A task of it may still run somewhere; one on a node that is away cannot be waited for. Or a task is over and about
    to be swept away: the manager of Docker 20.10 dies of a service that is deleted in that moment.
    """
    return any(
        task.desired_state == "remove"
        if task.status.state in OVER
        else not task.node_id or alive(nodes.get(task.node_id))
        for task in tasks
        if task.service_id == one.service.id
    )


def settled(one: Owned) -> bool:
    """Whether nothing is about to happen to the instance that Swarm has not said yet."""
    return not one.stopping and one.task is not None and one.task.status.state in {"running", *ENDED}


def age(one: Owned) -> tuple[datetime, int]:
    """Order services, the oldest first."""
    return one.service.created_at, one.shape.number if one.shape else 0


def _standing(one: Owned, known: Known) -> tuple[InstanceState, str]:
    """Say where an instance stands and, while it is not ready, what is known of the reason."""
    task = one.task
    if one.stopping:
        return InstanceState.STOPPING, ""
    if task is None or one.shape is None:
        return InstanceState.STARTING, ""
    status = task.status
    if status.state == "complete" and one.shape.kind.ends:
        return InstanceState.COMPLETED, ""
    if status.state in OVER:
        if _UNHEALTHY in status.err:
            return InstanceState.UNHEALTHY, _unhealthy(one.shape)
        return InstanceState.EXITED, _end(one, task)
    if task.node_id and not alive(one.node):
        return InstanceState.UNHEALTHY, _away(one.node, task.node_id)
    if status.state == "running":
        if isinstance(one.shape.health.check, CommandCheck) or not one.shape.checked:
            return InstanceState.READY, ""  # Swarm calls a task running once its check has passed.
        course = known.course
        if course is None:
            return InstanceState.STARTING, ""
        return course.state, "" if course.state is InstanceState.READY else course.failure
    last = one.ended[0] if one.ended else None
    if last and _UNHEALTHY in last.status.err:
        return InstanceState.UNHEALTHY, _unhealthy(one.shape)
    if last and task.desired_state == "ready":
        return InstanceState.EXITED, _end(one, last)
    return InstanceState.STARTING, status.err or (_end(one, last) if last else "")


def _end(one: Owned, task: Task) -> str:
    """Say why a task ended, beyond its exit code."""
    err, limit = task.status.err, one.shape.resources.memory if one.shape else None
    if task.status.state == "orphaned":
        return "its node was away for so long that Swarm gave it up"
    if err.startswith("task: non-zero exit"):
        if task.status.container_status.exit_code == 137 and limit:
            return f"it was killed, as happens when its memory limit of {in_bytes(limit)} is too small"
        return ""
    return err


def _unhealthy(shape: Shape) -> str:
    command = " ".join(shape.health.check.command) if isinstance(shape.health.check, CommandCheck) else "its check"
    return f"{command} failed {shape.health.retries} times, and Swarm replaced the container"


def _away(node: Node | None, node_id: str) -> str:
    if node is None:
        return f"the node {short(node_id)} has left the swarm"
    said = f": {node.status.message}" if node.status.message else ""
    return f"the node {node.description.hostname or short(node.id)} is {node.status.state or 'away'}{said}"


def _host(node: Node) -> str:
    """The address under which the node is reached; a lone manager may not know its own, but others dial it."""
    if node.status.addr not in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return f"[{node.status.addr}]" if ":" in node.status.addr else node.status.addr
    return node.manager_status.addr.rpartition(":")[0] if node.manager_status else ""


def _container(
    workload: Workload, number: int, image: str, marks: Mapping[str, str], owner: str, secret_ids: Mapping[str, str]
) -> Json:
    spec: Json = {
        "Image": image,
        "Env": [f"{key}={_literal(value)}" for key, value in workload.environment.items()],
        "Labels": dict(marks),
        "Healthcheck": healthcheck(workload.health),
        "StopGracePeriod": nanoseconds(workload.stop_grace),
        "Mounts": [
            {
                "Type": "volume",
                "Source": volume_name(workload.app, volume.name, volume_number(workload, number)),
                "Target": volume.path,
                "ReadOnly": volume.read_only,
                "VolumeOptions": {"Labels": labels(owner, workload.app)},
            }
            for volume in workload.volumes
        ],
        "Secrets": [
            {
                "SecretID": secret_ids[secret.name],
                "SecretName": secret_name(workload.app, secret, owner),
                "File": {"Name": secret.path, "UID": "0", "GID": "0", "Mode": 0o444},
            }
            for secret in workload.secrets
        ],
    }
    return {**spec, **dict(_command(workload))}


def _command(workload: Workload) -> Iterator[tuple[str, list[str]]]:
    if workload.command:
        yield "Command", list(workload.command)
    if workload.arguments:
        yield "Args", list(workload.arguments)


def _literal(value: str) -> str:
    """Write a variable's value so that Swarm, which fills Go templates in there, leaves it as it is."""
    return value.replace("{{", '{{"{{"}}')


def _limits(resources: Resources) -> Json:
    limits: Json = {}
    if resources.memory is not None:
        limits["MemoryBytes"] = resources.memory
    reserved = dict(limits)
    if resources.cpus is not None:
        limits["NanoCPUs"] = round(resources.cpus * 1e9)
    return {"Limits": limits, "Reservations": reserved}


def _platform(image: Image) -> Json:
    return {"OS": image.platform.os, "Architecture": image.platform.architecture}
