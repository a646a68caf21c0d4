"""Exit 0 when a Docker-compatible API answers at the address given: unix:///path, tcp://host:port or http(s)://…"""

import http.client
import os
import socket
import ssl
import sys
from urllib.parse import urlsplit

PATIENCE = 5.0  # seconds


def connection(address: str) -> http.client.HTTPConnection:
    """Open what `address` names. TLS follows Docker's own variables, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH."""
    url = urlsplit(address)
    match url.scheme:
        case "unix":
            return UnixConnection(url.path)
        case "https" | "tcp" if url.scheme == "https" or os.environ.get("DOCKER_TLS_VERIFY"):
            return http.client.HTTPSConnection(
                url.hostname or "", url.port or 2376, timeout=PATIENCE, context=client_certificates()
            )
        case "http" | "tcp":
            return http.client.HTTPConnection(url.hostname or "", url.port or 2375, timeout=PATIENCE)
    raise ValueError(f"not the address of a container engine: {address}")


def client_certificates() -> ssl.SSLContext:
    """Trust and show what DOCKER_CERT_PATH holds: ca.pem, cert.pem and key.pem."""
    folder = os.environ.get("DOCKER_CERT_PATH", os.path.expanduser("~/.docker"))
    context = ssl.create_default_context(cafile=os.path.join(folder, "ca.pem"))
    context.load_cert_chain(os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem"))
    return context


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the unix socket at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self) -> None:
        """Connect, within PATIENCE."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


def answers(address: str) -> bool:
    """GET /_ping is answered with 200."""
    try:
        asking = connection(address)
        asking.request("GET", "/_ping")
        return asking.getresponse().status == 200
    except (OSError, ValueError, http.client.HTTPException):
        return False


if __name__ == "__main__":
    sys.exit(0 if answers(sys.argv[1]) else 1)
