"""The engine stops in the middle of a rollout and comes back: nothing is half-done afterwards."""

import ctypes
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.conftest import answers, program
from tests.e2e.faults.conftest import Server, serving

CLONE_NEWNET = 0x40000000
"""From <linux/sched.h>; see unshare(2)."""

pytestmark = [pytest.mark.needs("docker"), pytest.mark.needs("caddy")]


class PrivateDocker:
    """A Docker engine of the test alone, without packet filter."""

    def __init__(self, home: Path) -> None:
        self.socket = home / "docker.sock"
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the engine and wait for its answer, or skip the test where this machine does not allow it."""
        home = self._home
        command = [program("dockerd"), f"--data-root={home}/data", f"--exec-root={home}/exec", f"--pidfile={home}/pid"]
        command += [f"--host=unix://{self.socket}", "--iptables=false", "--ip6tables=false"]
        command += ["--default-address-pool=base=10.213.0.0/16,size=24"]
        log = home / "dockerd.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out)
        deadline = time.monotonic() + 30
        while not answers(self.socket):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.skip(f"no second dockerd can run here: {log.read_text(errors='replace')[-300:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)

    def clear(self) -> None:
        """Stop for good, and leave no container, no bridge and no mount behind, whatever happened before."""
        if answers(self.socket):
            transport = httpx.HTTPTransport(uds=str(self.socket))
            with httpx.Client(transport=transport, base_url="http://docker", timeout=60) as client:
                for one in client.get("/containers/json?all=1").json():
                    client.delete(f"/containers/{one['Id']}?force=1")
                client.post("/networks/prune")
        self.stop()
        for line in Path("/proc/mounts").read_text().splitlines():
            if (place := line.split()[1]).startswith(f"{self._home}/"):
                subprocess.run([program("umount"), "--lazy", place], check=False)


@pytest.fixture
def own_network() -> Iterator[None]:
    """A network namespace for this test and all that it starts: two engines in one would fight over docker0."""
    libc = ctypes.CDLL(None)
    with open("/proc/thread-self/ns/net") as home:
        if not program("ip") or libc.unshare(CLONE_NEWNET):
            pytest.skip("a network namespace cannot be made here: that takes root and the program ip")
        try:
            subprocess.run([program("ip"), "link", "set", "lo", "up"], check=True)
            yield
        finally:
            libc.setns(home.fileno(), CLONE_NEWNET)


@pytest.fixture
def engine(own_network: None) -> Iterator[PrivateDocker]:
    if not program("dockerd") or os.geteuid() != 0:
        pytest.skip("only root can start the program dockerd")
    with tempfile.TemporaryDirectory(prefix="naru-dockerd-", ignore_cleanup_errors=True) as home:
        engine = PrivateDocker(Path(home))
        try:
            engine.start()
            yield engine
        finally:
            engine.clear()


@pytest.fixture
def naru(engine: PrivateDocker, archives: list[Path], tmp_path: Path) -> Iterator[Server]:
    home = tmp_path / "naru"
    home.mkdir()
    with serving(home, f"unix://{engine.socket}") as server:
        for archive in archives:
            server.load(archive)
        yield server


def test_a_rollout_ends_well_or_goes_back_when_the_engine_stops_and_comes_back(naru, engine):
    assert naru.end(naru.deploy("shop", "faults:1"))["state"] == "succeeded"
    slow = ["/bin/sh", "-c", "sleep 6; exec /bin/httpd -f -p 8080 -h /www"]
    rollout = naru.deploy("shop", "faults:2", command=slow)
    naru.until_step(rollout, "roll")

    engine.stop()
    assert naru.call("GET", "/targets").json()["items"][0]["problem"]
    engine.start()

    ended = naru.end(rollout, patience=90)
    assert ended["state"] == "succeeded" or ended["reason"]
    naru.settled("shop")
    assert naru.end(naru.deploy("after", "faults:2", replicas=1))["state"] == "succeeded"
