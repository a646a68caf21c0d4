"""How an app is reached through the cluster itself, beside Naru's front door: nothing here talks to anything.

A Gateway's route when the Gateway API is installed, else an Ingress when there is a class of them; both take a host
name. An app without one, or a cluster without either, gets a port on every node.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lightkube.generic_resource import GenericNamespacedResource, create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.networking_v1 import (
    HTTPIngressPath,
    HTTPIngressRuleValue,
    IngressBackend,
    IngressRule,
    IngressServiceBackend,
    IngressSpec,
    ServiceBackendPort,
)
from lightkube.resources.networking_v1 import Ingress

from naru.domain.errors import Conflict
from naru.domain.workload import Workload
from naru.engines.kubernetes.answers import Metadata
from naru.engines.kubernetes.naming import PORT, labels

AUTOMATIC = "auto"
HttpRoute = create_namespaced_resource("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes")
_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"


@dataclass(frozen=True, slots=True)
class ByGateway:
    """A route of the Gateway of that namespace and name."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ByIngress:
    """An Ingress of that class."""

    class_name: str


@dataclass(frozen=True, slots=True)
class ByNodePort:
    """A port on every node."""


WayIn = ByGateway | ByIngress | ByNodePort


def choose(wish: str, host: str, gateways: Sequence[Metadata], classes: Sequence[Metadata]) -> WayIn:
    """Choose the way in; `wish` is AUTOMATIC or NAMESPACE/NAME of a Gateway. Raises Conflict when that is not there."""
    known = {f"{one.namespace}/{one.name}": ByGateway(one.namespace, one.name) for one in gateways}
    if wish != AUTOMATIC and wish not in known:
        raise Conflict(f"the cluster has no Gateway {wish}", f"make it, or name one of: {', '.join(known) or 'none'}")
    if not host:
        return ByNodePort()
    if wish in known:
        return known[wish]
    if len(known) > 1:
        raise Conflict(
            f"the cluster has the Gateways {', '.join(sorted(known))}", "name one in the engine's URL: expose=…"
        )
    if known:
        return next(iter(known.values()))
    if classes:
        chosen = min(classes, key=lambda one: (one.annotations.get(_DEFAULT_CLASS) != "true", one.name))
        return ByIngress(chosen.name)
    return ByNodePort()


def http_route(owner: str, workload: Workload, gateway: ByGateway) -> GenericNamespacedResource:
    """Lead the workload's host to its Service (Gateway API v1, HTTPRoute)."""
    return HttpRoute(
        metadata=ObjectMeta(name=workload.app, labels=labels(owner, workload.app)),
        spec={
            "parentRefs": [{"namespace": gateway.namespace, "name": gateway.name}],
            "hostnames": [workload.address.host],
            "rules": [{"backendRefs": [{"name": workload.app, "port": workload.port}]}],
        },
    )


def ingress(owner: str, workload: Workload, way: ByIngress) -> Ingress:
    """Lead the workload's host to its Service."""
    backend = IngressBackend(service=IngressServiceBackend(name=workload.app, port=ServiceBackendPort(name=PORT)))
    paths = [HTTPIngressPath(path="/", pathType="Prefix", backend=backend)]
    return Ingress(
        metadata=ObjectMeta(name=workload.app, labels=labels(owner, workload.app)),
        spec=IngressSpec(
            ingressClassName=way.class_name,
            rules=[IngressRule(host=workload.address.host, http=HTTPIngressRuleValue(paths=paths))],
        ),
    )
