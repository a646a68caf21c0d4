"""What all tests share: which programs a test needs, and sockets of real container engines.

A test says `@pytest.mark.needs("docker")`. Where the program is absent the test is skipped and the reason names it;
`--require=docker` turns that skip into a failure, so that a machine which must have it cannot pass by accident.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket

import pytest
from hypothesis import settings
from tests.contract import kubernetes_metrics, kubernetes_node, kubernetes_plane, kubernetes_schema
from tests.contract.marathon_schema import PUBLISHED
from tests.images import BUSYBOX, busybox_image
from tests.swarms import Node, swarm

from naru.domain.image import Image

# Hypothesis without a clock: a loaded machine makes examples slow, and slow is not wrong.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

_PLACES = ("/usr/local/bin", "/usr/sbin", "/sbin", *(str(p) for p in Path("/usr/lib/postgresql").glob("*/bin")))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require", action="append", default=[], metavar="NAME", help="fail, not skip, without NAME")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*names): skipped, with the reason, where one of the programs is absent")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            if reason := absence(name):
                give_up(item.config, name, reason)


def give_up(config: pytest.Config, name: str, reason: str) -> None:
    """Skip the test for want of `name`, or fail it when the command line requires that."""
    if name in config.getoption("--require"):
        pytest.fail(f"{name} is required, but {reason}", pytrace=False)
    pytest.skip(reason)


@cache
def absence(name: str) -> str:
    """Say why `name` cannot be used here; empty when it can."""
    return _ABSENCE.get(name, lambda: _no_program(name))()


def program(name: str) -> str:
    """Return the path of an installed program, empty when there is none."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(_PLACES)) or ""


def _no_program(name: str) -> str:
    return "" if program(name) else f"the program {name} is not installed"


def _no_docker() -> str:
    if _answering_docker():
        return ""
    if not program("dockerd"):
        return "no Docker engine answers and the program dockerd is not installed"
    return "" if os.geteuid() == 0 else "no Docker engine answers and only root can start one"


def _no_podman() -> str:
    return _no_program("podman") or ("" if os.geteuid() == 0 else "only root's Podman reaches containers directly")


def _no_swarm() -> str:
    programs = ("dockerd", "ip", "iptables", "nsenter", "unshare")
    lacking = next(filter(None, map(_no_program, programs)), "")
    return lacking or ("" if os.geteuid() == 0 else "only root can start Docker engines in networks of their own")


def _no_busybox() -> str:
    return "" if BUSYBOX.exists() else f"there is no static busybox at {BUSYBOX}"


def _no_fleet() -> str:
    if os.geteuid() != 0:
        return "only root can make sites of network namespaces"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    return _no_program("ip") or _no_program("tc") or _no_program("nsenter")


_ABSENCE: dict[str, Callable[[], str]] = {
    "docker": lambda: _no_docker() or _no_busybox(),
    "podman": lambda: _no_podman() or _no_busybox(),
    "swarm": lambda: _no_swarm() or _no_busybox(),
    "busybox": _no_busybox,
    "lazy roots": lambda: "" if os.geteuid() == 0 else "only root mounts",
    "fleet": _no_fleet,
    "postgresql": lambda: _no_program("postgres"),
    "marathon": lambda: "" if os.environ.get("MARATHON_URL") else "no real Marathon is named by MARATHON_URL",
    "kubernetes": lambda: "" if os.environ.get("NARU_TEST_KUBECONFIG") else "make e2e was given no KUBECONFIG",
    "control plane": kubernetes_plane.absence,
    "kubernetes node": lambda: kubernetes_plane.absence() or kubernetes_node.absence(),
    "metrics-server": kubernetes_metrics.absence,
    "published kubernetes": kubernetes_schema.absence,
    "published marathon": lambda: "" if PUBLISHED.is_dir() else f"Marathon's description is not at {PUBLISHED}",
}


@pytest.fixture(scope="session")
def docker_socket(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Docker engine: the one that already answers, else a private one for the session."""
    if found := _answering_docker():
        yield found
        return
    if reason := absence("docker"):
        give_up(request.config, "docker", reason)
    with tempfile.TemporaryDirectory(prefix="naru-dockerd-") as home:
        socket_path = Path(home, "docker.sock")
        command = [program("dockerd"), f"--data-root={home}/data", f"--exec-root={home}/exec"]
        command += [f"--pidfile={home}/pid", f"--host=unix://{socket_path}"]
        yield from _serve(request, "docker", command, socket_path, 60)


@pytest.fixture(scope="session")
def swarm_of_three(request: pytest.FixtureRequest, busybox: tuple[Image, Path]) -> Iterator[Sequence[Node]]:
    """A private swarm, its manager first; all its nodes hold the small web server."""
    if reason := absence("swarm"):
        give_up(request.config, "swarm", reason)
    with swarm(3) as nodes:
        for node in nodes:
            node.load(busybox[1])
        yield nodes


@pytest.fixture(scope="session")
def kubernetes_of_ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kubernetes_node.Cluster]:
    """A real Kubernetes of one node, with Naru's account and rights as its manifest gives them."""
    with kubernetes_node.cluster(tmp_path_factory.mktemp("kubernetes")) as cluster:
        for one in (*kubernetes_plane.manifest(), *kubernetes_plane.manifest(kubernetes_plane.PROJECTS)):
            cluster.plane.apply(one)
        yield cluster


@pytest.fixture(scope="session")
def podman_socket(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a private Podman service with storage of its own."""
    if reason := absence("podman"):
        give_up(request.config, "podman", reason)
    with tempfile.TemporaryDirectory(prefix="naru-podman-", ignore_cleanup_errors=True) as home:
        socket_path = Path(home, "podman.sock")
        # Without CAP_SYS_RESOURCE even root cannot raise limits to what Podman gives its containers.
        config = Path(home, "containers.conf")
        config.write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n')
        command = [program("podman"), f"--root={home}/data", f"--runroot={home}/run", "system", "service"]
        try:
            yield from _serve(
                request,
                "podman",
                [*command, "--time=0", f"unix://{socket_path}"],
                socket_path,
                20,
                CONTAINERS_CONF=str(config),
            )
        finally:
            subprocess.run(["umount", "-l", f"{home}/data/overlay"], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, Path]:
    """A small web server as a stored image, and its archive."""
    archive = tmp_path_factory.mktemp("images") / "busybox.tar"
    return busybox_image(archive), archive


def _serve(
    request: pytest.FixtureRequest, name: str, command: list[str], socket_path: Path, patience: float, **variables: str
) -> Iterator[str]:
    log = socket_path.with_suffix(".log")
    with log.open("wb") as out:  # beside the socket, where conmon leaves word of what ran out of memory
        where, variables = socket_path.parent, {**os.environ, **variables}
        server = subprocess.Popen(command, stdout=out, stderr=out, cwd=where, env=variables)
    try:
        deadline = time.monotonic() + patience
        while not answers(socket_path):
            if server.poll() is not None or time.monotonic() > deadline:
                give_up(request.config, name, f"{name} did not start: {log.read_text(errors='replace')[-400:]}")
            time.sleep(0.05)
        yield f"unix://{socket_path}"
    finally:
        server.terminate()
        server.wait(30)


@cache
def _answering_docker() -> str:
    named = os.environ.get("DOCKER_HOST", "")
    for url in (named, "unix:///var/run/docker.sock"):
        if url.startswith("unix://") and answers(Path(url.removeprefix("unix://"))):
            return url
    return ""


def answers(socket_path: Path) -> bool:
    """Whether a container engine answers a ping on the socket."""
    connection = HTTPConnection("localhost", timeout=5)
    connection.sock = socket(AF_UNIX, SOCK_STREAM)
    connection.sock.settimeout(5)
    try:
        connection.sock.connect(str(socket_path))
        connection.request("GET", "/_ping")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
