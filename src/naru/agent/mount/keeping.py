"""The agent's side of the keeper: start it, leave the open files with it, take them back."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from naru.agent.mount import keeper
from naru.domain.errors import Unavailable


def keep(path: Path, files: Sequence[int]) -> socket.socket:
    """Leave copies of open files with the keeper at a socket, and start it if there is none; Unavailable if it fails.

    Replaces what was left before. The first file is the FUSE connection, whose end ends the keeper. The socket that is
    returned must stay open as long as its owner serves that connection.
    """
    try:
        return _keep(path, files)
    except OSError:
        _start(path)
        try:
            return _keep(path, files)
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


def _keep(path: Path, files: Sequence[int]) -> socket.socket:
    connection = _connect(path)
    try:
        _ask_on(connection, keeper.KEEP, files)
    except BaseException:
        connection.close()
        raise
    return connection


def _ask(path: Path, message: bytes) -> list[int]:
    with _connect(path) as connection:
        return _ask_on(connection, message)


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def _ask_on(connection: socket.socket, message: bytes, files: Sequence[int] = ()) -> list[int]:
    socket.send_fds(connection, [message], list(files))
    answer, received, _, _ = socket.recv_fds(connection, 16, keeper.FILES)
    if not answer:
        raise ConnectionResetError("the keeper hangs up")
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
