"""Which container engine this machine has."""

import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from naru.domain.errors import Unavailable


def candidates() -> list[Path]:
    """List where Docker and Podman put their sockets, the system's before the user's."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    return [
        Path("/var/run/docker.sock"),
        Path("/run/podman/podman.sock"),
        runtime / "docker.sock",
        runtime / "podman/podman.sock",
    ]


async def find_engine(paths: Iterable[Path]) -> str:
    """Return the URL of the first socket that answers; raise Unavailable when none does."""
    tried = []
    for path in paths:
        tried.append(str(path))
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(5):
                _, writer = await asyncio.open_unix_connection(str(path))
            writer.close()
            return f"unix://{path}"
    raise Unavailable(
        f"no container engine answers at {', '.join(tried)}",
        "start Docker or Podman, or name its socket with NARU_ENGINE=unix:///PATH; ./run installs one",
    )
