"""Private containerds, each with storage, sockets and (given a host) a network of its own; and what they are told.

A containerd has its own /run/containerd, as its shims and runc keep state there by container names; mounts made outside
after its start are seen inside. Everything is removed at the end; needs root, containerd, ctr and runc.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.fleets import Host

PATIENCE = 30.0
NAMESPACE = "naru-test"
KUBERNETES = "k8s.io"
"""The namespace of what the CRI plugin makes."""
_CRI = "io.containerd.grpc.v1.cri"
UNUSED = [f"io.containerd.snapshotter.v1.{one}" for one in ("aufs", "btrfs", "devmapper", "zfs")]


@dataclass(frozen=True, slots=True)
class Pods:
    """How the CRI plugin runs: with which snapshotter, which sandbox image, and which registry by plain HTTP.

    With `network`, the folder of the CNI plugins, pods have networks as the files in `cni` of the home say; without it
    they share the machine's.
    """

    snapshotter: str
    pause: str
    registry: str = ""
    network: Path | None = None


@dataclass(frozen=True, slots=True)
class Containerd:
    """A running containerd."""

    home: Path
    pid: int

    @property
    def socket(self) -> Path:
        """Where it answers."""
        return self.home / "containerd.sock"

    def command(self, *words: str, namespace: str = NAMESPACE) -> tuple[str, ...]:
        """Return the command that makes ctr carry out `words`."""
        where = ("nsenter", f"--target={self.pid}", "--mount", "--net")
        return (*where, "ctr", "--address", str(self.socket), "--namespace", namespace, *words)

    def ctr(self, *words: str, check: bool = True, patience: float = 120.0, namespace: str = NAMESPACE) -> str:
        """Make ctr carry out `words`; return what it says."""
        done = subprocess.run(
            self.command(*words, namespace=namespace), capture_output=True, timeout=patience, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"ctr {' '.join(words)}: {done.stderr.decode(errors='replace')[-800:]}")
        return done.stdout.decode()

    def clear(self) -> None:
        """Stop and remove all containers."""
        for namespace in (NAMESPACE, KUBERNETES):
            self._clear(namespace)

    def _clear(self, namespace: str) -> None:
        for task in self.ctr("task", "ls", "-q", namespace=namespace).split():
            self.ctr("task", "kill", "--signal", "SIGKILL", task, check=False, namespace=namespace)
            deadline = time.monotonic() + PATIENCE
            while (
                self.ctr("task", "rm", "--force", task, check=False, namespace=namespace)
                or task in self.ctr("task", "ls", "-q", namespace=namespace).split()
            ):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"container {task} does not end")
                time.sleep(0.05)
        for container in self.ctr("container", "ls", "-q", namespace=namespace).split():
            self.ctr("container", "rm", container, namespace=namespace)


@contextmanager
def containerd(
    home: Path,
    host: Host | None = None,
    snapshotters: Mapping[str, Path] | None = None,
    pods: Pods | None = None,
) -> Iterator[Containerd]:
    """Run a containerd that keeps all in `home` and knows these proxy snapshotters; end it with its containers.

    With `pods` its CRI plugin runs too.
    """
    config = configured(home, snapshotters or {}, pods)
    # What is mounted below a shared home is seen outside, as on a node; what is mounted elsewhere is not.
    script = (
        "mount --make-slave / && { ! mountpoint -q /run || mount --make-slave /run; }"
        " && mkdir -p /run/containerd && mount -t tmpfs none /run/containerd"
        f" && exec containerd --config {config}"
    )
    words = ("unshare", "--mount", "--propagation", "unchanged", "sh", "-c", script)
    with (home / "log").open("ab") as log:
        server = subprocess.Popen(host.command(*words) if host else words, stdout=log, stderr=log)
    one = Containerd(home, server.pid)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _answers(one):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"containerd did not start: {(home / 'log').read_text(errors='replace')[-800:]}")
            time.sleep(0.05)
        yield one
    finally:
        with suppress(RuntimeError, subprocess.TimeoutExpired):
            one.clear()
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(5)


def configured(home: Path, snapshotters: Mapping[str, Path], pods: Pods | None = None) -> Path:
    """Write what a containerd reads that keeps all in `home` and knows these proxy snapshotters; return the file."""
    home.mkdir(parents=True, exist_ok=True)
    config = home / "config.toml"
    proxies = "".join(
        f'  [proxy_plugins.{name}]\n    type = "snapshot"\n    address = "{address}"\n'
        for name, address in snapshotters.items()
    )
    config.write_text(
        f'version = 2\nroot = "{home}/root"\nstate = "{home}/state"\n'
        f"disabled_plugins = {json.dumps(UNUSED if pods else [*UNUSED, _CRI])}\n"
        f'[grpc]\n  address = "{home}/containerd.sock"\n[ttrpc]\n  address = "{home}/containerd.ttrpc"\n'
        f'[plugins."io.containerd.internal.v1.opt"]\n  path = "{home}/opt"\n'
        f"[proxy_plugins]\n{proxies}" + (_cri(home, pods) if pods else "")
    )
    if pods and pods.registry:
        trust(home, pods.registry)
    return config


def trust(home: Path, registry: str) -> None:
    """Let the CRI plugin of the containerd in `home` pull from a registry by plain HTTP."""
    (hosts := home / "hosts" / registry).mkdir(parents=True, exist_ok=True)
    (hosts / "hosts.toml").write_text(f'server = "http://{registry}"\n[host."http://{registry}"]\n')


def _cri(home: Path, pods: Pods) -> str:
    plugin = f'[plugins."{_CRI}"'
    network = f'{plugin}.cni]\n  bin_dir = "{pods.network}"\n  conf_dir = "{home}/cni"\n' if pods.network else ""
    return (
        f'{plugin}]\n  sandbox_image = "{pods.pause}"\n  stream_server_address = "127.0.0.1"\n'
        f"  disable_apparmor = true\n  restrict_oom_score_adj = true\n"
        f'{plugin}.containerd]\n  snapshotter = "{pods.snapshotter}"\n  disable_snapshot_annotations = false\n'
        f'{plugin}.registry]\n  config_path = "{home}/hosts"\n{network}'
    )


def _answers(one: Containerd) -> bool:
    return (
        one.socket.exists() and subprocess.run(one.command("version"), capture_output=True, check=False).returncode == 0
    )
