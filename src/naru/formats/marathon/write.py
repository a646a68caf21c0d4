"""An app as a Marathon app definition."""

import math
import shlex
from typing import assert_never

from naru.domain.proof import ProofPolicy
from naru.domain.workload import (
    BlueGreen,
    Canary,
    CommandCheck,
    Health,
    HttpCheck,
    Recreate,
    Restart,
    Rolling,
    Strategy,
    TcpCheck,
    Tls,
    Workload,
)
from naru.formats.loss import Exported, Losses, note_kind
from naru.formats.text import Plain, write_json

MIB = 1024 * 1024
CPUS, MEM = 1.0, 128.0
"""What Marathon gives an app that asks for nothing: cores, and MiB."""


def write_app(workload: Workload) -> Exported:
    """Return the app's definition, and what Marathon cannot be told."""
    w, losses = workload, Losses()
    docker: dict[str, Plain] = {"image": w.image}
    definition: dict[str, Plain] = {
        "id": f"/{w.app}",
        "instances": w.replicas,
        "cpus": w.resources.cpus if w.resources.cpus is not None else CPUS,
        "mem": w.resources.memory / MIB if w.resources.memory is not None else MEM,
        "container": {
            "type": "DOCKER",
            "docker": docker,
            "portMappings": _ports(w),
        },
        "networks": [{"mode": "container/bridge"}],
        "env": dict(w.environment),
        "healthChecks": [_health(w.health, w.app, losses)] if w.checked else [],
        "upgradeStrategy": _upgrade(w.strategy, w.replicas, w.app, losses),
        "taskKillGracePeriodSeconds": math.ceil(w.stop_grace),
    }
    parameters: list[Plain] = []
    if w.command:
        parameters.append({"key": "entrypoint", "value": w.command[0]})
    for volume in w.volumes:
        mode = ":ro" if volume.read_only else ""
        parameters.append({"key": "volume", "value": f"{volume.name}:{volume.path}{mode}"})
    if parameters:
        docker["parameters"] = parameters
    if words := (*w.command[1:], *w.arguments):
        definition["args"] = list(words)
    _note(w, losses)
    return Exported(write_json(definition), losses.rows())


def _ports(w: Workload) -> list[Plain]:
    if not w.port:
        return []
    return [{"containerPort": w.port, "hostPort": w.address.port, "protocol": "tcp", "name": "http"}]


def _note(w: Workload, losses: Losses) -> None:
    """Note what has no place in a definition."""
    if w.resources.cpus is None:
        losses.add(w.app, "CPU without a limit", "Mesos gives every task a share", f"{CPUS:g} cores")
    if w.resources.memory is None:
        losses.add(w.app, "memory without a limit", "Mesos gives every task a limit", f"{MEM:g} MiB")
    for secret in w.secrets:
        losses.add(w.app, f"the secret {secret.name} at {secret.path}", "Marathon's schema has no secret files")
    if w.address.host or w.address.tls is not Tls.OFF:
        address = f"{w.address.host}, tls {w.address.tls}".lstrip(", ")
        losses.add(w.app, f"the address {address}", "Marathon has no front door", "a load balancer of yours")
    note_kind(w, losses, "is an app that lasts")
    if w.proof.count:
        losses.add(w.app, "the proof", "Marathon proves no release", "its health check alone")
    elif w.proof != ProofPolicy(count=0):
        losses.add(w.app, "the request of the proof", "Marathon proves no release")
    if w.restart is not Restart.ALWAYS:
        losses.add(w.app, f"restart: {w.restart}", "Marathon starts every task again", str(Restart.ALWAYS))
    if w.stop_grace != math.ceil(w.stop_grace):
        losses.add(
            w.app, f"{w.stop_grace:g} s to stop", "Marathon counts whole seconds", f"{math.ceil(w.stop_grace)} s"
        )


def _health(health: Health, app: str, losses: Losses) -> Plain:
    timing = {
        "gracePeriodSeconds": math.ceil(health.start_period),
        "intervalSeconds": math.ceil(health.interval),
        "timeoutSeconds": math.ceil(health.timeout),
        "maxConsecutiveFailures": health.retries,
    }
    exact = (health.start_period, health.interval, health.timeout)
    if any(seconds != math.ceil(seconds) for seconds in exact):
        losses.add(app, "parts of seconds in its health check", "Marathon counts whole seconds", "rounded up")
    match health.check:
        case HttpCheck(path):
            return {"protocol": "MESOS_HTTP", "path": path, "portIndex": 0, **timing}
        case TcpCheck():
            return {"protocol": "MESOS_TCP", "portIndex": 0, **timing}
        case CommandCheck(command):
            return {"protocol": "COMMAND", "command": {"value": _shell(command)}, **timing}
        case _:
            assert_never(health.check)


def _shell(command: tuple[str, ...]) -> str:
    """Return one line for the shell that Marathon runs."""
    if len(command) == 3 and command[:2] == ("/bin/sh", "-c"):
        return command[2]
    return shlex.join(command)


def _upgrade(strategy: Strategy, replicas: int, app: str, losses: Losses) -> Plain:
    everything: dict[str, Plain] = {"minimumHealthCapacity": 1.0, "maximumOverCapacity": 1.0}
    match strategy:
        case Rolling(surge, unavailable):
            count = max(replicas, 1)
            return {
                "minimumHealthCapacity": max(0.0, 1 - unavailable / count),
                "maximumOverCapacity": min(1.0, surge / count),
            }
        case Recreate():
            return {"minimumHealthCapacity": 0.0, "maximumOverCapacity": 0.0}
        case BlueGreen():
            return everything
        case Canary():
            losses.add(app, "canary", "Marathon shifts no traffic", "all new instances beside the old ones")
            return everything
        case _:
            assert_never(strategy)
