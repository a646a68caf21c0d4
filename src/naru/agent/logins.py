"""Who this node is at registries: a file as Docker keeps it (`auths` of config.json), read anew when it changes."""

import base64
import binascii
import logging
from pathlib import Path
from typing import Final

import msgspec

from naru.domain.account import Credentials
from naru.domain.errors import Invalid
from naru.oci.reference import registry_host

log = logging.getLogger(__name__)

_MAX: Final = 1 << 20


class _Entry(msgspec.Struct):
    auth: str = ""
    username: str = ""
    password: str = ""


class _File(msgspec.Struct):
    auths: dict[str, _Entry] = {}


class Logins:
    """The logins in a file, which may be missing. Credentials helpers are not run."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read_at = -1
        self._known: dict[str, Credentials] = {}

    def of(self, host: str) -> Credentials | None:
        """Return who we are at a registry host, None for nobody."""
        try:
            changed = self._path.stat().st_mtime_ns if self._path else 0
        except OSError:
            changed = 0
        if changed != self._read_at:
            self._read_at = changed
            self._known = self._load()
        return self._known.get(host)

    def _load(self) -> dict[str, Credentials]:
        if self._path is None:
            return {}
        try:
            file = msgspec.json.decode(self._path.read_bytes()[:_MAX], type=_File)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            log.warning("the logins in %s cannot be read: %s", self._path, error)
            return {}
        found = {}
        for name, entry in file.auths.items():
            try:
                host = registry_host(name)
                username, _, password = _plain(entry)
            except Invalid as error:
                log.warning("a login in %s is not used: %s", self._path, error)
                continue
            if username:
                found[host] = Credentials(host, username, password)
        return found


def _plain(entry: _Entry) -> tuple[str, str, str]:
    if not entry.auth:
        return entry.username, ":", entry.password
    try:
        return base64.b64decode(entry.auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Invalid("it is no base64 of NAME:PASSWORD", "sign in again with docker login") from error
