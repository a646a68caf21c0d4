"""The DaemonSet of the agent on a real node: it comes up, joins, and its mirror answers the node.

Its image cannot be built without a registry of base images: here it is a small root with this machine's own Python.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agents import Running, agent
from tests.contract.kubernetes_node import Cluster
from tests.contract.kubernetes_plane import NODE, manifest
from tests.ports import free_port

import naru

pytestmark = pytest.mark.needs("kubernetes node")
DAEMONSET = Path(__file__).parents[3] / "deploy/agent/daemonset.yaml"
SPACE = "/api/v1/namespaces/naru-system"
SET = "/apis/apps/v1/namespaces/naru-system/daemonsets/naru-agent"
PATIENCE = 90.0
ASK = "import sys, urllib.request as ask; print(ask.urlopen(sys.argv[1], timeout=5).status)"


@pytest.fixture
def outside(tmp_path: Path, kubernetes_of_ours: Cluster) -> Iterator[Running]:
    """The agent that lets others join, on this machine."""
    settings = {"NARU_AGENT_NODE": "outside", "NARU_AGENT_AUTHORITY": "yes", "NARU_AGENT_SNAPSHOTTER": "no"}
    door = f"{kubernetes_of_ours.machine}:{free_port()}"
    with agent(tmp_path / "outside", NARU_AGENT_LISTEN=door, **settings) as running:
        yield running


@pytest.fixture
def applied(tmp_path: Path, kubernetes_of_ours: Cluster, outside: Running) -> Iterator[Cluster]:
    plane = kubernetes_of_ours.plane
    space, daemonset = manifest(DAEMONSET)
    keys = {"token": outside.command("token").strip(), "via": outside.settings["NARU_AGENT_LISTEN"]}
    named = {"name": "naru-agent", "namespace": "naru-system"}
    plane.apply(space)
    plane.apply({"apiVersion": "v1", "kind": "Secret", "metadata": named, "stringData": keys})
    plane.apply(with_python_of_this_machine(daemonset, kubernetes_of_ours, tmp_path))
    yield kubernetes_of_ours
    plane.delete(SET)
    plane.delete(SPACE)


def with_python_of_this_machine(daemonset: dict[str, Any], cluster: Cluster, home: Path) -> dict[str, Any]:
    """Replace the image, and add what its programs need; all else stays as it is."""
    (programs := home / "programs").mkdir()
    (programs / "naru").write_text(f'#!/bin/sh\nexec {sys.executable} -c "from naru.main import cli; cli()" "$@"\n')
    (programs / "naru").chmod(0o755)
    source = Path(naru.__file__).parents[1]
    folders = {str(programs), str(source), sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64"}
    pod = daemonset["spec"]["template"]["spec"]
    own = {f"own-{number}": one for number, one in enumerate(sorted(folders)) if Path(one).exists()}
    pod["volumes"] += [{"name": name, "hostPath": {"path": folder}} for name, folder in own.items()]
    mounts = [{"name": name, "mountPath": folder, "readOnly": True} for name, folder in own.items()]
    path = {"name": "PATH", "value": f"{programs}:/bin"}, {"name": "PYTHONPATH", "value": str(source)}
    for container in (*pod["initContainers"], *pod["containers"]):
        container["image"] = cluster.image.reference
        container["env"] = [*container["env"], *path]
        container["volumeMounts"] = [*container["volumeMounts"], *mounts]
    pod["containers"][0]["args"] = [str(programs / "naru"), "agent", "run"]
    return daemonset


def until(holds: Callable[[], bool], what: str, cluster: Cluster) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        pods = cluster.plane.get(f"{SPACE}/pods").get("items", ())
        assert time.monotonic() < deadline, f"{what}: {[one['status'] for one in pods]}"
        time.sleep(0.2)


def test_the_agent_comes_up_joins_and_mirrors(applied: Cluster, outside: Running):
    until(lambda: applied.plane.get(SET).get("status", {}).get("numberReady") == 1, "the pod is not ready", applied)
    until(outside.knows_somebody, "the agent has not joined", applied)

    (peer,) = outside.asked.status().peers
    assert peer.node == NODE
    mirror = applied.network.node.run(sys.executable, "-c", ASK, "http://127.0.0.1:7072/v2/")
    assert mirror.stdout.strip() == b"200"
