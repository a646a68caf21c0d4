"""Which server the command line talks to, and as whom.

The environment wins (NARU_URL, NARU_TOKEN), then what `naru login` stored, then the server of this machine, whose
state directory holds a token that only its owner can read. A token is only ever sent to the server it came for.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from naru.config import settings
from naru.domain.errors import Invalid

CONFIG_FILE = "naru/config.toml"
TOKEN_FILE = "cli-token"  # noqa: S105 - the name of a file


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """A server, and the API token for it, empty where none is known."""

    url: str
    token: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """What `naru login` wrote."""

    url: str
    token: str


def choose(environ: Mapping[str, str], stored: Stored | None, local: ClientSettings) -> ClientSettings:
    """Decide which server and which token to use; `local` is the server of this machine."""
    url = environ.get("NARU_URL") or (stored.url if stored else local.url)
    token = environ.get("NARU_TOKEN", "")
    if not token and stored and _same(url, stored.url):
        token = stored.token
    if not token and _same(url, local.url):
        token = local.token
    return ClientSettings(url, token)


def load(environ: Mapping[str, str]) -> ClientSettings:
    """Return the settings of this process, from its environment and the files of its user."""
    server = settings(environ)
    return choose(environ, stored(environ), ClientSettings(server.url, _text(server.state / TOKEN_FILE)))


def config_file(environ: Mapping[str, str]) -> Path:
    """Return where `naru login` stores its answer (XDG Base Directory Specification)."""
    base = environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / CONFIG_FILE


def stored(environ: Mapping[str, str]) -> Stored | None:
    """Return what `naru login` stored, None before the first sign-in; raise Invalid when the file is broken."""
    path = config_file(environ)
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        return Stored(str(content["url"]), str(content["token"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise Invalid(f"{path} cannot be read: {error}", "sign in again with: naru login URL") from error


def store(environ: Mapping[str, str], sign_in: Stored) -> Path:
    """Write what `naru login` learned, readable by its owner alone, at once or not at all; return the file."""
    for value in (sign_in.url, sign_in.token):
        if not (value.isascii() and value.isprintable()):
            raise Invalid("an address or a token holds characters that none has", "copy it again, without line breaks")
    path = config_file(environ)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        # The strings are printable ASCII, whose JSON and TOML forms are the same.
        file.write(f"url = {json.dumps(sign_in.url)}\ntoken = {json.dumps(sign_in.token)}\n")
    draft.replace(path)
    return path


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""


def _same(one: str, other: str) -> bool:
    return one.rstrip("/") == other.rstrip("/")
