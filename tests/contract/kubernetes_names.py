"""The names of a cluster's Services, for its pods: as little of DNS (RFC 1035) as a lookup of an address takes."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.contract.kubernetes_plane import ControlPlane

DOMAIN = "cluster.local"
_HEADER = struct.Struct("!6H")
_ADDRESS, _INTERNET = 1, 1
_ANSWERED, _UNKNOWN = 0x8580, 0x8583
"""Flags of an answer with authority: no error, and no such name."""


@contextmanager
def names(plane: ControlPlane, address: str) -> Iterator[None]:
    """Answer at port 53 of an address of this machine until the end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))
        thread = threading.Thread(target=_serve, args=(server, plane), daemon=True)
        thread.start()
        try:
            yield
        finally:
            # Closing alone does not wake who is waiting.
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join(10)


def _serve(server: socket.socket, plane: ControlPlane) -> None:
    while True:
        try:
            asked, client = server.recvfrom(512)
        except OSError:
            return
        if asked:
            server.sendto(_answer(asked, plane), client)
        elif server.fileno() < 0:
            return


def _answer(asked: bytes, plane: ControlPlane) -> bytes:
    number, *_ = _HEADER.unpack_from(asked)
    labels, at = [], _HEADER.size
    while length := asked[at]:
        labels.append(asked[at + 1 : at + 1 + length].decode())
        at += 1 + length
    question = asked[_HEADER.size : at + 5]
    (kind,) = struct.unpack_from("!H", asked, at + 1)
    found = _find(labels, plane)
    if found is None:
        return _HEADER.pack(number, _UNKNOWN, 1, 0, 0, 0) + question
    if kind != _ADDRESS:
        return _HEADER.pack(number, _ANSWERED, 1, 0, 0, 0) + question
    record = struct.pack("!HHHLH", 0xC00C, _ADDRESS, _INTERNET, 1, 4) + socket.inet_aton(found)
    return _HEADER.pack(number, _ANSWERED, 1, 1, 0, 0) + question + record


def _find(labels: list[str], plane: ControlPlane) -> str | None:
    """Return the address of the Service SERVICE.NAMESPACE.svc.DOMAIN."""
    if len(labels) != 5 or ".".join(labels[2:]) != f"svc.{DOMAIN}":
        return None
    seen = plane.get(f"/api/v1/namespaces/{labels[1]}/services/{labels[0]}")
    return str(seen["spec"]["clusterIP"]) if seen else None
