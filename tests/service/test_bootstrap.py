"""./run and ./test look before they install: these are the looks."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer

import pytest

ROOT = Path(__file__).parents[2]


class Ping(BaseHTTPRequestHandler):
    """Answers /_ping as a container engine does, and nothing else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/_ping" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "engine.sock"
    with UnixStreamServer(str(path), Ping) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield path
        server.shutdown()
        thread.join()


def engine_answers(address: str) -> bool:
    asked = [sys.executable, "scripts/engine_answers.py", address]
    return subprocess.run(asked, cwd=ROOT, check=False, timeout=30).returncode == 0


def test_an_engine_that_answers_is_found(engine: Path) -> None:
    assert engine_answers(f"unix://{engine}")


@pytest.mark.parametrize("address", ["unix:///nowhere/engine.sock", "tcp://127.0.0.1:9", "nonsense", ""])
def test_where_nothing_answers_no_engine_is_found(address: str) -> None:
    assert not engine_answers(address)


@pytest.mark.parametrize("command", ["run", "test"])
def test_help_is_told_from_any_folder_and_installs_nothing(command: str, tmp_path: Path) -> None:
    told = subprocess.run(
        [ROOT / command, "--help"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": "/usr/bin:/bin"},
    )

    assert told.stdout.startswith(f"Usage: ./{command}")
    assert "·" not in told.stdout
    assert told.stderr == ""
