"""A real Kubernetes control plane on loopback, with Debian's etcd: API server, controllers, scheduler, and no node.

The programs are taken from the folder that KUBEBUILDER_ASSETS names, as envtest does. Pods are made, scheduled nowhere,
and removed: enough for whatever is between Naru and the API.
"""

import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.ports import free_port

RBAC = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "rbac.yaml"
PROJECTS = RBAC.with_name("rbac-projects.yaml")
EXPOSE = RBAC.with_name("rbac-expose.yaml")
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
PATIENCE = 120.0
"""Seconds for the API server to be ready."""
NODE = "naru-test-node"
FRONT_PROXY = "front-proxy"
"""As whom the API server asks other API servers, in the name of those who asked it."""
ACCOUNTS = {
    "admin": ("admin", "system:masters"),
    "naru": ("system:serviceaccount:naru:naru", "system:serviceaccounts"),
    NODE: (f"system:node:{NODE}", "system:nodes"),
    "proxy": ("system:kube-proxy", "system:authenticated"),
    "metrics": ("system:serviceaccount:kube-system:metrics-server", "system:serviceaccounts"),
}
"""Who may sign in with a token of the same name: user and group."""


@dataclass(frozen=True)
class ControlPlane:
    """Where it listens, and the certificate that it shows."""

    server: str
    certificate: Path

    def kubeconfig(self, path: Path, account: str) -> Path:
        """Write a kubeconfig for one of the accounts."""
        cluster = {"server": self.server, "certificate-authority": str(self.certificate)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": account,
            "clusters": [{"name": "plane", "cluster": cluster}],
            "users": [{"name": account, "user": {"token": account}}],
            "contexts": [{"name": account, "context": {"cluster": "plane", "user": account}}],
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def apply(self, manifest: Mapping[str, Any]) -> None:
        """Let an object of a manifest be, as an administrator."""
        query = {"fieldManager": "tests", "force": "true"}
        self._patch(_path(manifest), query, "apply-patch+yaml", yaml.safe_dump(dict(manifest)))

    def get(self, path: str) -> dict[str, Any]:
        """Read an object, as an administrator; one that is not there, or whose server is not, is empty."""
        with self._administrator() as http:
            answer = http.get(path)
            return {} if answer.status_code in (404, 503) else dict(answer.raise_for_status().json())

    def merge(self, path: str, patch: Mapping[str, Any], manager: str) -> None:
        """Change an object by a merge patch, as somebody else."""
        self._patch(path, {"fieldManager": manager}, "merge-patch+json", json.dumps(patch))

    def delete(self, path: str) -> None:
        """Remove an object, as an administrator."""
        with self._administrator() as http:
            http.delete(path).raise_for_status()

    def evict(self, namespace: str, pod: str) -> bool:
        """Ask for a pod to go, as who drains its node does; say whether its disruption budget allows that."""
        named = {"name": pod, "namespace": namespace}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": named}
        with self._administrator() as http:
            answer = http.post(f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", json=eviction)
        return answer.status_code != 429 and bool(answer.raise_for_status())

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            with self._administrator() as http:
                return http.get("/readyz").status_code == 200
        except (httpx.HTTPError, OSError):
            return False

    def _patch(self, path: str, query: Mapping[str, str], form: str, content: str) -> None:
        with self._administrator() as http:
            headers = {"Content-Type": f"application/{form}"}
            http.patch(path, params=dict(query), headers=headers, content=content).raise_for_status()

    def _administrator(self) -> httpx.Client:
        headers = {"Authorization": "Bearer admin"}
        verify = ssl.create_default_context(cafile=str(self.certificate))
        return httpx.Client(base_url=self.server, verify=verify, headers=headers)


def manifest(path: Path = RBAC) -> list[dict[str, Any]]:
    """Read what an operator applies to give Naru its rights."""
    return list(yaml.safe_load_all(path.read_text()))


def absence() -> str:
    """Say why no control plane can be started; empty when one can."""
    if not (folder := os.environ.get("KUBEBUILDER_ASSETS")):
        return "KUBEBUILDER_ASSETS names no folder with a Kubernetes control plane"
    for program in PROGRAMS:
        if not shutil.which(program, path=folder):
            return f"the folder that KUBEBUILDER_ASSETS names holds no {program}"
    return "" if shutil.which("etcd") else "the program etcd is not installed"


@contextmanager
def control_plane(home: Path, address: str = "127.0.0.1") -> Iterator[ControlPlane]:
    """Run a control plane at an address of this machine, with its data in `home`, until the end."""
    folder = Path(os.environ["KUBEBUILDER_ASSETS"])
    key, tokens, certificates = home / "accounts.key", home / "tokens.csv", home / "certificates"
    key.write_bytes(_private_key())
    tokens.write_text("".join(f'{token},{user},{user},"{group}"\n' for token, (user, group) in ACCOUNTS.items()))
    front_proxy = home / "front-proxy.pem"
    front_proxy.write_bytes(_self_signed(FRONT_PROXY))
    etcd, peers, port = free_port(), free_port(), free_port()
    plane = ControlPlane(f"https://{address}:{port}", certificates / "apiserver.crt")
    with ExitStack() as stack:

        def start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
            return stack.enter_context(running(home / f"{Path(program).name}.log", program, *arguments))

        start(
            "etcd",
            f"--data-dir={home / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peers}",
        )
        server = start(
            str(folder / "kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            f"--bind-address={address}",
            f"--advertise-address={address}",
            f"--secure-port={port}",
            f"--cert-dir={certificates}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=Node,RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={front_proxy}",
            f"--requestheader-allowed-names={FRONT_PROXY}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={front_proxy}",
            f"--proxy-client-key-file={front_proxy}",
        )
        _await(plane.ready, server, home / "kube-apiserver.log")
        admin = plane.kubeconfig(home / "admin.yaml", "admin")
        others = (f"--kubeconfig={admin}", "--leader-elect=false", f"--cert-dir={home}")
        start(
            str(folder / "kube-controller-manager"),
            *others,
            f"--secure-port={free_port()}",
            f"--service-account-private-key-file={key}",
            f"--root-ca-file={plane.certificate}",
            "--enable-hostpath-provisioner",
            "--horizontal-pod-autoscaler-sync-period=2s",
            "--horizontal-pod-autoscaler-downscale-stabilization=10s",
        )
        start(str(folder / "kube-scheduler"), *others, f"--secure-port={free_port()}")
        yield plane


@contextmanager
def running(log: Path, *command: str, patient: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end, with what it says in `log`; then ask it to stop, or kill it without patience."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield process
    finally:
        (process.terminate if patient else process.kill)()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the control plane did not start: {log.read_text(errors='replace')[-800:]}")
        time.sleep(0.1)


def _private_key() -> bytes:
    return _written(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def _self_signed(name: str) -> bytes:
    """Make a key and a certificate that is its own authority."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    today = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _written(key) + made.public_bytes(serialization.Encoding.PEM)


def _written(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _path(manifest: Mapping[str, Any]) -> str:
    version, kind, meta = manifest["apiVersion"], manifest["kind"].lower(), manifest["metadata"]
    plural = "es" if kind.endswith("s") else "s"
    inside = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
    return f"/{'apis' if '/' in version else 'api'}/{version}{inside}/{kind}{plural}/{meta['name']}"
