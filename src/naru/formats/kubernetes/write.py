"""An app as Kubernetes manifests: what runs it, by its kind, and Service, Ingress, claims and budget beside it."""

import math
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import assert_never

from naru.domain.kind import WorkloadKind
from naru.domain.workload import (
    BlueGreen,
    Canary,
    CommandCheck,
    Health,
    HttpCheck,
    Recreate,
    Resources,
    Restart,
    Rolling,
    Strategy,
    TcpCheck,
    Tls,
    Workload,
)
from naru.formats.kubernetes.kinds import written_autoscale, written_run
from naru.formats.kubernetes.words import MANAGED_BY, NAME_LABEL, SECRET_KEY, escape
from naru.formats.loss import Exported, Losses, note_place
from naru.formats.text import Plain, write_yaml
from naru.formats.units import memory_quantity

VOLUME_SIZE = "1Gi"


def write_manifests(workload: Workload) -> Exported:
    """Return the app's objects as one YAML stream, and what Kubernetes cannot be told."""
    losses = Losses()
    objects = [_running(workload, losses), *_others(workload, losses)]
    _note(workload, losses)
    return Exported(write_yaml(*objects), losses.rows())


def _object(api: str, kind: str, name: str, app: str, spec: Plain) -> Plain:
    labels = {NAME_LABEL: app, MANAGED_BY: "naru"}
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec}


def _running(w: Workload, losses: Losses) -> Plain:
    pod: dict[str, Plain] = {
        "containers": [_container(w, losses)],
        "terminationGracePeriodSeconds": math.ceil(w.stop_grace),
        "enableServiceLinks": False,
    }
    if volumes := list(_volumes(w, losses)):
        pod["volumes"] = volumes
    template: dict[str, Plain] = {"metadata": {"labels": {NAME_LABEL: w.app}}, "spec": pod}
    if w.kind.ends:
        pod["restartPolicy"] = "Never"
        api, kind, spec = written_run(w, template)
        return _object(api, kind, w.app, w.app, spec)
    lasting: dict[str, Plain] = {
        "replicas": w.replicas,
        "selector": {"matchLabels": {NAME_LABEL: w.app}},
        "template": template,
    }
    if w.kind is WorkloadKind.STATEFUL:
        own: dict[str, Plain] = {"serviceName": w.app, "updateStrategy": {"type": "RollingUpdate"}}
        claims: list[Plain] = [_claim(f"v-{name}", w.app) for name in _claimed(w, losses)]
        return _object("apps/v1", "StatefulSet", w.app, w.app, {**lasting, **own, "volumeClaimTemplates": claims})
    strategy = _strategy(w.strategy, w.replicas, w.app, losses)
    return _object("apps/v1", "Deployment", w.app, w.app, {**lasting, "strategy": strategy})


def _claimed(w: Workload, losses: Losses) -> Iterator[str]:
    for name in dict.fromkeys(volume.name for volume in w.volumes):
        losses.add(w.app, f"the volume {name} without a size", "a claim asks for a size", VOLUME_SIZE)
        yield name


def _claim(name: str, app: str) -> Plain:
    spec: Plain = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": VOLUME_SIZE}}}
    return _object("v1", "PersistentVolumeClaim", name, app, spec)


def _container(w: Workload, losses: Losses) -> Plain:
    container: dict[str, Plain] = {
        "name": w.app,
        "image": w.image,
    }
    if w.port:
        container["ports"] = [{"name": "http", "containerPort": w.port, "protocol": "TCP"}]
    if w.checked:
        container["readinessProbe"] = _probe(w.health, w.port, w.app, losses)
    if w.command:
        container["command"] = [escape(word) for word in w.command]
    if w.arguments:
        container["args"] = [escape(word) for word in w.arguments]
    if w.environment:
        container["env"] = [{"name": name, "value": escape(value)} for name, value in w.environment.items()]
    if limits := _limits(w.resources):
        container["resources"] = {"limits": limits}
    mounts: list[Plain] = [
        {"name": f"v-{v.name}", "mountPath": v.path, **({"readOnly": True} if v.read_only else {})} for v in w.volumes
    ]
    mounts += [
        {"name": f"s-{s.name}", "mountPath": s.path, "subPath": PurePosixPath(s.path).name, "readOnly": True}
        for s in w.secrets
    ]
    if mounts:
        container["volumeMounts"] = mounts
    return container


def _volumes(w: Workload, losses: Losses) -> Iterator[Plain]:
    for name in dict.fromkeys(volume.name for volume in w.volumes if w.kind is not WorkloadKind.STATEFUL):
        yield {"name": f"v-{name}", "persistentVolumeClaim": {"claimName": f"{w.app}-{name}"}}
    files: dict[str, list[str]] = {}
    for secret in w.secrets:
        files.setdefault(secret.name, []).append(PurePosixPath(secret.path).name)
        losses.add(w.app, f"the value of the secret {secret.name}", "Naru shows no secret", _create(secret.name))
        if secret.version:
            losses.add(w.app, f"version {secret.version} of {secret.name}", "a Secret has one value", "that value")
    for name, paths in files.items():
        items: list[Plain] = [{"key": SECRET_KEY, "path": path} for path in dict.fromkeys(paths)]
        yield {"name": f"s-{name}", "secret": {"secretName": name, "items": items}}


def _create(secret: str) -> str:
    return f"kubectl create secret generic {secret} --from-file={SECRET_KEY}=FILE"


def _service(w: Workload, losses: Losses) -> Plain:
    port: dict[str, Plain] = {"name": "http", "port": w.address.port or w.port, "targetPort": w.port, "protocol": "TCP"}
    if w.served and not w.address.given:
        losses.add(w.app, "a free port of the front door", "a Service is known in its cluster", "a ClusterIP")
    kind = "LoadBalancer" if w.address.port else "ClusterIP"
    return _object("v1", "Service", w.app, w.app, {"type": kind, "selector": {NAME_LABEL: w.app}, "ports": [port]})


def _others(w: Workload, losses: Losses) -> Iterator[Plain]:
    if w.port:
        yield _service(w, losses)
    if w.address.host:
        backend: Plain = {"service": {"name": w.app, "port": {"name": "http"}}}
        path: Plain = {"path": "/", "pathType": "Prefix", "backend": backend}
        rules: Plain = [{"host": w.address.host, "http": {"paths": [path]}}]
        yield _object("networking.k8s.io/v1", "Ingress", w.app, w.app, {"rules": rules})
    if w.kind is not WorkloadKind.STATEFUL:
        yield from (_claim(f"{w.app}-{name}", w.app) for name in _claimed(w, losses))
    for autoscaler in written_autoscale(w):
        yield _object("autoscaling/v2", "HorizontalPodAutoscaler", w.app, w.app, autoscaler)
    if w.replicas > 1 and not w.kind.ends:
        spec: Plain = {"maxUnavailable": 1, "selector": {"matchLabels": {NAME_LABEL: w.app}}}
        yield _object("policy/v1", "PodDisruptionBudget", w.app, w.app, spec)


def _note(w: Workload, losses: Losses) -> None:
    if w.address.tls is not Tls.OFF:
        losses.add(w.app, f"tls: {w.address.tls}", "certificates are made outside of the manifests", "plain HTTP")
    if w.kind in (WorkloadKind.TRAINING, WorkloadKind.EDGE):
        losses.add(
            w.app, f"kind: {w.kind}", "Kubernetes has no word for it", "a Job" if w.kind.ends else "a Deployment"
        )
    if w.kind is WorkloadKind.STATEFUL and w.strategy != Rolling(0, 1):
        losses.add(w.app, f"strategy: {w.strategy.kind}", "a StatefulSet replaces one after the other", "that")
    note_place(w, losses)
    if w.proof.count:
        losses.add(w.app, "the proof", "Kubernetes proves no release", "its readiness probe alone")
    if w.restart is not Restart.ALWAYS and not w.kind.ends:
        losses.add(w.app, f"restart: {w.restart}", "a Deployment starts every container again", str(Restart.ALWAYS))
    if w.stop_grace != math.ceil(w.stop_grace):
        losses.add(
            w.app, f"{w.stop_grace:g} s to stop", "Kubernetes counts whole seconds", f"{math.ceil(w.stop_grace)} s"
        )


def _probe(health: Health, port: int, app: str, losses: Losses) -> Plain:
    """Return the readiness probe; it needs no time to start, as it may fail as long as it likes."""
    if any(seconds != math.ceil(seconds) for seconds in (health.interval, health.timeout)):
        losses.add(app, "parts of seconds in its health check", "Kubernetes counts whole seconds", "rounded up")
    timing: dict[str, Plain] = {
        "periodSeconds": math.ceil(health.interval),
        "timeoutSeconds": math.ceil(health.timeout),
        "failureThreshold": health.retries,
    }
    match health.check:
        case HttpCheck(path):
            return {"httpGet": {"path": path, "port": port}, **timing}
        case TcpCheck():
            return {"tcpSocket": {"port": port}, **timing}
        case CommandCheck(command):
            return {"exec": {"command": list(command)}, **timing}
        case _:
            assert_never(health.check)


def _limits(resources: Resources) -> dict[str, Plain]:
    limits: dict[str, Plain] = {}
    if resources.cpus is not None:
        limits["cpu"] = f"{max(1, round(resources.cpus * 1000))}m"
    if resources.memory is not None:
        limits["memory"] = memory_quantity(resources.memory)
    return limits


def _strategy(strategy: Strategy, replicas: int, app: str, losses: Losses) -> Plain:
    match strategy:
        case Rolling(surge, unavailable):
            return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
        case Recreate():
            return {"type": "Recreate"}
        case BlueGreen() | Canary():
            instead = "all new instances beside the old ones"
            losses.add(app, strategy.kind, "a Deployment sends requests to every ready instance", instead)
            return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": max(replicas, 1), "maxUnavailable": 0}}
        case _:
            assert_never(strategy)
