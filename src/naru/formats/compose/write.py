"""Apps as a Compose file that Compose itself reads, and that reads back as the same apps: nothing is lost."""

from collections.abc import Iterable
from typing import assert_never

from naru.domain.proof import ProofPolicy
from naru.domain.workload import (
    CommandCheck,
    Health,
    HttpCheck,
    Restart,
    Rolling,
    SecretFile,
    Strategy,
    TcpCheck,
    Workload,
)
from naru.formats.compose import extension
from naru.formats.compose.interpolate import escape
from naru.formats.loss import Exported
from naru.formats.text import Plain, write_yaml
from naru.formats.units import duration_text, size_text

_RESTART = {Restart.ALWAYS: "always", Restart.ON_FAILURE: "on-failure", Restart.NEVER: "no"}


def write_project(workloads: Iterable[Workload]) -> Exported:
    """Return the apps as one Compose file; secrets are named and not told."""
    workloads = tuple(workloads)
    volumes = {volume.name for workload in workloads for volume in workload.volumes}
    secrets = {secret.name for workload in workloads for secret in workload.secrets}
    projects = {workload.project for workload in workloads}
    project = projects.pop() if len(projects) == 1 and len(workloads) > 1 else ""
    services = {workload.app: _service(workload, project) for workload in workloads}
    document: dict[str, Plain] = {"services": services}
    if len(workloads) > 1:
        document[extension.KEY] = {"project": project or False}
    if volumes:
        document["volumes"] = {name: {} for name in sorted(volumes)}
    if secrets:
        document["secrets"] = {name: {"external": True} for name in sorted(secrets)}
    return Exported(write_yaml(document))


def _service(workload: Workload, project: str) -> Plain:
    w = workload
    service: dict[str, Plain] = {"image": escape(w.image)}
    if w.command:
        service["entrypoint"] = _escaped(w.command)
    if w.arguments:
        service["command"] = _escaped(w.arguments)
    if w.environment:
        service["environment"] = {name: escape(value) for name, value in w.environment.items()}
    if w.served and not w.address.host:
        service["ports"] = [f"{w.address.port}:{w.port}" if w.address.port else str(w.port)]
    elif w.port:
        service["expose"] = [str(w.port)]
    if w.volumes:
        service["volumes"] = [
            {
                "type": "volume",
                "source": v.name,
                "target": escape(v.path),
                **({"read_only": True} if v.read_only else {}),
            }
            for v in w.volumes
        ]
    if w.secrets:
        service["secrets"] = [_secret(secret) for secret in w.secrets]
    if healthcheck := _healthcheck(w.health):
        service["healthcheck"] = healthcheck
    service["restart"] = _RESTART[w.restart]
    service["stop_grace_period"] = duration_text(w.stop_grace)
    service["deploy"] = _deploy(w)
    if ours := _extension(w, project):
        service[extension.KEY] = ours
    return service


def _escaped(words: Iterable[str]) -> list[Plain]:
    return [escape(word) for word in words]


def _secret(secret: SecretFile) -> Plain:
    mount: dict[str, Plain] = {"source": secret.name, "target": escape(secret.path)}
    return {**mount, extension.KEY: {"version": secret.version}} if secret.version else mount


def _healthcheck(health: Health) -> Plain:
    if health == Health(health.check) and not isinstance(health.check, CommandCheck):
        return None
    timing: dict[str, Plain] = {
        "interval": duration_text(health.interval),
        "timeout": duration_text(health.timeout),
        "retries": health.retries,
        "start_period": duration_text(health.start_period),
    }
    match health.check:
        case CommandCheck(command):
            return {"test": ["CMD", *_escaped(command)], **timing}
        case HttpCheck() | TcpCheck():
            return timing
        case _:
            assert_never(health.check)


def _deploy(workload: Workload) -> Plain:
    deploy: dict[str, Plain] = {"replicas": workload.replicas}
    limits: dict[str, Plain] = {}
    if workload.resources.cpus is not None:
        limits["cpus"] = repr(workload.resources.cpus)
    if workload.resources.memory is not None:
        limits["memory"] = size_text(workload.resources.memory)
    if limits:
        deploy["resources"] = {"limits": limits}
    if update := _update(workload.strategy):
        deploy["update_config"] = update
    return deploy


def _update(strategy: Strategy) -> Plain:
    """Return the strategy in Compose's words, None where it has none or none are needed."""
    match strategy:
        case Rolling(1, 0):
            return None
        case Rolling(surge, 0):
            return {"parallelism": surge, "order": "start-first"}
        case Rolling(0, unavailable):
            return {"parallelism": unavailable, "order": "stop-first"}
        case _:
            return None


def _extension(workload: Workload, project: str) -> dict[str, Plain]:
    ours: dict[str, Plain] = extension.write_kind(workload)
    if workload.project != project:
        ours["project"] = workload.project or False
    if address := extension.write_address(workload.address, published=not workload.address.host):
        ours["address"] = address
    if (check := extension.write_check(workload.health.check)) and workload.health != Health():
        ours["health"] = check
    if workload.strategy != Rolling() and _update(workload.strategy) is None:
        ours["strategy"] = extension.write_strategy(workload.strategy)
    if workload.proof != ProofPolicy() or (workload.kind.serves and not workload.served):
        ours["proof"] = extension.write_proof(workload.proof)
    return ours
