"""An app goes live from the machine's Docker engine to a real Kubernetes and back, with volumes too, and grows there.

The image is in a registry on loopback; the node was given it beforehand.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.contract.kubernetes_metrics import metrics_server
from tests.contract.kubernetes_node import Cluster
from tests.e2e.faults.conftest import Server, serving, used
from tests.images import busybox_image
from tests.service.engines.test_docker_pull import push
from tests.service.oci.conftest import registry

pytestmark = pytest.mark.needs("docker", "caddy", "kubernetes node", "docker-registry")
BODY = "moving over the sea"
CLIENTS = 4
FILL = """
cd /data && mkdir -p a/b empty && echo text > a/b/file && ln a/b/file a/hard && ln -s ../nowhere a/link && mkfifo a/fifo
echo own > a/own && chown 1234:4321 a/own && chmod 4751 a/own && chmod 1733 empty && chown 7:8 .
dd if=/dev/zero of=a/sparse bs=1 count=1 seek=5000000 2>/dev/null && touch -d '2001-02-03 04:05:06' a/own a
"""
LOOK = "cd /data && find . -exec stat -c '%n %F %a %u %g %Y' {} + | sort && cat a/hard"
Json = dict[str, object]


@pytest.fixture(scope="module")
def image(kubernetes_of_ours: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The reference of an image that Docker can pull and the node has."""
    home = tmp_path_factory.mktemp("registry")
    with contextmanager(registry)(home, {}) as host:
        repository = f"{host}/team/shop"
        made = busybox_image(home / "image.tar", reference=f"{repository}:1", body=f"{BODY}\n")
        push(host, home / "image.tar", made)
        assert kubernetes_of_ours.load(repository, f"{BODY}\n").digest == made.digest
        yield f"{repository}:1"


@pytest.fixture
def harbour(kubernetes_of_ours: Cluster, tmp_path: Path) -> str:
    """The URL of the cluster, with the rights of the manifest."""
    return f"kubernetes://{kubernetes_of_ours.plane.kubeconfig(tmp_path / 'kubeconfig', 'naru')}"


def pods(cluster: Cluster, server: Server) -> list[Json]:
    query = f"labelSelector=naru.app%3D{server.name('shop')}"
    return list(cluster.plane.get(f"/api/v1/namespaces/naru/pods?{query}")["items"])


def test_an_app_moves_to_kubernetes_and_back_without_a_failed_request(
    docker_socket: str, kubernetes_of_ours: Cluster, image: str, harbour: str, tmp_path: Path
):
    with serving(tmp_path, docker_socket) as server:
        assert server.end(server.deploy("shop", image, replicas=3))["state"] == "succeeded"
        server.naru("targets", "add", "harbour", harbour, "--site", "sea")
        with used(server.status("shop")["endpoint"]["url"]) as client:
            assert "succeeded" in server.naru("move", server.name("shop"), "--to", "harbour")
            there = server.status("shop")
            assert (there["app"]["target"], there["ready"], server.containers("shop")) == ("harbour", 3, [])
            assert len(pods(kubernetes_of_ours, server)) == 3
            drained = server.naru("targets", "drain", "harbour")
        assert f"{server.name('shop')} → docker  succeeded" in drained
        assert client.failures == []
        assert client.sent > 100
        assert client.bodies == {BODY}
        assert (len(server.containers("shop")), pods(kubernetes_of_ours, server)) == (3, [])


def test_a_volume_goes_along_to_kubernetes_and_back(
    docker_socket: str, kubernetes_of_ours: Cluster, image: str, harbour: str, tmp_path: Path
):
    held = kubernetes_of_ours.image
    carrier = f"{held.reference.rpartition(':')[0]}@{held.digest}"
    with serving(tmp_path, docker_socket) as server:
        shop = server.name("shop")
        kept = {"replicas": 1, "volumes": [{"name": "data", "path": "/data"}]}
        assert server.end(server.deploy("shop", image, **kept))["state"] == "succeeded"
        server.naru("targets", "add", "harbour", f"{harbour}?carrier={carrier}", "--site", "sea")
        server.naru("exec", shop, "--", "/bin/sh", "-c", FILL)
        before = server.naru("exec", shop, "--", "/bin/sh", "-c", LOOK)

        assert "succeeded" in server.naru("move", shop, "--to", "harbour", "--copy-volumes", patience=240)
        there = server.naru("exec", shop, "--", "/bin/sh", "-c", LOOK)
        server.naru("exec", shop, "--", "/bin/sh", "-c", "echo from over the sea > /data/letter")
        assert "succeeded" in server.naru("move", shop, "--to", "docker", "--copy-volumes", patience=240)

        assert there == before
        assert server.naru("exec", shop, "--", "/bin/cat", "/data/letter").strip() == "from over the sea"


@pytest.mark.needs("metrics-server")
def test_an_app_grows_under_load_and_shrinks_after_it_and_nothing_works_against_the_autoscaler(
    kubernetes_of_ours: Cluster, image: str, harbour: str, tmp_path: Path
):
    bounds = {"autoscale": {"min": 1, "max": 3, "cpu_percent": 50}, "resources": {"cpus": 0.1}}
    with metrics_server(kubernetes_of_ours, tmp_path), serving(tmp_path, harbour) as server:
        assert server.end(server.deploy("shop", image, replicas=1, **bounds))["state"] == "succeeded"
        with ExitStack() as load:
            url = f"{server.status('shop')['endpoint']['url']}/cgi-bin/health"
            clients = [load.enter_context(used(url)) for _ in range(CLIENTS)]
            server.until(lambda: ready(server) == 3, "the app does not grow", 120)
            stays(lambda: len(staying(kubernetes_of_ours, server)) == 3)
        server.until(lambda: ready(server) == 1, "the app does not shrink", 120)
        stays(lambda: len(staying(kubernetes_of_ours, server)) == 1)
        assert [failure for client in clients for failure in client.failures] == []
        assert [one for one in server.events("shop") if "repair" in one.lower() or "missing" in one.lower()] == []


def staying(cluster: Cluster, server: Server) -> list[Json]:
    """The pods that were not told to go."""
    return [one for one in pods(cluster, server) if "deletionTimestamp" not in one["metadata"]]


def ready(server: Server) -> object:
    return server.status("shop")["ready"]


def stays(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Look for a while whether something stays as it is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert holds()
        time.sleep(0.2)
