"""Marathon's JSON as apps: one definition, a list of them, or a group with all that is below it."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from naru.domain.errors import Invalid
from naru.domain.proof import ProofPolicy
from naru.domain.workload import (
    Address,
    Check,
    CommandCheck,
    Health,
    HttpCheck,
    Recreate,
    Resources,
    Rolling,
    Strategy,
    TcpCheck,
    Volume,
    Workload,
)
from naru.formats.loss import Imported, Losses, note_rest
from naru.formats.names import as_label
from naru.formats.order import in_order
from naru.formats.text import parse_json
from naru.formats.tree import At, Items, Table

MIB = 1024 * 1024
NOWHERE = "an app of Naru has no place for it"
_READ = (
    *("id", "args", "cmd", "container", "cpus", "dependencies", "env", "healthChecks", "instances", "mem", "networks"),
    *("portDefinitions", "ports", "readinessChecks", "taskKillGracePeriodSeconds", "upgradeStrategy", "secrets"),
    *("version", "versionInfo"),
)
_CHECK = (
    *("protocol", "path", "port", "portIndex", "gracePeriodSeconds", "intervalSeconds", "timeoutSeconds"),
    *("maxConsecutiveFailures", "command"),
)


@dataclass(frozen=True, slots=True)
class _Port:
    at: At
    container: int
    host: int = 0


def read_apps(text: str, file: str) -> Imported:
    """Return the apps of the file in the order of their dependencies; raise Invalid for what is no Marathon app."""
    losses = Losses()
    definitions = {_path(at["id"].text()): at for at in _definitions(At("", parse_json(text, file)))}
    if not definitions:
        raise Invalid(f"{file} holds no app of Marathon", "export it with GET /v2/apps/ID")
    names = {path: _name(path, at, losses) for path, at in definitions.items()}
    workloads = {path: _workload(at, names[path], losses) for path, at in definitions.items()}
    waits = {path: tuple(_waits(at, path, names, losses)) for path, at in definitions.items()}
    return Imported(
        workloads=tuple(workloads[path] for path in in_order(waits)),
        losses=losses.rows(),
        waits={names[path]: tuple(names[other] for other in others) for path, others in waits.items()},
    )


def _definitions(at: At) -> Iterator[At]:
    match at.node:
        case Items():
            for item in at.items():
                yield from _definitions(item)
        case Table(entries) if "apps" in entries or "groups" in entries:
            for item in (*at["apps"].items(), *at["groups"].items()):
                yield from _definitions(item)
        case Table(entries) if "app" in entries:
            yield from _definitions(at["app"])
        case Table(entries) if "id" in entries:
            yield At(at["id"].text(), at.node)
        case Table(entries) if not entries:
            return
        case _:
            raise at.invalid("is no app of Marathon", "give an object with an id")


def _path(identifier: str) -> str:
    return f"/{identifier.strip('/')}"


def _name(path: str, at: At, losses: Losses) -> str:
    name = as_label(path.replace("/", "-"), "an app")
    if f"/{name}" != path:
        losses.add(at.path, f"the id {path}", "an app's name is a DNS label", f"it is called {name}")
    return name


def _workload(at: At, name: str, losses: Losses) -> Workload:
    container = at["container"]
    docker = container["docker"]
    if not docker["image"].meant:
        raise at.invalid("names no image", "Naru runs container images only")
    note_rest(at, _READ, losses, NOWHERE)
    note_rest(container, ("docker", "type", "portMappings", "volumes"), losses, NOWHERE)
    note_rest(docker, ("image", "portMappings", "network", "parameters", "forcePullImage"), losses, NOWHERE)
    ports = [_Port(p, p["containerPort"].integer(), p["hostPort"].integer()) for p in _tcp(_mappings(at), losses)]
    if not ports:
        ports = [_Port(p, p["port"].integer()) for p in _tcp(at["portDefinitions"].items(), losses)]
        ports += [_Port(p, p.integer()) for p in at["ports"].items()]
        if ports:
            losses.add(
                at.path, "the network of the host", "each app has a network of its own", f"port {ports[0].container}"
            )
    for other in ports[1:]:
        losses.add(other.at.path, f"port {other.container}", "an app has one port")
    port = ports[0].container if ports else 0
    if not port:
        raise at.invalid("names no port of its container", "give containerPort a number")
    replicas = at["instances"].integer(1)
    command, arguments = _command(at, docker, losses)
    with at.explained():
        return Workload(
            app=name,
            image=docker["image"].text(),
            port=port,
            replicas=replicas,
            command=command,
            arguments=arguments,
            environment=dict(_environment(at["env"], losses)),
            health=_health(at, losses),
            resources=Resources(
                cpus=at["cpus"].number() or None,
                memory=round(at["mem"].number() * MIB) or None,
            ),
            volumes=tuple(_volumes(at, docker, losses)),
            stop_grace=at["taskKillGracePeriodSeconds"].number(3.0),
            strategy=_strategy(at["upgradeStrategy"], replicas),
            proof=ProofPolicy(),
            address=Address(port=ports[0].host),
        )


def _mappings(at: At) -> Iterable[At]:
    inner, outer = at["container"]["docker"]["portMappings"], at["container"]["portMappings"]
    return (outer if outer.given else inner).items()


def _tcp(ports: Iterable[At], losses: Losses) -> Iterator[At]:
    for port in ports:
        protocol = port["protocol"].text("tcp")
        if "udp" in protocol:
            losses.add(port.path, f"protocol {protocol}", "the front door passes TCP on, nothing else")
        if "tcp" in protocol:
            note_rest(port, ("containerPort", "hostPort", "port", "protocol", "servicePort", "name"), losses, NOWHERE)
            yield port


def _command(at: At, docker: At, losses: Losses) -> tuple[tuple[str, ...], tuple[str, ...]]:
    entrypoint: tuple[str, ...] = ()
    for parameter in docker["parameters"].items():
        match parameter["key"].text():
            case "entrypoint":
                entrypoint = (parameter["value"].text(),)
            case "volume":
                pass
            case key:
                losses.add(parameter.path, f"--{key} {parameter['value'].text()}", NOWHERE)
    if at["cmd"].meant:
        return ("/bin/sh", "-c", at["cmd"].text()), ()
    return entrypoint, at["args"].texts()


def _environment(at: At, losses: Losses) -> Iterator[tuple[str, str]]:
    for name, value in at.entries():
        if isinstance(value.node, Table):
            why = "secrets are files, never environment variables"
            losses.add(value.path, f"the secret {value['secret'].text()}", why)
        else:
            yield name, value.text()


def _health(at: At, losses: Losses) -> Health:
    checks = [*at["healthChecks"].items(), *at["readinessChecks"].items()]
    for other in checks[1:]:
        losses.add(other.path, "another check", "an app has one health check", "the first check")
    if not checks:
        return Health()
    first = checks[0]
    note_rest(first, (*_CHECK, "name", "portName"), losses, "Naru checks the app's port as it is")
    return Health(
        _check(first, losses),
        interval=first["intervalSeconds"].number(60.0) or 1.0,
        timeout=first["timeoutSeconds"].number(20.0) or 1.0,
        retries=first["maxConsecutiveFailures"].integer(3) or 1,
        start_period=first["gracePeriodSeconds"].number(300.0),
    )


def _check(at: At, losses: Losses) -> Check:
    match at["protocol"].text("HTTP").removeprefix("MESOS_"):
        case "COMMAND":
            return CommandCheck(("/bin/sh", "-c", at["command"]["value"].text()))
        case "TCP":
            return TcpCheck()
        case "HTTPS":
            losses.add(at.path, "HTTPS", "Naru checks over plain HTTP", "HTTP")
            return HttpCheck(at["path"].text("/") or "/")
        case "HTTP":
            return HttpCheck(at["path"].text("/") or "/")
        case protocol:
            raise at["protocol"].invalid(f"is {protocol!r}", "use HTTP, TCP or COMMAND")


def _volumes(at: At, docker: At, losses: Losses) -> Iterator[Volume]:
    for volume in at["container"]["volumes"].items():
        path = volume["containerPath"].text()
        read_only = volume["mode"].text("RW") == "RO"
        if volume["hostPath"].meant and not volume["persistent"].given:
            why = "Naru mounts named volumes, as an instance may run on any machine"
            losses.add(volume.path, f"{volume['hostPath'].text()}:{path}", why)
            continue
        size = volume["persistent"]["size"] if volume["persistent"].given else volume["external"]["size"]
        if size.meant:
            losses.add(volume.path, f"a size of {size.text()} MiB", "volumes have no size", "no limit")
        if not path.startswith("/"):
            losses.add(
                volume.path, f"the path {path} in the sandbox", "there is no sandbox", f"/mnt/mesos/sandbox/{path}"
            )
            path = f"/mnt/mesos/sandbox/{path}"
        yield Volume(as_label(volume["external"]["name"].text() or path, "a volume"), path, read_only)
    for parameter in docker["parameters"].items():
        if parameter["key"].text() != "volume":
            continue
        match parameter["value"].text().split(":"):
            case [name, path, *mode] if not name.startswith("/"):
                yield Volume(as_label(name, "a volume"), path, mode == ["ro"])
            case _:
                losses.add(parameter.path, parameter["value"].text(), "Naru mounts named volumes only")


def _strategy(at: At, replicas: int) -> Strategy:
    """Return the strategy; shares of the instances become numbers, rounded as Marathon does."""
    least = at["minimumHealthCapacity"].number(1.0)
    over = at["maximumOverCapacity"].number(1.0)
    if least == over == 0:
        return Recreate()
    surge = math.floor(over * replicas)
    unavailable = replicas - math.ceil(least * replicas)
    return Rolling(surge, unavailable) if surge + unavailable > 0 else Rolling()


def _waits(at: At, path: str, names: dict[str, str], losses: Losses) -> Iterator[str]:
    for dependency in at["dependencies"].texts():
        other = _path(dependency) if dependency.startswith("/") else _path(f"{path.rpartition('/')[0]}/{dependency}")
        if other in names:
            yield other
        else:
            losses.add(at.path, f"the dependency {dependency}", "it is not in the file", "it is not waited for")
