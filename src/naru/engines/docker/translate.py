"""What Naru's words mean to Docker, and the other way round: nothing here talks to anything.

The shapes are those of the Docker Engine API, version 1.41.
"""

import io
import math
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

from naru.domain.instance import Instance, InstanceState
from naru.domain.release import Release
from naru.domain.workload import CommandCheck, Resources, Restart, Workload
from naru.engines.dockerapi.answers import Container, Event
from naru.engines.dockerapi.health import Course
from naru.engines.dockerapi.shape import Shape, changed_limits, read_mark, whose, written
from naru.engines.dockerapi.translate import (
    Json,
    command_failure,
    healthcheck,
    keep_secrets_out_of_volumes,
    labels,
    network_name,
    volume_name,
    volume_number,
)

ENGINE_DEFAULT_PERIOD = 100_000
_RESTART = {Restart.ALWAYS: "always", Restart.ON_FAILURE: "on-failure", Restart.NEVER: "no"}


@dataclass(frozen=True, slots=True)
class End:
    """How a container's process ended last."""

    exit_code: int
    oom_killed: bool


@dataclass(frozen=True, slots=True)
class Owned:
    """A container that Naru made, and what its labels say; a shape of None is one that nobody can read."""

    container: Container
    app: str
    release: int
    revision: str
    shape: Shape | None

    @property
    def id(self) -> str:
        """The instance's name: the first twelve digits of the container's, as `docker ps` shows them."""
        return short(self.container.id)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a container beside what the engine says of it."""

    course: Course | None = None
    end: End | None = None
    making: bool = False
    stopping: bool = False


_THIS_MACHINE = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Reach:
    """How instances are reached: at their own address, or through a port that the engine's machine publishes.

    `machine` is the host name or address of that machine, 127.0.0.1 for this one; empty where nothing is published.
    """

    machine: str = ""

    @property
    def published(self) -> bool:
        """Whether instances are reached through published ports."""
        return bool(self.machine)

    @property
    def interface(self) -> str:
        """On which address the engine's machine publishes them: 0.0.0.0 is all it has."""
        return _THIS_MACHINE if self.machine == _THIS_MACHINE else "0.0.0.0"  # noqa: S104 - another machine's


def reached(url: str, *, rootless: bool, publish: bool | None) -> Reach:
    """Say how the instances of the engine at a URL are reached; `publish` None leaves it to what the engine is.

    The networks of a rootless engine, and those of an engine on another machine, are closed to the front door.
    """
    host = urlsplit(url).hostname or ""
    other = "" if not url.startswith("tcp:") or _is_loopback(host) else host
    published = publish if publish is not None else rootless or bool(other)
    return Reach((other or _THIS_MACHINE) if published else "")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in ("", "localhost")


def short(container_id: str) -> str:
    """Shorten a container's id as `docker ps` does."""
    return container_id[:12]


def container_name(app: str, revision: str, number: int) -> str:
    """Name a container: the same for the same instance, so that two who make it at once make one."""
    return f"naru-{app}-{revision}-{number}"


def container_config(release: Release, number: int, image: str, *, owner: str, reach: Reach, own_checks: bool) -> Json:
    """Describe the container of instance `number`; with `own_checks` the engine runs its command check itself."""
    workload = release.workload
    network = network_name(release.app, workload.project)
    ports = [f"{workload.port}/tcp"] if workload.port else []
    config: Json = {
        "Image": image,
        "Env": [f"{key}={value}" for key, value in workload.environment.items()],
        "Labels": {**whose(release, owner), **written(Shape.of(workload, number))},
        "Healthcheck": healthcheck(workload.health) if own_checks else {"Test": ["NONE"]},
        "StopTimeout": math.ceil(workload.stop_grace),
        "ExposedPorts": {port: {} for port in ports},
        "HostConfig": {
            "NetworkMode": network,
            "RestartPolicy": {"Name": _RESTART[workload.restarts]},
            **_limits(workload.resources),
            "PortBindings": {port: [{"HostIp": reach.interface, "HostPort": ""}] for port in ports if reach.published},
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": volume_name(release.app, volume.name, volume_number(workload, number)),
                    "Target": volume.path,
                    "ReadOnly": volume.read_only,
                }
                for volume in workload.volumes
            ],
        },
        "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": list(workload.hosts)}}},
    }
    if workload.command:
        config["Entrypoint"] = list(workload.command)
        config["Cmd"] = list(workload.arguments)
    elif workload.arguments:
        config["Cmd"] = list(workload.arguments)
    return config


def volume_config(owner: str, app: str, volume: str, number: int = 1) -> Json:
    """Describe a volume of the app, or of its instance of that number."""
    return {"Name": volume_name(app, volume, number), "Labels": labels(owner, app)}


def secret_files(workload: Workload, secrets: Mapping[str, bytes]) -> bytes:
    """Pack the workload's secrets as a tar archive to be unpacked at /: files that all may read and none may change.

    Raises Invalid when a secret would land in a volume, where it would outlive the instance.
    """
    keep_secrets_out_of_volumes(workload)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for secret in workload.secrets:
            entry = tarfile.TarInfo(secret.path.lstrip("/"))
            entry.size, entry.mode = len(secrets[secret.name]), 0o444
            archive.addfile(entry, io.BytesIO(secrets[secret.name]))
    return out.getvalue()


def owned(container: Container, owner: str) -> Owned | None:
    """Read a container's labels; None when this Naru did not make it."""
    mark = read_mark(container.config.labels, owner)
    return Owned(container, mark.app, mark.release, mark.revision, mark.shape) if mark else None


def address(one: Owned, reach: Reach) -> str:
    """Say at which `host:port` the container is reached, empty when it is not."""
    if one.shape is None or not one.shape.port:
        return ""
    settings = one.container.network_settings
    if reach.published:
        bindings = settings.ports.get(f"{one.shape.port}/tcp", [])
        machine = f"[{reach.machine}]" if ":" in reach.machine else reach.machine
        return f"{machine}:{bindings[0].host_port}" if bindings and bindings[0].host_port else ""
    attachment = settings.networks.get(network_name(one.app, one.shape.project))
    return f"{attachment.ip_address}:{one.shape.port}" if attachment and attachment.ip_address else ""


def instance(one: Owned, known: Known, *, reach: Reach, node: str) -> Instance:
    """Tell a container in Naru's words."""
    state = one.container.state
    ended = state.status in ("exited", "dead", "restarting")
    standing, failure = _standing(one, known)
    end = _last_end(one, known, ended)
    return Instance(
        id=one.id,
        app=one.app,
        release=one.release,
        revision=one.revision,
        state=standing,
        address="" if ended else address(one, reach),
        node=node,
        created_at=one.container.created.astimezone(UTC),
        exits=one.container.restart_count + (state.status in ("exited", "dead")),
        exit_code=end.exit_code if end else None,
        oom_killed=end.oom_killed if end else False,
        failure=failure,
        drift=() if known.making or known.stopping else drift(one),
    )


def drift(one: Owned) -> tuple[str, ...]:
    """Name what someone else changed since Naru made the container."""
    if one.shape is None:
        return ("its labels cannot be read",)
    state, host = one.container.state, one.container.host_config
    wanted, resources = one.shape.restart, one.shape.resources
    name = container_name(one.app, one.revision, one.shape.number)
    cores = host.nano_cpus / 1e9 or host.cpu_quota / (host.cpu_period or ENGINE_DEFAULT_PERIOD)
    found: list[str] = []
    if one.container.name.lstrip("/") != name:
        found.append(f"it is called {one.container.name.lstrip('/')}, not {name}")
    found.extend(changed_limits(resources, host.memory, cores))
    if (host.restart_policy.name or "no") != _RESTART[wanted]:
        found.append(f"its restart policy is {host.restart_policy.name or 'no'}, not {_RESTART[wanted]}")
    if (network := network_name(one.app, one.shape.project)) not in one.container.network_settings.networks:
        found.append(f"it was disconnected from the network {network}")
    match state.status:
        case "paused":
            found.append("it is paused")
        case "created":
            found.append("it was never started")
        case "exited" | "dead" if wanted is Restart.ALWAYS or (wanted is Restart.ON_FAILURE and state.exit_code):
            found.append("it was stopped")
    return tuple(found)


def exit_code(event: Event) -> int:
    """Read the exit code from the event of a container's end; Docker and Podman name it differently."""
    attributes = event.actor.attributes
    text = attributes.get("exitCode") or attributes.get("containerExitCode") or "0"
    return int(text) if text.lstrip("-").isdecimal() else 0


def age(one: Owned) -> tuple[datetime, int]:
    """Order containers, the oldest first."""
    return one.container.created, one.shape.number if one.shape else 0


def _standing(one: Owned, known: Known) -> tuple[InstanceState, str]:
    """Say where a container stands and, while it is not ready, what its check said."""
    state = one.container.state
    if known.stopping or state.status == "removing":
        return InstanceState.STOPPING, ""
    match state.status:
        case "exited" if one.shape and one.shape.kind.ends and not (state.exit_code or state.error):
            return InstanceState.COMPLETED, ""
        case "exited" | "dead" | "restarting":
            return InstanceState.EXITED, state.error
        case "paused":
            return InstanceState.UNHEALTHY, "it is paused"
        case "running" if state.health and state.health.status in _BY_ENGINE:
            standing = _BY_ENGINE[state.health.status]
            return standing, "" if standing is InstanceState.READY else _failed_command(one)
        case "running" if one.shape and not one.shape.checked:
            return InstanceState.READY, ""
        case "running" if known.course:
            return known.course.state, "" if known.course.state is InstanceState.READY else known.course.failure
        case _:
            return InstanceState.STARTING, state.error


_BY_ENGINE = {
    "starting": InstanceState.STARTING,
    "healthy": InstanceState.READY,
    "unhealthy": InstanceState.UNHEALTHY,
}


def _failed_command(one: Owned) -> str:
    runs = one.container.state.health.log if one.container.state.health else []
    if not runs or not one.shape or not isinstance(one.shape.health.check, CommandCheck):
        return ""
    return command_failure(one.shape.health.check.command, runs[-1].exit_code, runs[-1].output)


def _last_end(one: Owned, known: Known, ended: bool) -> End | None:
    state = one.container.state
    if ended:
        seen_oom = known.end is not None and known.end.oom_killed and known.end.exit_code == state.exit_code
        return End(state.exit_code, state.oom_killed or seen_oom)
    return known.end


def _limits(resources: Resources) -> Json:
    limits: Json = {}
    if resources.memory is not None:
        limits |= {"Memory": resources.memory, "MemorySwap": resources.memory}
    if resources.cpus is not None:
        limits |= {"NanoCpus": round(resources.cpus * 1e9)}
    return limits
