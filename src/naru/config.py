"""What the server is told from outside: one frozen Settings, read from the environment once.

Every variable starts with NARU_; the table in docs/configuration.md lists them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from naru.domain.errors import Invalid

DEFAULT_LISTEN = "127.0.0.1:7070"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server runs.

    `database` is `sqlite:///FILE` or `postgresql://…`. `engine` is the URL of a container engine's socket, empty to
    take the first that answers. `app_ports` are given to apps that ask for no address. `machine` is the name or
    address under which clients reach this machine. `registries` are shell patterns of the registry hosts that images
    may come from; `insecure_registries` are those that speak plain HTTP.
    """

    state: Path
    host: str
    port: int
    database: str
    engine: str = ""
    site: str = "home"
    http_port: int = 8080
    https_port: int = 8443
    app_ports: range = range(20000, 21000)
    machine: str = "127.0.0.1"
    acme_directory: str = ""
    acme_email: str = ""
    registries: tuple[str, ...] = ("*",)
    insecure_registries: tuple[str, ...] = ()
    log_level: str = "info"

    @property
    def url(self) -> str:
        """Where the console answers."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://{host}:{self.port}"


def state_dir(environ: Mapping[str, str]) -> Path:
    """Return where a server of this machine and this user keeps its state."""
    if named := environ.get("NARU_STATE"):
        return Path(named).absolute()
    return Path("/var/lib/naru") if os.geteuid() == 0 else Path.home() / ".local/state/naru"


def settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings; raise Invalid naming the variable that is wrong."""
    state = state_dir(environ)
    host, port = _listen(environ.get("NARU_LISTEN") or DEFAULT_LISTEN)
    return Settings(
        state=state,
        host=host,
        port=port,
        database=environ.get("NARU_DATABASE") or f"sqlite:///{state / 'naru.db'}",
        engine=environ.get("NARU_ENGINE") or environ.get("DOCKER_HOST", ""),
        site=environ.get("NARU_SITE") or "home",
        http_port=_port(environ, "NARU_HTTP_PORT", 8080),
        https_port=_port(environ, "NARU_HTTPS_PORT", 8443),
        app_ports=_ports(environ.get("NARU_APP_PORTS") or "20000-20999"),
        machine=environ.get("NARU_MACHINE") or "127.0.0.1",
        acme_directory=environ.get("NARU_ACME_DIRECTORY", ""),
        acme_email=environ.get("NARU_ACME_EMAIL", ""),
        registries=_words(environ.get("NARU_REGISTRIES", "*")),
        insecure_registries=_words(environ.get("NARU_INSECURE_REGISTRIES", "")),
        log_level=_level(environ.get("NARU_LOG") or "info"),
    )


def _listen(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        if parts.hostname and parts.port:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise Invalid(f"NARU_LISTEN is {text!r}", "write it as ADDRESS:PORT, such as 127.0.0.1:7070")


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise Invalid(f"{name} is {text!r}", "use a port from 1 to 65535")
    return int(text)


def _ports(text: str) -> range:
    first, _, last = text.partition("-")
    if first.isdecimal() and last.isdecimal() and 1024 <= int(first) <= int(last) <= 65535:
        return range(int(first), int(last) + 1)
    raise Invalid(f"NARU_APP_PORTS is {text!r}", "write it as FIRST-LAST, such as 20000-20999")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace(",", " ").split() if word)


def _level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise Invalid(f"NARU_LOG is {text!r}", "use debug, info, warning or error")
    return text.lower()
