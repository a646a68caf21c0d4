"""A process that does nothing but hold the FUSE connection, so that the agent may die and come back.

While somebody holds the connection the kernel keeps every request, and readers wait; the agent that comes back takes
the connection from here and answers them. Without it the mount would be lost for every running container: overlayfs
cannot be given another lower layer.

Run as a program, alone and with the standard library only: `python -IS keeper.py SOCKET`. It answers one message a
connection: `keep` with open files, `give`, which returns them, and `quit`. It ends by itself when the mount is gone.
"""

import os
import select
import socket
import sys
from contextlib import suppress

KEEP, GIVE, QUIT = b"keep", b"give", b"quit"
HELD, NOTHING = b"held", b"none"
FILES = 8
"""Open files that one message carries at most."""


def serve(listener: socket.socket) -> None:
    """Hold what was last given until told to quit, or until the kernel says that the connection is dead."""
    held: list[int] = []
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    while True:
        for descriptor, events in waiting.poll():
            if descriptor == listener.fileno():
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.settimeout(5)
                    message, received, _, _ = socket.recv_fds(connection, 16, FILES)
                    if message == KEEP:
                        for old in held:
                            with suppress(KeyError):
                                waiting.unregister(old)
                            os.close(old)
                        held = received
                        waiting.register(held[0], 0)
                        connection.sendall(HELD)
                    elif message == GIVE and held:
                        socket.send_fds(connection, [HELD], held)
                    elif message == GIVE:
                        connection.sendall(NOTHING)
                    elif message == QUIT:
                        connection.sendall(NOTHING)
                        return
            elif events & select.POLLERR:  # unmounted: there is nothing to keep
                return


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
    serve(listener)
    with suppress(FileNotFoundError):
        os.unlink(path)


if __name__ == "__main__":
    main(sys.argv[1])
