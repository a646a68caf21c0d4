"""The real metrics-server for the cluster of kubernetes_node: it asks the kubelet, and the API server asks it.

It runs on this machine beside the control plane; its program is in KUBEBUILDER_ASSETS too.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.contract.kubernetes_node import Cluster
from tests.contract.kubernetes_plane import ACCOUNTS, running
from tests.ports import free_port

PROGRAM = "metrics-server"
PATIENCE = 90.0
"""Seconds until there are figures of the node."""
_GROUP = "v1beta1.metrics.k8s.io"
_AUTHORIZATION = "rbac.authorization.k8s.io"


def absence() -> str:
    """Say why there can be no figures; empty when there can."""
    if shutil.which(PROGRAM, path=os.environ.get("KUBEBUILDER_ASSETS", "")):
        return ""
    return f"the folder that KUBEBUILDER_ASSETS names holds no {PROGRAM}"


@contextmanager
def metrics_server(cluster: Cluster, home: Path) -> Iterator[None]:
    """Give the cluster figures of what its pods use, until the end."""
    port, plane = free_port(), cluster.plane
    kubeconfig = plane.kubeconfig(home / "metrics.yaml", "metrics")
    for one in _manifest(cluster.machine, port):
        plane.apply(one)
    command = (
        str(Path(os.environ["KUBEBUILDER_ASSETS"], PROGRAM)),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={cluster.machine}",
        f"--secure-port={port}",
        f"--cert-dir={home / 'metrics'}",
        "--kubelet-insecure-tls",
        "--kubelet-preferred-address-types=InternalIP",
        "--metric-resolution=10s",
        "--kubelet-request-timeout=5s",
    )
    log = home / "metrics.log"
    with running(log, *command) as process:
        deadline = time.monotonic() + PATIENCE
        while not plane.get("/apis/metrics.k8s.io/v1beta1/nodes").get("items"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"there are no figures: {log.read_text(errors='replace')[-1500:]}")
            time.sleep(0.2)
        try:
            yield
        finally:
            plane.delete(f"/apis/apiregistration.k8s.io/v1/apiservices/{_GROUP}")


def _manifest(machine: str, port: int) -> Iterator[dict[str, Any]]:
    """What an operator applies for it, but that the Service names this machine."""
    named = {"name": PROGRAM, "namespace": "kube-system"}
    service = {**named, "port": port}
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": named,
        "spec": {"type": "ExternalName", "externalName": machine},
    }
    yield {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": _GROUP},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "service": service,
            "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        },
    }
    user, _ = ACCOUNTS["metrics"]
    rules = [
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
    ]
    yield {
        "apiVersion": f"{_AUTHORIZATION}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": PROGRAM},
        "rules": rules,
    }
    for binding, kind, role in (
        ("ClusterRoleBinding", "ClusterRole", PROGRAM),
        ("ClusterRoleBinding", "ClusterRole", "system:auth-delegator"),
        ("RoleBinding", "Role", "extension-apiserver-authentication-reader"),
    ):
        where = {"namespace": "kube-system"} if kind == "Role" else {}
        yield {
            "apiVersion": f"{_AUTHORIZATION}/v1",
            "kind": binding,
            "metadata": {"name": f"{PROGRAM}-{role.replace(':', '-')}", **where},
            "roleRef": {"apiGroup": _AUTHORIZATION, "kind": kind, "name": role},
            "subjects": [{"apiGroup": _AUTHORIZATION, "kind": "User", "name": user}],
        }
