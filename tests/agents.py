"""Agents as processes, each with a state of its own; they are asked through their own sockets."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.fleets import Host

from naru.agent.control import Agent
from naru.domain.errors import NaruError

PATIENCE = 30.0


@dataclass(slots=True)
class Running:
    """An agent that can be started and killed; `home` holds all it writes."""

    home: Path
    settings: Mapping[str, str]
    host: Host | None = None
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def asked(self) -> Agent:
        """How it is asked."""
        return Agent(self.home / "run/agent.sock")

    @property
    def snapshotter(self) -> Path:
        """Where containerd asks it."""
        return self.home / "run/snapshotter.sock"

    def environment(self) -> dict[str, str]:
        """What it is told."""
        own = {
            "NARU_AGENT_STATE": str(self.home / "state"),
            "NARU_AGENT_RUN": str(self.home / "run"),
            "NARU_AGENT_MIRROR": "off",
            "NARU_AGENT_METRICS": "off",
            "NARU_AGENT_LISTEN": "127.0.0.1:0",
            "NARU_AGENT_MULTICAST": "no",
        }
        return {**os.environ, **own, **self.settings}

    def command(self, *words: str) -> str:
        """Carry out `naru agent …` there; return what it says."""
        done = subprocess.run(self._words(*words), env=self.environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def knows_somebody(self) -> bool:
        """Whether it is connected to another agent."""
        return any(peer.connected for peer in self.asked.status().peers)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(self._words("run"), env=self.environment(), stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(NaruError):
                self.asked.status()
                return
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, as SIGKILL does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
            self.kill()

    def log(self) -> str:
        """Return the end of its log."""
        return (self.home / "log").read_text(errors="replace")[-4000:]

    def _words(self, *words: str) -> tuple[str, ...]:
        command = (sys.executable, "-c", "from naru.main import cli; cli()", "agent", *words)
        return self.host.command(*command) if self.host else command


@contextmanager
def agent(home: Path, host: Host | None = None, **settings: str) -> Iterator[Running]:
    """Run an agent; at the end nothing of it is left, its mounts neither."""
    running = Running(home, settings, host)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        unmount_below(home)


def unmount_below(home: Path) -> None:
    """Detach every mount below a directory, and end the keepers of FUSE connections there."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((point for point in points if point.startswith(f"{home}/")), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def shared(home: Path) -> Iterator[None]:
    """Let mounts below a directory be seen in every mount namespace, as systemd sets machines up."""
    subprocess.run(["mount", "--bind", str(home), str(home)], check=True)
    subprocess.run(["mount", "--make-shared", str(home)], check=True)
    try:
        yield
    finally:
        unmount_below(home)
        subprocess.run(["umount", "--lazy", str(home)], check=False)
