"""One service as a workload."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath

from naru.domain.errors import NotFound
from naru.domain.kind import WorkloadKind
from naru.domain.proof import ProofPolicy
from naru.domain.workload import (
    MAX_REPLICAS,
    Recreate,
    Resources,
    Restart,
    Rolling,
    SecretFile,
    Strategy,
    Volume,
    Workload,
)
from naru.formats.compose import extension, lost
from naru.formats.compose.dotenv import parse_dotenv, parse_raw
from naru.formats.compose.files import ReadFile, read_text
from naru.formats.compose.health import read_health
from naru.formats.compose.ports import read_reach
from naru.formats.loss import Losses
from naru.formats.names import as_label
from naru.formats.tree import At, Scalar, told
from naru.formats.units import duration, size

_RESTART = {
    "always": Restart.ALWAYS,
    "unless-stopped": Restart.ALWAYS,
    "on-failure": Restart.ON_FAILURE,
    "no": Restart.NEVER,
    "false": Restart.NEVER,
}
_JOBS = ("replicated-job", "global-job")
_CONDITION = {"any": Restart.ALWAYS, "on-failure": Restart.ON_FAILURE, "none": Restart.NEVER}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a service is read with.

    `built` is the name of its image where the file tells only how to build it; `secrets` and `configs` are the names
    under which the file's secrets and configs are stored. `project` is the file's; `awaited` says that another service
    waits until it has ended.
    """

    app: str
    project: str
    awaited: bool
    built: str
    variables: Mapping[str, str]
    read: ReadFile
    secrets: Mapping[str, str]
    configs: Mapping[str, str]
    losses: Losses


def read_service(at: At, around: Surroundings) -> Workload:
    """Return the workload of a service whose short forms are written out; raise Invalid where it cannot be one."""
    losses = around.losses
    ours = at[extension.KEY]
    extension.only_known(ours)
    lost.note(at, lost.SERVICE, losses)
    lost.note(at["deploy"], lost.DEPLOY, losses)
    reach = read_reach(at, ours["port"].integer(), losses)
    volumes = _volumes(at, losses)
    kind = extension.read_kind(ours["kind"]) or _kind(at, reach.port, around, keeps=bool(volumes))
    project = extension.read_project(ours["project"], around.project)
    is_public = reach.is_published or ours["address"].given
    if reach.is_published and not kind.serves:
        losses.add(at.path, f"ports: {reach.port}", f"the front door leads to no workload of the kind {kind}")
    hidden = kind.serves and bool(reach.port) and not is_public
    if hidden and not project:
        losses.add(at.path, "unpublished", "only a project has a private network", "a free port, no proof")
    command, arguments = _command(at, losses)
    with at.explained():
        return Workload(
            app=around.app,
            image=_image(at, around),
            port=reach.port,
            replicas=_replicas(at, losses),
            command=command,
            arguments=arguments,
            environment=_environment(at, around),
            health=read_health(at["healthcheck"], extension.read_check(ours["health"]), losses),
            resources=_resources(at, losses),
            restart=_restart(at, losses),
            volumes=volumes,
            secrets=tuple(_mounted(at, around)),
            stop_grace=duration(at["stop_grace_period"], 10.0),
            strategy=extension.read_strategy(ours["strategy"]) or _strategy(at["deploy"]["update_config"], losses),
            proof=extension.read_proof(ours["proof"], ProofPolicy(count=0) if hidden else ProofPolicy()),
            address=extension.read_address(ours["address"], reach.published if kind.serves else 0),
            kind=kind,
            schedule=ours["schedule"].text(),
            autoscale=extension.read_autoscale(ours["autoscale"]),
            project=project,
            private=ours["private"].boolean(hidden and bool(project)),
            affinity=extension.read_affinity(ours["affinity"]),
        )


def _kind(at: At, port: int, around: Surroundings, *, keeps: bool) -> WorkloadKind:
    """Guess what a service is for that does not say so: one without a port serves nobody."""
    if at[extension.KEY]["schedule"].given:
        return WorkloadKind.SCHEDULED
    if around.awaited or at["deploy"]["mode"].text() in _JOBS:
        return WorkloadKind.BATCH
    if port:
        return WorkloadKind.SERVICE
    return WorkloadKind.STATEFUL if keeps else WorkloadKind.WORKER


def _image(at: At, around: Surroundings) -> str:
    image = at["image"].text()
    if at["build"].meant:
        name = image or around.built
        around.losses.add(at.path, "build", "Naru builds no images", f"{name} is deployed: build or load it first")
        return name
    if not image:
        raise at.invalid("names no image", "add image: NAME:TAG")
    return image


def _command(at: At, losses: Losses) -> tuple[tuple[str, ...], tuple[str, ...]]:
    entrypoint, command = at["entrypoint"], at["command"]
    program, arguments = _words(entrypoint), _words(command)
    if entrypoint.given and not program:
        if arguments:  # the image's entry point is taken away, so the command is all there is
            return arguments, ()
        losses.add(entrypoint.path, "an empty entrypoint", "a container has to run something", "the image's own")
    if command.given and not arguments and not program:
        losses.add(command.path, "an empty command", "Naru takes it for one that is not given", "the image's own")
    return program, arguments


def _words(at: At) -> tuple[str, ...]:
    if not isinstance(at.node, Scalar):
        return at.texts()
    try:
        return tuple(shlex.split(at.text()))
    except ValueError as error:
        raise at.invalid(f"cannot be split: {error}", "close its quotes, or write a list") from error


def _environment(at: At, around: Surroundings) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in at["env_file"].items():
        found |= _variables_of(file, {**found, **around.variables}, around)
    for name, value in at["environment"].entries():
        if value.given:
            found[name] = value.text()
        elif name in around.variables:
            found[name] = around.variables[name]
        elif name not in found:
            around.losses.add(value.path, name, "the variable has no value, here or in .env")
    return found


def _variables_of(file: At, variables: Mapping[str, str], around: Surroundings) -> dict[str, str]:
    path = PurePath(file["path"].text())
    try:
        text = read_text(around.read, path)
    except NotFound:
        if file["required"].boolean(True):
            raise
        around.losses.add(file.path, str(path), "the file does not exist and is not required")
        return {}
    match file["format"].text():
        case "":
            return parse_dotenv(text, str(path), variables)
        case "raw":
            return parse_raw(text, str(path))
        case other:
            raise file["format"].invalid(f"is {other!r}", "use raw, or leave it out")


def _replicas(at: At, losses: Losses) -> int:
    deploy = at["deploy"]
    match deploy["mode"].text("replicated"):
        case "replicated" | "replicated-job":
            pass
        case "global" | "global-job" as mode:
            losses.add(deploy.path, f"mode: {mode}", "an app has a number of instances", "one instance")
        case mode:
            raise deploy["mode"].invalid(f"is {mode!r}", "use replicated")
    if deploy["replicas"].given:
        return deploy["replicas"].integer()
    return at["scale"].integer(1)


def _resources(at: At, losses: Losses) -> Resources:
    resources = at["deploy"]["resources"]
    limits = resources["limits"]
    cpus = limits["cpus"] if limits["cpus"].given else at["cpus"]
    memory = limits["memory"] if limits["memory"].given else at["mem_limit"]
    if limits["pids"].meant:
        losses.add(limits.path, f"pids: {limits['pids'].text()}", "Naru limits CPU and memory, nothing else")
    for name, value in resources["reservations"].entries():
        if value.meant:
            losses.add(resources["reservations"].path, told(name, value), "Naru sets limits and reserves nothing")
    return Resources(
        cpus=(cpus.number() or None) if cpus.given else None,
        memory=(size(memory) or None) if memory.given else None,
    )


def _restart(at: At, losses: Losses) -> Restart:
    policy = at["deploy"]["restart_policy"]
    if policy.given:
        lost.note(policy, lost.RESTART, losses)
        condition = policy["condition"].text("any")
        if condition not in _CONDITION:
            raise policy["condition"].invalid(f"is {condition!r}", f"use {', '.join(_CONDITION)}")
        return _CONDITION[condition]
    name, colon, attempts = at["restart"].text("always").partition(":")
    if name not in _RESTART or (colon and name != "on-failure"):
        raise at["restart"].invalid(f"is {at['restart'].text()!r}", 'use always, unless-stopped, on-failure or "no"')
    if colon:
        losses.add(at.path, f"restart: {name}:{attempts}", "a process is started again as often as it fails", name)
    return _RESTART[name]


def _volumes(at: At, losses: Losses) -> tuple[Volume, ...]:
    found = []
    for mount in at["volumes"].items():
        target, source = mount["target"].text(), mount["source"].text()
        match mount["type"].text():
            case "volume":
                pass
            case "bind" as kind:
                why = "Naru mounts named volumes, as an instance may run on any machine"
                losses.add(mount.path, f"{kind} {source}:{target}", why)
                continue
            case kind:
                losses.add(mount.path, f"{kind} {target}", "Naru mounts named volumes only")
                continue
        lost.note(mount, lost.VOLUME_MOUNT, losses)
        name = as_label(source or target, "a volume")
        if name != source:
            what = f"the volume {source}" if source else f"the volume without a name at {target}"
            losses.add(mount.path, what, "a volume's name is a DNS label", f"it is called {name}")
        found.append(Volume(name, target, mount["read_only"].boolean()))
    return tuple(found)


def _mounted(at: At, around: Surroundings) -> list[SecretFile]:
    found = []
    for kind, names, folder in (("secrets", around.secrets, "/run/secrets"), ("configs", around.configs, "/")):
        for mount in at[kind].items():
            lost.note(mount, lost.MOUNTED_FILE, around.losses)
            source = mount["source"].text()
            if source not in names:
                raise mount.invalid(f"names {source!r}, which {kind} does not describe", f"describe it under {kind}:")
            target = mount["target"].text(source)
            path = target if target.startswith("/") else str(PurePosixPath(folder, target))
            version = mount[extension.KEY]["version"].integer()
            found.append(SecretFile(names[source], path, version))
    return found


def _strategy(update: At, losses: Losses) -> Strategy:
    if not update.given:
        return Rolling()
    lost.note(update, lost.UPDATE, losses)
    if update["failure_action"].text("rollback") != "rollback":
        what = f"failure_action: {update['failure_action'].text()}"
        losses.add(update.path, what, "a failed rollout is always rolled back", "rollback")
    count = update["parallelism"].integer(1)
    match update["order"].text("stop-first"):
        case "start-first":
            return Rolling(min(count or MAX_REPLICAS, MAX_REPLICAS), 0)
        case "stop-first":
            return Rolling(0, min(count, MAX_REPLICAS)) if count else Recreate()
        case order:
            raise update["order"].invalid(f"is {order!r}", "use start-first or stop-first")
