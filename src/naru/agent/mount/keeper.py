"""A process that does nothing but hold the FUSE connection, so that the agent may die and come back.

While somebody holds the connection the kernel keeps every request, and readers wait; the agent that comes back takes
the connection from here and answers them. Without it the mount would be lost for every running container: overlayfs
cannot be given another lower layer.

When the agent dies, what it had read and not answered is given back to the kernel at once (FUSE_NOTIFY_RESEND): from
then on a reader who waits can be killed, which he cannot while his request counts as being worked on.

Run as a program, alone and with the standard library only: `python -IS keeper.py SOCKET`. It answers one message a
connection: `keep` with open files, on a connection whose end tells that the agent died; `give`, which returns the
files; and `quit`. It ends by itself when the mount is gone.
"""

import os
import select
import socket
import struct
import sys
from contextlib import suppress

KEEP, GIVE, QUIT = b"keep", b"give", b"quit"
HELD, NOTHING = b"held", b"none"
FILES = 8
"""Open files that one message carries at most."""
_RESEND = struct.pack("=IiQ", 16, 7, 0)


class Keeper:
    """Holds what was last given, the FUSE connection first."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._files: list[int] = []
        self._agent: socket.socket | None = None
        self._waiting = select.poll()
        self._waiting.register(listener, select.POLLIN)

    def serve(self) -> None:
        """Hold until told to quit, or until the kernel says that the connection is dead."""
        while True:
            for descriptor, _ in self._waiting.poll():
                if descriptor == self._listener.fileno():
                    if self._answer():
                        return
                elif self._agent and descriptor == self._agent.fileno():
                    self._forget_agent()
                    with suppress(OSError):
                        os.write(self._files[0], _RESEND)
                elif self._files and descriptor == self._files[0]:  # POLLERR: unmounted, so there is nothing to keep
                    return

    def _answer(self) -> bool:
        """Answer one message; true when it was to quit."""
        connection, _ = self._listener.accept()
        connection.settimeout(5)
        try:
            message, files, _, _ = socket.recv_fds(connection, 16, FILES)
            if message == KEEP and files:
                self._keep(files, connection)
                connection.sendall(HELD)
                return False
            if message == GIVE and self._files:
                socket.send_fds(connection, [HELD], self._files)
            else:
                connection.sendall(NOTHING)
        except OSError:
            return False
        finally:
            if connection is not self._agent:
                connection.close()
        return message == QUIT

    def _keep(self, files: list[int], agent: socket.socket) -> None:
        self._forget_agent()
        if self._files:
            self._waiting.unregister(self._files[0])
            for old in self._files:
                os.close(old)
        self._files, self._agent = files, agent
        self._waiting.register(files[0], 0)
        self._waiting.register(agent, select.POLLIN)

    def _forget_agent(self) -> None:
        if self._agent:
            self._waiting.unregister(self._agent)
            self._agent.close()
            self._agent = None


def main(path: str) -> None:
    """Listen, tell the starter by ending its child that we do, and serve in the background."""
    os.umask(0o077)
    with suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    if os.fork():
        os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # the last one to go
        score.write("-999")
    Keeper(listener).serve()
    with suppress(FileNotFoundError):
        os.unlink(path)


if __name__ == "__main__":
    main(sys.argv[1])
