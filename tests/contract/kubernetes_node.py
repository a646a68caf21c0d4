"""A real Kubernetes node for the control plane of kubernetes_plane: containerd, runc and a kubelet of its own.

It lives in namespaces of its own (network, mounts, processes) with everything it writes in one folder, so no other
container engine of this machine sees it, and all that runs in it ends with its first process. Its pods have addresses
that this machine reaches; nothing leads out of it, so it runs the images that it is given and no others.

Needs root, the kubelet in KUBEBUILDER_ASSETS (and kube-proxy, if Services shall lead anywhere), containerd, runc, the
CNI plugins, iproute2 and busybox.
"""

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from tests.containerds import KUBERNETES, Pods, configured, trust
from tests.contract.kubernetes_names import DOMAIN, names
from tests.contract.kubernetes_plane import NODE, ControlPlane, control_plane, running
from tests.fleets import Host
from tests.images import BUSYBOX, busybox_layout

from naru.domain.image import Image

PATIENCE = 90.0
"""Seconds for the node to be ready."""
PLUGINS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
CGROUPS = Path("/sys/fs/cgroup")
REPOSITORY = "registry.example/naru-test/busybox"
_PAUSE = "registry.example/naru-test/pause"
STORAGE_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "host", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "kubernetes.io/host-path",
}
_NAMESPACES = ("--mount", "--propagation=slave", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")
_TUNABLES = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What a kubelet sets for the whole machine; here it finds them set, and the machine stays as it is."""


@dataclass(frozen=True)
class Network:
    """A network namespace at NET.2, with pods from NET.128 on; this machine is NET.1."""

    namespace: str
    net: str

    @property
    def machine(self) -> str:
        """The address under which the node reaches this machine."""
        return f"{self.net}.1"

    @property
    def node(self) -> Host:
        """Where the node's own programs run."""
        return Host(self.namespace, f"{self.net}.2")


@dataclass(frozen=True)
class Cluster:
    """A control plane with one node; `image` is what it can run."""

    plane: ControlPlane
    image: Image
    network: Network
    cgroup: str
    home: Path
    """Where the node writes."""

    @property
    def machine(self) -> str:
        """The address under which the node reaches this machine."""
        return self.network.machine

    def load(self, repository: str, body: str) -> Image:
        """Give the node a web server that answers with `body`."""
        archive = self.home / "loaded.tar"
        image = busybox_layout(archive, repository, body=body)
        _import(self.home, archive)
        return image

    def trust(self, registry: str) -> None:
        """Let the node pull from a registry by plain HTTP."""
        trust(self.home, registry)

    def processes(self, container: str) -> list[int]:
        """Return the ids on this machine of a container's processes, the first of them first."""
        found = sorted(CGROUPS.glob(f"memory/{self.cgroup}/**/{container}/cgroup.procs"))
        found += sorted(CGROUPS.glob(f"{self.cgroup}/**/{container}/cgroup.procs"))
        return [int(line) for line in found[0].read_text().split()]


def absence() -> str:
    """Say why no node can be started; empty when one can."""
    if not shutil.which("kubelet", path=os.environ.get("KUBEBUILDER_ASSETS", "")):
        return "the folder that KUBEBUILDER_ASSETS names holds no kubelet"
    for program in ("containerd", "runc", "ctr", "ip", "nsenter", "unshare", "mount"):
        if not shutil.which(program):
            return f"the program {program} is not installed"
    if _plugins() is None:
        return "the CNI plugins are not installed"
    if not BUSYBOX.exists():
        return f"there is no static busybox at {BUSYBOX}"
    return "" if os.geteuid() == 0 else "only root can start a node"


def has_services() -> bool:
    """Whether the addresses of Services lead to their pods: that takes a kube-proxy."""
    return bool(shutil.which("kube-proxy", path=os.environ.get("KUBEBUILDER_ASSETS", "")))


@contextmanager
def network() -> Iterator[Network]:
    """Make a network for a node until the end."""
    name, net = f"nk{secrets.token_hex(2)}", f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(256)}"
    with ExitStack() as stack:
        _run("ip", "netns", "add", name)
        stack.callback(_run, "ip", "netns", "delete", name)
        _run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "addr", "add", f"{net}.1/25", "dev", name)
        _run("ip", "link", "set", name, "up")
        within = ("ip", "-n", name)
        _run(*within, "link", "set", "lo", "up")
        _run(*within, "addr", "add", f"{net}.2/25", "dev", "eth0")
        _run(*within, "link", "set", "eth0", "up")
        _run("ip", "route", "add", f"{net}.128/25", "via", f"{net}.2")
        yield Network(name, net)


@contextmanager
def cluster(
    home: Path, where: Network | None = None, snapshotters: Mapping[str, Path] | None = None
) -> Iterator[Cluster]:
    """Run a control plane and a node with their data in `home` until the end.

    The node is in a network of its own unless one is given, and its pods are on the first of the proxy snapshotters if
    there is one; what those mount is seen in the node.
    """
    with ExitStack() as stack:
        within = where or stack.enter_context(network())
        cgroup = stack.enter_context(_cgroup(f"naru-{secrets.token_hex(2)}"))
        plane = stack.enter_context(control_plane(home, within.machine))
        node = home / "node"
        for account in (NODE, "proxy"):
            plane.kubeconfig(home / f"{account}.yaml", account)
        _configure(home, within.net, cgroup, snapshotters or {})
        stack.enter_context(names(plane, within.machine))
        log = home / "node.log"
        command = within.node.command("unshare", *_NAMESPACES, "sh", "-c", _script(node))
        stack.enter_context(running(log, *command, patient=False))
        image = _load(node, log)
        plane.apply(STORAGE_CLASS)
        _await_ready(plane, home)
        yield Cluster(plane, image, within, cgroup, node)


@contextmanager
def _cgroup(name: str) -> Iterator[str]:
    """A control group for all pods, in every hierarchy."""
    unified = (CGROUPS / "cgroup.controllers").exists()
    hierarchies = [CGROUPS] if unified else [one for one in CGROUPS.iterdir() if (one / "cgroup.procs").exists()]
    for hierarchy in hierarchies:
        (hierarchy / name).mkdir()
    try:
        yield name
    finally:
        for hierarchy in hierarchies:
            for folder, _, _ in os.walk(hierarchy / name, topdown=False):
                _rmdir(Path(folder))


def _configure(whole: Path, net: str, cgroup: str, snapshotters: Mapping[str, Path]) -> None:
    """Write what containerd, CNI, the kubelet and kube-proxy read."""
    home = whole / "node"
    (home / "cni").mkdir(parents=True)
    (home / "tunables").mkdir()
    for path, value in _TUNABLES.items():
        (home / "tunables" / path.replace("/", "-")).write_text(value)
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": f"{net}.128/25"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(home / "addresses"),
        },
    }
    (home / "cni" / "pods.conflist").write_text(
        json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, {"type": "portmap"}]})
    )
    configured(home, snapshotters, Pods(next(iter(snapshotters), "overlayfs"), f"{_PAUSE}:1", network=_plugins()))
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": f"{net}.2",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "resolvConf": "",
        "clusterDNS": [f"{net}.1"],
        "clusterDomain": DOMAIN,
        "containerRuntimeEndpoint": f"unix://{home}/containerd.sock",
        "evictionHard": {
            "memory.available": "10Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
    }
    (home / "kubelet.yaml").write_text(yaml.safe_dump(kubelet))
    (home / "kubelet").write_text(
        f"--config={home}/kubelet.yaml --kubeconfig={whole}/{NODE}.yaml --root-dir={home}/pods"
        f" --cert-dir={home}/pods/pki --hostname-override={NODE} --node-ip={net}.2"
    )
    # Limits of connections belong to the machine.
    (home / "kube-proxy").write_text(
        f"--kubeconfig={whole}/proxy.yaml --hostname-override={NODE} --proxy-mode=iptables --conntrack-max-per-core=0"
        " --conntrack-tcp-timeout-established=0s --conntrack-tcp-timeout-close-wait=0s"
    )


def _script(home: Path) -> str:
    """What runs inside; folders with fixed names that containerd and the kubelet write to are private."""
    folder = os.environ["KUBEBUILDER_ASSETS"]
    steps = [f"mount -t tmpfs none {place}" for place in ("/run", "/var/log", "/var/lib")]
    steps += [
        f"{{ [ ! -e /proc/sys/{path} ] || mount --bind {home}/tunables/{path.replace('/', '-')} /proc/sys/{path}; }}"
        for path in _TUNABLES
    ]
    return (
        " && ".join(steps)
        + f" && {{ containerd --config={home}/config.toml & }}"
        + f" && until ctr --address={home}/containerd.sock version >/dev/null 2>&1; do sleep 0.1; done"
        + (f" && {{ {folder}/kube-proxy $(cat {home}/kube-proxy) & }}" if has_services() else "")
        + f" && {folder}/kubelet $(cat {home}/kubelet)"
    )


def _load(home: Path, log: Path) -> Image:
    """Give the node its two images: the sandbox's and the small web server."""
    _until(lambda: _succeeds("ctr", f"--address={home}/containerd.sock", "version"), "containerd", log)
    busybox_layout(home / "pause.tar", _PAUSE, command=("/bin/sleep", "2147483647"))
    image = busybox_layout(home / "busybox.tar", REPOSITORY, programs=("/bin/tar",))
    for archive in ("pause.tar", "busybox.tar"):
        _import(home, home / archive)
    return image


def _import(home: Path, archive: Path) -> None:
    _run("ctr", f"--address={home}/containerd.sock", f"--namespace={KUBERNETES}", "images", "import", str(archive))


def _await_ready(plane: ControlPlane, home: Path) -> None:
    def ready() -> bool:
        conditions = plane.get(f"/api/v1/nodes/{NODE}").get("status", {}).get("conditions", ())
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    _until(ready, "the node", home / "node.log")


def _until(holds: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} was not ready in time: {log.read_text(errors='replace')[-1500:]}")
        time.sleep(0.1)


def _plugins() -> Path | None:
    return next((one for one in PLUGINS if (one / "bridge").exists()), None)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _rmdir(folder: Path) -> None:
    """Remove a control group, which its last processes may hold for a moment."""
    deadline = time.monotonic() + 10
    while True:
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
