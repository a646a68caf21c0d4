"""Kubernetes manifests as apps: what runs, with its Services, Ingresses, autoscalers, ConfigMaps and Secrets."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from naru.domain.errors import Invalid
from naru.domain.kind import WorkloadKind
from naru.domain.proof import ProofPolicy
from naru.domain.workload import (
    Address,
    Recreate,
    Resources,
    Rolling,
    SecretFile,
    Strategy,
    Volume,
    Workload,
)
from naru.formats.kubernetes.files import Contents, environment, mounts, read_contents
from naru.formats.kubernetes.kinds import (
    RUNNING,
    innermost,
    read_autoscale,
    read_count,
    read_kind,
    read_restart,
)
from naru.formats.kubernetes.probes import read_health
from naru.formats.kubernetes.words import expand
from naru.formats.loss import Imported, Losses, StoredFile, note_rest
from naru.formats.names import as_label
from naru.formats.text import parse_yaml
from naru.formats.tree import At, Kind, Scalar
from naru.formats.units import quantity

NOWHERE = "an app of Naru has no place for it"
_BESIDE = (
    *("Service", "Ingress", "ConfigMap", "Secret", "PersistentVolumeClaim", "PodDisruptionBudget", "Namespace"),
    "HorizontalPodAutoscaler",
)
_WORKLOAD = (
    *("replicas", "selector", "template", "strategy", "updateStrategy", "revisionHistoryLimit"),
    *("progressDeadlineSeconds", "serviceName", "volumeClaimTemplates"),
)
_POD = ("containers", "volumes", "terminationGracePeriodSeconds", "restartPolicy", "enableServiceLinks", "dnsPolicy")
_CONTAINER = (
    *("name", "image", "imagePullPolicy", "command", "args", "env", "envFrom", "ports", "resources", "volumeMounts"),
    *("readinessProbe", "livenessProbe", "startupProbe", "terminationMessagePath", "terminationMessagePolicy"),
)


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of the files by kind."""

    running: tuple[At, ...]
    services: tuple[At, ...]
    ingresses: tuple[At, ...]
    scalers: tuple[At, ...]
    contents: Contents
    losses: Losses = field(default_factory=Losses)


def read_manifests(text: str, file: str) -> Imported:
    """Return the apps of a YAML or JSON stream; raise Invalid where it holds none."""
    losses = Losses()
    found: dict[str, list[At]] = {}
    for at in _objects(text, file):
        kind = at["kind"].text()
        if kind not in (*RUNNING, *_BESIDE):
            losses.add(at.path, kind, f"Naru deploys {', '.join(RUNNING)}")
        found.setdefault(kind, []).append(at)
    objects = Objects(
        running=tuple(at for kind in RUNNING for at in found.get(kind, ())),
        services=tuple(found.get("Service", ())),
        ingresses=tuple(found.get("Ingress", ())),
        scalers=tuple(found.get("HorizontalPodAutoscaler", ())),
        contents=read_contents(found.get("ConfigMap", ()), found.get("Secret", ())),
        losses=losses,
    )
    if not objects.running:
        raise Invalid(f"{file} holds no {', no '.join(RUNNING)}", "export one with kubectl get deployment -o yaml")
    files: dict[str, StoredFile] = {}
    workloads = [_workload(at, objects, files) for at in objects.running]
    return Imported(tuple(workloads), losses.rows(), files=tuple(files.values()))


def _objects(text: str, file: str) -> Iterator[At]:
    for document in parse_yaml(text, file):
        if isinstance(document, Scalar) and document.kind is Kind.NULL:
            continue
        at = At("", document)
        kind, api = at["kind"], at["apiVersion"]
        if not kind.meant or not api.meant:
            raise At("the document", document).invalid("is no Kubernetes object", "give it apiVersion and kind")
        if kind.text() == "List":
            for item in at["items"].items():
                yield _titled(item)
        else:
            yield _titled(at)


def _titled(at: At) -> At:
    return At(f"{at['kind'].text()}/{at['metadata']['name'].text()}", at.node)


def _workload(at: At, objects: Objects, files: dict[str, StoredFile]) -> Workload:
    losses = objects.losses
    spec = innermost(at, losses)
    title = at["metadata"]["name"].text()
    name = as_label(title, "an app")
    if name != title:
        losses.add(at.path, f"the name {title}", "an app's name is a DNS label", f"it is called {name}")
    pod = spec["template"]["spec"]
    containers = list(pod["containers"].items())
    if not containers:
        raise at.invalid("has no container", "give it one")
    container = containers[0]
    for other in containers[1:]:
        losses.add(other.path, f"the container {other['name'].text()}", "an instance is one container")
    if at["kind"].text() in ("Deployment", "StatefulSet"):
        note_rest(spec, _WORKLOAD, losses, NOWHERE)
    note_rest(pod, _POD, losses, NOWHERE)
    note_rest(container, _CONTAINER, losses, NOWHERE)
    services = [s for s in objects.services if _selects(s, spec["template"]["metadata"]["labels"])]
    port = _port(container, services, losses)
    variables = environment(container, objects.contents, losses)
    replicas, kind = read_count(at, spec), read_kind(at, port)
    volumes, secrets = _mounted(container, pod, objects, files, losses, spec)
    is_public = any(service["spec"]["type"].text() in ("LoadBalancer", "NodePort") for service in services)
    address = _address(services, objects.ingresses, losses)
    with at.explained():
        return Workload(
            app=name,
            image=container["image"].text(),
            port=port,
            replicas=replicas,
            command=tuple(expand(word, variables) for word in container["command"].texts()),
            arguments=tuple(expand(word, variables) for word in container["args"].texts()),
            environment=variables,
            health=read_health(container, port, losses),
            resources=_resources(container["resources"], losses),
            volumes=volumes,
            secrets=secrets,
            stop_grace=pod["terminationGracePeriodSeconds"].number(30.0),
            restart=read_restart(kind, spec),
            strategy=Rolling() if kind.ends else _strategy(spec, replicas),
            proof=ProofPolicy() if is_public or address.host or not (kind.serves and port) else ProofPolicy(count=0),
            address=address if kind.serves else Address(),
            kind=kind,
            schedule=at["spec"]["schedule"].text() if kind is WorkloadKind.SCHEDULED else "",
            autoscale=read_autoscale(objects.scalers, at),
        )


def _selects(service: At, labels: At) -> bool:
    selector = dict(service["spec"]["selector"].entries())
    return bool(selector) and all(labels[name].text() == value.text() for name, value in selector.items())


def _port(container: At, services: Iterable[At], losses: Losses) -> int:
    """Return the port of the container: what a Service sends to, else the first that the container names."""
    named = {port["name"].text(): port["containerPort"].integer() for port in container["ports"].items()}
    wanted = [port for service in services for port in service["spec"]["ports"].items()]
    numbers = []
    for port in wanted:
        target = port["targetPort"] if port["targetPort"].given else port["port"]
        numbers.append(named.get(target.text()) or target.integer())
    numbers += [number for number in named.values() if number not in numbers]
    for number in list(dict.fromkeys(numbers))[1:]:
        losses.add(container.path, f"port {number}", "an app has one port", f"port {numbers[0]} is the app's")
    return numbers[0] if numbers else 0


def _address(services: Iterable[At], ingresses: Iterable[At], losses: Losses) -> Address:
    names = {service["metadata"]["name"].text() for service in services}
    hosts = [rule for ingress in ingresses for rule in ingress["spec"]["rules"].items() if _backends(rule) & names]
    for ingress in ingresses:
        if ingress["spec"]["tls"].meant:
            losses.add(
                ingress.path, "tls", "the front door gets its certificates itself", "x-naru: {address: {tls: acme}}"
            )
    for rule in hosts[1:]:
        losses.add(rule.path, f"the host {rule['host'].text()}", "an app has one address")
    if hosts and hosts[0]["host"].meant:
        for path in hosts[0]["http"]["paths"].items():
            if path["path"].text("/") != "/":
                losses.add(path.path, f"the path {path['path'].text()}", "a host belongs to one app", "every path")
        return Address(host=hosts[0]["host"].text())
    for service in services:
        for port in service["spec"]["ports"].items():
            match service["spec"]["type"].text("ClusterIP"):
                case "LoadBalancer":
                    return Address(port=port["port"].integer())
                case "NodePort" if port["nodePort"].given:
                    return Address(port=port["nodePort"].integer())
    return Address()


def _backends(rule: At) -> set[str]:
    return {path.within("backend", "service", "name").text() for path in rule["http"]["paths"].items()}


def _mounted(
    container: At, pod: At, objects: Objects, files: dict[str, StoredFile], losses: Losses, spec: At
) -> tuple[tuple[Volume, ...], tuple[SecretFile, ...]]:
    templates = {claim["metadata"]["name"].text(): claim for claim in spec["volumeClaimTemplates"].items()}
    sources: Mapping[str, At] = {volume["name"].text(): volume for volume in pod["volumes"].items()}
    volumes: list[Volume] = []
    secrets: list[SecretFile] = []
    for mount in container["volumeMounts"].items():
        source = mount["name"].text()
        if source in templates:
            volumes.append(Volume(as_label(source, "a volume"), mount["mountPath"].text(), mount["readOnly"].boolean()))
            continue
        if source not in sources:
            raise mount.invalid(f"names the volume {source!r}, which the pod does not have", "add it to volumes")
        found = mounts(mount, sources[source], objects.contents, losses)
        volumes.extend(found.volumes)
        secrets.extend(found.secrets)
        files.update({file.name: file for file in found.files})
    return tuple(volumes), tuple(secrets)


def _resources(at: At, losses: Losses) -> Resources:
    note_rest(at, ("limits",), losses, "Naru sets limits and reserves nothing")
    note_rest(at["limits"], ("cpu", "memory"), losses, "Naru limits CPU and memory, nothing else")
    cpu, memory = at["limits"]["cpu"], at["limits"]["memory"]
    return Resources(
        cpus=float(quantity(cpu)) if cpu.given else None, memory=int(quantity(memory)) if memory.given else None
    )


def _strategy(spec: At, replicas: int) -> Strategy:
    """Return the strategy; a percentage of surge is rounded up and one of unavailability down, as Kubernetes does."""
    strategy = spec["strategy"]
    if strategy["type"].text() == "Recreate":
        return Recreate()
    if spec["updateStrategy"].given:
        return Rolling(0, 1)
    rolling = strategy["rollingUpdate"]
    surge = math.ceil(_share(rolling["maxSurge"], replicas))
    unavailable = math.floor(_share(rolling["maxUnavailable"], replicas))
    return Rolling(surge, unavailable) if surge + unavailable else Rolling(0, 1)


def _share(at: At, replicas: int) -> float:
    text = at.text("25%")
    if not text.endswith("%"):
        return at.integer()
    return At(at.path, Scalar(text.removesuffix("%"), place=at.node.place)).number() * replicas / 100
