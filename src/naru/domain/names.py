"""Which names an operator may choose.

An app's name becomes a host name, a container's name and a label on every engine, so it is a DNS label
(RFC 1035, section 2.3.1), kept short enough for what the engines append.
"""

import re

from naru.domain.errors import Invalid

APP_NAME_LENGTH = 40
_LABEL = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def label(name: str, what: str) -> str:
    """Return `name` when it is a DNS label of at most 40 characters, else raise Invalid."""
    if len(name) > APP_NAME_LENGTH or not _LABEL.fullmatch(name):
        raise Invalid(
            f"{_shown(name)} is no name for {what}",
            f"use 1 to {APP_NAME_LENGTH} lower-case letters, digits and hyphens, starting with a letter",
        )
    return name


def host(name: str) -> str:
    """Return `name` when it is a host name (RFC 1123), else raise Invalid."""
    if not _HOST.fullmatch(name):
        raise Invalid(f"{_shown(name)} is no host name", "use a name such as shop.example.org")
    return name


def variable(name: str) -> str:
    """Return `name` when every engine accepts it as an environment variable, else raise Invalid."""
    if len(name) > 255 or not _VARIABLE.fullmatch(name):
        raise Invalid(f"{_shown(name)} is no environment variable", "use letters, digits and underscores")
    return name


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:57]}…")
