"""What an agent is told from outside: one frozen value, read from the environment once.

The table in docs/configuration.md lists the variables.
"""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from naru.agent.exchange.packs import MOST_PACKED
from naru.agent.mount.support import Mode
from naru.domain.errors import Invalid
from naru.oci.reference import DOCKER_HUB, registry_host

PORT: Final = 7071
MIRROR: Final = "127.0.0.1:7072"
METRICS: Final = "127.0.0.1:7073"
_OFF: Final = "off"
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """How an agent runs.

    `state` outlives a reboot and lies on a plain file system, `run` holds sockets. `host` is where peers reach the
    node, empty to find out. `server` is the control plane's URL, empty for none, `token` a file with an API token.
    `peers` are agents to begin with; others are found. `mirror` and `metrics` are None when they are off. `budget`
    bounds what the agent keeps on the disk, in bytes, `upload` what is sent to peers in bytes a second; None is no
    bound. `mode` is None for the best that the kernel allows. `origin` lets this node fetch whole layers from
    registries. With `complete` the rest of an image follows what is needed first. `patience` is how many seconds
    containerd waits for an index before it unpacks layers itself, `record` how many seconds of a container's start go
    into its image's profile, 0 for none. `upstream` is the registry that the mirror asks when a request names none.
    `logins` is a file as Docker's config.json.
    """

    state: Path
    run: Path
    node: str
    site: str
    listen: Address
    mirror: Address | None
    metrics: Address | None
    host: str = ""
    server: str = ""
    token: Path | None = None
    peers: tuple[Address, ...] = ()
    origin: bool = True
    authority: bool = False
    snapshotter: bool = True
    complete: bool = True
    multicast: bool = True
    budget: int | None = None
    upload: int | None = None
    mode: Mode | None = None
    patience: float = 60.0
    record: float = 30.0
    upstream: str = DOCKER_HUB
    registries: tuple[str, ...] = ("*",)
    insecure_registries: tuple[str, ...] = ()
    logins: Path | None = None
    log_level: str = "info"

    @property
    def packed(self) -> int:
        """Bytes that compressed pieces may take on the disk: an eighth of the budget, 4 GiB at most."""
        return MOST_PACKED if self.budget is None else min(MOST_PACKED, self.budget // 8)

    @property
    def stored(self) -> int | None:
        """Bytes that files of images may take: the rest of the budget."""
        return None if self.budget is None else self.budget - self.packed

    @property
    def identity(self) -> Path:
        """Where the node's certificate and key are."""
        return self.state / "identity"

    @property
    def authority_home(self) -> Path:
        """Where the cluster's authority is, on the node that holds it."""
        return self.state / "authority"

    @property
    def roots(self) -> Path:
        """Where root file systems are mounted from: neither a tmpfs nor an overlay, which EROFS and FUSE refuse."""
        return self.state / "roots"

    @property
    def control(self) -> Path:
        """The socket at which this machine's administrator asks the agent."""
        return self.run / "agent.sock"

    @property
    def snapshots(self) -> Path:
        """The socket at which containerd asks the snapshotter."""
        return self.run / "snapshotter.sock"


def agent_settings(environ: Mapping[str, str]) -> AgentSettings:
    """Read the settings; raise Invalid naming the variable that is wrong."""
    log_level = environ.get("NARU_LOG") or "info"
    if log_level not in ("debug", "info", "warning", "error"):
        raise Invalid(f"NARU_LOG is {log_level!r}", "use debug, info, warning or error")
    logins = environ.get("NARU_AGENT_LOGINS")
    return AgentSettings(
        state=Path(environ.get("NARU_AGENT_STATE") or "/var/lib/naru/agent").absolute(),
        run=Path(environ.get("NARU_AGENT_RUN") or "/run/naru").absolute(),
        node=environ.get("NARU_AGENT_NODE") or _host_name(),
        site=environ.get("NARU_SITE") or "home",
        listen=_address(environ, "NARU_AGENT_LISTEN", f"0.0.0.0:{PORT}"),
        mirror=_address_or_off(environ, "NARU_AGENT_MIRROR", MIRROR),
        metrics=_address_or_off(environ, "NARU_AGENT_METRICS", METRICS),
        host=environ.get("NARU_AGENT_HOST", ""),
        server=environ.get("NARU_URL", ""),
        token=Path(environ["NARU_AGENT_TOKEN_FILE"]) if environ.get("NARU_AGENT_TOKEN_FILE") else None,
        peers=tuple(_parse(word, "NARU_AGENT_PEERS") for word in _words(environ.get("NARU_AGENT_PEERS", ""))),
        origin=_flag(environ, "NARU_AGENT_ORIGIN", default=True),
        authority=_flag(environ, "NARU_AGENT_AUTHORITY", default=False),
        snapshotter=_flag(environ, "NARU_AGENT_SNAPSHOTTER", default=True),
        complete=_flag(environ, "NARU_AGENT_COMPLETE", default=True),
        multicast=_flag(environ, "NARU_AGENT_MULTICAST", default=True),
        budget=_size(environ, "NARU_AGENT_BUDGET"),
        upload=_size(environ, "NARU_AGENT_UPLOAD"),
        mode=_mode(environ.get("NARU_AGENT_MODE") or "auto"),
        patience=_seconds(environ, "NARU_AGENT_PATIENCE", 60.0),
        record=_seconds(environ, "NARU_AGENT_RECORD", 30.0),
        upstream=registry_host(environ.get("NARU_AGENT_UPSTREAM") or DOCKER_HUB),
        registries=_words(environ.get("NARU_REGISTRIES", "*")),
        insecure_registries=_words(environ.get("NARU_INSECURE_REGISTRIES", "")),
        logins=Path(logins) if logins else None,
        log_level=log_level,
    )


def parse_address(text: str) -> Address:
    """Read HOST:PORT; raise Invalid."""
    try:
        parts = urlsplit(f"//{text}")
        if parts.hostname and parts.port is not None and parts.netloc == text:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise Invalid(f"{text!r} is no address", "write it as HOST:PORT, such as 10.0.0.5:7071")


def _host_name() -> str:
    plain = re.sub(r"[^a-z0-9.-]+", "-", socket.gethostname().lower()).strip(".-")
    return plain[:63] or "node"


def _address(environ: Mapping[str, str], name: str, default: str) -> Address:
    return _parse(environ.get(name) or default, name)


def _address_or_off(environ: Mapping[str, str], name: str, default: str) -> Address | None:
    text = environ.get(name) or default
    return None if text == _OFF else _parse(text, name)


def _parse(text: str, name: str) -> Address:
    try:
        return parse_address(text)
    except Invalid as error:
        raise Invalid(f"{name}: {error.cause}", error.mend) from error


def _flag(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = environ.get(name, "").lower()
    if text in ("", "yes", "no", "1", "0", "true", "false"):
        return text in ("yes", "1", "true") if text else default
    raise Invalid(f"{name} is {text!r}", "use yes or no")


def _size(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    found = re.fullmatch(r"([0-9]{1,12})([kmgt]?)", text.lower())
    if not text:
        return None
    if not found or not int(found[1]):
        raise Invalid(f"{name} is {text!r}", "use a number of bytes, such as 20G or 500M")
    return int(found[1]) * _UNITS[found[2]]


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "")
    if text and not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text):
        raise Invalid(f"{name} is {text!r}", "use a number of seconds")
    return float(text) if text else default


def _mode(text: str) -> Mode | None:
    if text == "auto":
        return None
    try:
        return Mode(text)
    except ValueError:
        modes = ", ".join(mode.value for mode in Mode)
        raise Invalid(f"NARU_AGENT_MODE is {text!r}", f"use auto, {modes}") from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace(",", " ").split() if word)


def read_environment() -> AgentSettings:
    """Read the settings of this process."""
    return agent_settings(os.environ)
