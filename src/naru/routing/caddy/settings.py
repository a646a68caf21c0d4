"""What the Caddy door is told once."""

from dataclasses import dataclass
from pathlib import Path

from naru.domain.errors import Invalid

_SOCKET_PATH = 107
"""The longest path of a unix socket in bytes (unix(7): 108 with the terminating NUL)."""


@dataclass(frozen=True, slots=True)
class CaddySettings:
    """Where the door keeps its state and where it listens.

    Host names share `http_port` and `https_port`. `interface` is the address to listen on, empty for all of them.
    `machine` is the name or address under which clients reach apps that have a port of their own. `acme_directory`
    is the URL of a certificate authority's directory (RFC 8555, section 7.1.1), empty for Caddy's default;
    `acme_root` is a PEM file with the root of that authority's own certificate when it is not a public one.
    """

    state: Path
    http_port: int = 8080
    https_port: int = 8443
    interface: str = ""
    machine: str = "127.0.0.1"
    acme_directory: str = ""
    acme_email: str = ""
    acme_root: Path | None = None
    program: str = "caddy"

    def __post_init__(self) -> None:
        if len(str(self.state.absolute() / "switch.sock").encode()) > _SOCKET_PATH:
            raise Invalid(f"the path {self.state} is too long for a socket", "choose a directory with a shorter path")

    @property
    def storage(self) -> Path:
        """Where Caddy keeps certificates and its own authority."""
        return self.state.absolute() / "storage"

    @property
    def root_certificate(self) -> Path:
        """The root certificate of the internal authority, PEM; it exists once an app uses `tls=internal`."""
        return self.storage / "pki" / "authorities" / "local" / "root.crt"
