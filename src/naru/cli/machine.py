"""What this machine has, looked up and not judged; everything here performs I/O and nothing here raises."""

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from naru.config import Settings

_PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """What a container engine's socket answered; `problem` is empty when it did."""

    socket: str
    name: str = ""
    version: str = ""
    api: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """The server's state directory; `mode` is None while it does not exist, `writable` tells of its parent then."""

    path: str
    mode: int | None
    writable: bool


@dataclass(frozen=True, slots=True)
class Port:
    """A port that a server needs, the variable that chooses it, and what hinders us from listening on it."""

    number: int
    purpose: str
    variable: str
    hindrance: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts that `naru doctor` judges: sizes in bytes."""

    python: tuple[int, int, int]
    kernel: str
    architecture: str
    filesystems: frozenset[str]
    controllers: frozenset[str] | None
    engines: tuple[EngineAnswer, ...]
    caddy: str
    ports: tuple[Port, ...]
    disk_free: int
    memory_total: int
    memory_available: int
    now: datetime
    clock_synchronised: bool | None
    state: StateDirectory


def look(server: Settings, environ: Mapping[str, str]) -> Machine:
    """Return the facts of this machine, for a server with these settings."""
    state = server.state
    memory = _memory()
    return Machine(
        python=sys.version_info[:3],
        kernel=platform.release(),
        architecture=platform.machine(),
        filesystems=frozenset(line.split()[-1] for line in _text("/proc/filesystems").splitlines() if line.split()),
        controllers=_controllers(),
        engines=tuple(engine_answer(path) for path in _sockets(server, environ)),
        caddy=_said("caddy", "version").split(" ")[0],
        ports=(
            Port(server.port, "console and API", "NARU_LISTEN", _hindrance(server.host, server.port)),
            Port(server.http_port, "apps by host name", "NARU_HTTP_PORT", _hindrance("", server.http_port)),
            Port(server.https_port, "apps by TLS", "NARU_HTTPS_PORT", _hindrance("", server.https_port)),
        ),
        disk_free=shutil.disk_usage(_existing(state)).free,
        memory_total=memory.get("MemTotal", 0),
        memory_available=memory.get("MemAvailable", 0),
        now=datetime.now(UTC),
        clock_synchronised=_synchronised(),
        state=_state(state),
    )


def engine_answer(path: str) -> EngineAnswer:
    """Ask the engine behind a unix socket for its version (Docker Engine API, GET /version)."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, connection.makefile("rb") as answer:
            connection.settimeout(_PATIENCE)
            connection.connect(path)
            # HTTP/1.0: the answer is neither in chunks nor followed by another.
            connection.sendall(b"GET /version HTTP/1.0\r\nHost: localhost\r\n\r\n")
            told = json.loads(answer.read(1 << 20).partition(b"\r\n\r\n")[2])
            names = [str(part.get("Name", "")) for part in told.get("Components") or ()]
            name = "Podman" if any("Podman" in name for name in names) else "Docker"
            return EngineAnswer(path, name, str(told["Version"]), str(told["ApiVersion"]))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        return EngineAnswer(path, problem=str(error) or type(error).__name__)


def _sockets(server: Settings, environ: Mapping[str, str]) -> list[str]:
    """Return the sockets where an engine may listen and which exist; the one that is named alone."""
    if server.engine.startswith("unix://"):
        return [server.engine.removeprefix("unix://")]
    runtime = environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    ours = (f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock")
    return [path for path in ("/var/run/docker.sock", "/run/podman/podman.sock", *ours) if Path(path).is_socket()]


def _hindrance(host: str, port: int) -> str:
    """Return why nobody could listen there now, empty when one could; an empty host is every address."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return ""
    except OSError as error:
        return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


def _controllers() -> frozenset[str] | None:
    """Return the controllers of cgroup v2, None where version 2 is not mounted."""
    path = Path("/sys/fs/cgroup/cgroup.controllers")
    return frozenset(_text(path).split()) if path.exists() else None


def _memory() -> dict[str, int]:
    """Return /proc/meminfo in bytes."""
    lines = (line.split() for line in _text("/proc/meminfo").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) == 3}


def _synchronised() -> bool | None:
    said = _said("timedatectl", "show", "--property=NTPSynchronized", "--value")
    return {"yes": True, "no": False}.get(said)


def _state(path: Path) -> StateDirectory:
    try:
        return StateDirectory(str(path), path.stat().st_mode & 0o777, os.access(path, os.R_OK | os.W_OK | os.X_OK))
    except OSError:
        return StateDirectory(str(path), None, os.access(_existing(path), os.W_OK | os.X_OK))


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())


def _said(program: str, *arguments: str) -> str:
    """Return what a program prints, empty where it is absent or fails."""
    found = shutil.which(program)
    if not found:
        return ""
    try:
        done = subprocess.run([found, *arguments], capture_output=True, text=True, timeout=_PATIENCE, check=True)  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    return done.stdout.strip()


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text("utf-8", errors="replace")
    except OSError:
        return ""
