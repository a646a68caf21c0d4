"""The real server as a process that can be killed, the real engine, the real front door."""

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from tests.images import busybox_image
from tests.ports import free_ports

NARU = [sys.executable, "-c", "from naru.main import cli; cli()"]
PATIENCE = 60.0
Json = dict[str, object]


@dataclass
class Server:
    """A `naru serve` with a state of its own; its apps are called by names that nobody else uses."""

    home: Path
    engine: str
    environment: dict[str, str]
    url: str
    process: subprocess.Popen[bytes] | None = None
    suffix: str = field(default_factory=lambda: secrets.token_hex(3))

    # --- the process ------------------------------------------------------------------------------------------

    def start(self) -> None:
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen([*NARU, "serve"], stdout=log, stderr=log, env=self.environment)
        self.until(self._serves, "the server does not start")

    def kill(self) -> None:
        """End it as a loss of power would."""
        assert self.process
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def log(self) -> str:
        return (self.home / "log").read_text(errors="replace")

    def _serves(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.log()[-2000:]
        try:
            return self.call("GET", "/session", check=False).status_code == 200
        except httpx.TransportError:
            return False

    # --- what operators do ------------------------------------------------------------------------------------

    def naru(self, *words: str, patience: float = 120.0) -> str:
        """Carry out a command as an operator of this machine; return what it says."""
        done = subprocess.run(
            [*NARU, *words], env=self.environment, capture_output=True, text=True, timeout=patience, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def page(self, name: str) -> str:
        """Ask an app's endpoint."""
        return httpx.get(self.status(name)["endpoint"]["url"], trust_env=False, timeout=30).text

    def name(self, name: str) -> str:
        return f"{name}-{self.suffix}"

    def headers(self) -> dict[str, str]:
        token = self.home / "state" / "cli-token"
        return {"Authorization": f"Bearer {token.read_text() if token.exists() else 'none'}"}

    def call(self, method: str, path: str, *, check: bool = True, **more: object) -> httpx.Response:
        url = f"{self.url}/api/v1{path}"
        answer = httpx.request(method, url, headers=self.headers(), timeout=30, trust_env=False, **more)
        assert not check or answer.is_success, answer.text
        return answer

    def load(self, archive: Path) -> None:
        self.call("POST", "/images", content=archive.read_bytes())

    def deploy(self, name: str, image: str, **more: object) -> Json:
        """Ask for a deployment; return the rollout."""
        return self.call("POST", "/apps", json=workload(self.name(name), image, **more)).json()

    def end(self, rollout: Json, patience: float = PATIENCE) -> Json:
        """Wait for the end of a rollout."""
        seen: Json = {}

        def ended() -> bool:
            seen.update(self.call("GET", f"/rollouts/{rollout['id']}").json())
            return seen["state"] in ("succeeded", "failed", "cancelled")

        self.until(ended, f"the rollout does not end: {seen}", patience)
        return seen

    def until_step(self, rollout: Json, step: str) -> None:
        """Return at the very moment when a step begins, or has begun."""
        url = f"{self.url}/api/v1/rollouts/{rollout['id']}/stream"
        with httpx.stream("GET", url, headers=self.headers(), timeout=30, trust_env=False) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: ") and f'"name":"{step}"' in line:
                    return
        raise AssertionError(f"there was no step {step}")

    def status(self, name: str) -> Json:
        return self.call("GET", f"/apps/{self.name(name)}").json()

    def events(self, name: str) -> list[str]:
        found = self.call("GET", f"/events?app={self.name(name)}&after=0&limit=500").json()["items"]
        return [f"{one['kind']}: {one['text']}" for one in found]

    # --- what is really there ---------------------------------------------------------------------------------

    def containers(self, name: str) -> list[Json]:
        """Ask the engine itself for the app's containers."""
        filters = json.dumps({"label": [f"naru.app={self.name(name)}"]})
        return self.docker("GET", "/containers/json", params={"all": "1", "filters": filters}).json()

    def docker(self, method: str, path: str, *, check: bool = True, **more: object) -> httpx.Response:
        transport = httpx.HTTPTransport(uds=self.engine.removeprefix("unix://"))
        with httpx.Client(transport=transport, base_url="http://docker", timeout=60) as client:
            answer = client.request(method, path, **more)
        assert not check or answer.is_success, answer.text
        return answer

    def until(self, holds: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not holds():
            assert time.monotonic() < deadline, f"{what}\n{self.log()[-3000:]}"
            time.sleep(0.02)

    def settled(self, name: str) -> None:
        """Wait until the engine runs what the live release says, all of it and nothing else, and it answers."""

        def well() -> bool:
            status = self.status(name)
            there = {one["Id"][:12] for one in self.containers(name)}
            known = {one["id"][:12] for one in status["instances"]}
            running = [one["State"] for one in self.containers(name)] == ["running"] * status["desired"]
            url = status["endpoint"]["url"]
            return running and status["ready"] == status["desired"] and there == known and _answers(url)

        self.until(well, "the app does not settle")


@dataclass
class Client:
    """Somebody who uses an endpoint all the while, and counts what failed."""

    url: str
    sent: int = 0
    failures: list[str] = field(default_factory=list)
    bodies: set[str] = field(default_factory=set)

    def use(self, over: threading.Event) -> None:
        with httpx.Client(timeout=10, trust_env=False) as client:
            while not over.is_set():
                self.sent += 1
                try:
                    answer = client.get(self.url)
                    self.bodies.add(answer.text.strip())
                    if answer.status_code != 200:
                        self.failures.append(f"{answer.status_code} {answer.text[:80]}")
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                over.wait(0.01)


@contextmanager
def used(url: str) -> Iterator[Client]:
    """Use an endpoint while the block runs."""
    client, over = Client(url), threading.Event()
    thread = threading.Thread(target=client.use, args=(over,))
    thread.start()
    try:
        yield client
    finally:
        over.set()
        thread.join()


def workload(name: str, image: str, replicas: int = 2, **more: object) -> Json:
    return {
        "app": name,
        "image": image,
        "port": 8080,
        "replicas": replicas,
        "stop_grace": 0.5,
        "health": {"check": {"kind": "http", "path": "/"}, "interval": 0.3, "start_period": 10, "retries": 2},
        "proof": {"count": 5, "interval": 0.02},
        **more,
    }


@contextmanager
def serving(home: Path, engine: str, address: str = "127.0.0.1", **settings: str) -> Iterator[Server]:
    """Run a server at an address of this machine until the block ends, then take its apps and its front door away."""
    port, http, https, *apps = free_ports(23)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NARU_")} | {
        "HOME": str(home),
        "NARU_STATE": str(home / "state"),
        "NARU_ENGINE": engine,
        "NARU_LISTEN": f"{address}:{port}",
        "NARU_HTTP_PORT": str(http),
        "NARU_HTTPS_PORT": str(https),
        "NARU_APP_PORTS": f"{apps[0]}-{apps[-1]}",
        **settings,
    }
    server = Server(home, engine, environment, f"http://{address}:{port}")
    try:
        server.start()
        yield server
        for status in server.call("GET", "/apps").json()["items"]:
            server.end(server.call("DELETE", f"/apps/{status['app']['name']}?volumes=true").json())
    finally:
        server.stop()
        _stop_what_runs_in(home)


@pytest.fixture(scope="session")
def naru(docker_socket: str, archives: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("naru"), docker_socket) as server:
        for archive in archives:
            server.load(archive)
        yield server


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two versions of a small web server, as archives."""
    home = tmp_path_factory.mktemp("archives")
    paths = [home / "faults-1.tar", home / "faults-2.tar"]
    for number, path in enumerate(paths, start=1):
        busybox_image(path, reference=f"faults:{number}", body=f"hello {number}\n")
    return paths


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _stop_what_runs_in(home: Path) -> None:
    """End the front door, which goes on without its server by design."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "cwd").readlink().is_relative_to(home):
                os.kill(int(entry.name), signal.SIGTERM)
        except OSError:
            continue
