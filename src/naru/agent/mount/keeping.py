"""The agent's side of the keeper: start it, leave the open files with it, take them back."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from naru.agent.mount import keeper
from naru.domain.errors import Unavailable


def keep(path: Path, files: Sequence[int]) -> None:
    """Leave copies of open files with the keeper at a socket, and start it if there is none; Unavailable if it fails.

    Replaces what was left before. The first file is the one whose end ends the keeper.
    """
    try:
        _ask(path, keeper.KEEP, files)
    except OSError:
        _start(path)
        try:
            _ask(path, keeper.KEEP, files)
        except OSError as error:
            raise Unavailable(f"the keeper at {path} does not answer: {error}") from error


def recover(path: Path) -> list[int]:
    """Return copies of the files that were left; none when there is no keeper."""
    try:
        return _ask(path, keeper.GIVE)
    except OSError:
        return []


def dismiss(path: Path) -> None:
    """End the keeper, if there is one."""
    try:
        _ask(path, keeper.QUIT)
    except OSError:
        return


def _ask(path: Path, message: bytes, files: Sequence[int] = ()) -> list[int]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        socket.send_fds(connection, [message], list(files))
        answer, received, _, _ = socket.recv_fds(connection, 16, keeper.FILES)
    if not answer:
        raise ConnectionResetError(f"the keeper at {path} hangs up")
    for file in received:
        os.set_inheritable(file, False)
    return received


def _start(path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(Path(keeper.__file__)), str(path)]
    started = subprocess.run(  # noqa: S603 our own program
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", timeout=30, check=False
    )
    if started.returncode:
        raise Unavailable(f"the keeper does not start: {started.stderr.decode(errors='replace').strip()[-300:]}")
