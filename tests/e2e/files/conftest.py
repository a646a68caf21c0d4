"""A server on the real engine that holds the images of the Compose files."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.faults.conftest import NARU, Server, serving
from tests.images import busybox_image


@pytest.fixture
def server(docker_socket: str, tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path, docker_socket) as server:
        for number in (1, 2):
            archive = tmp_path / f"files-{number}.tar"
            busybox_image(archive, reference=f"files:{number}", body=f"files {number}\n")
            server.load(archive)
        yield server


def naru(server: Server, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [*NARU, *arguments]
    return subprocess.run(
        command, env=server.environment | environ, capture_output=True, text=True, timeout=120, check=False
    )
