"""How a registry asks who we are: the WWW-Authenticate header (RFC 9110, section 11.6.1) and its two schemes.

Bearer is the token scheme of the distribution project ("Token Authentication Specification"): a token is fetched from
the `realm` for a `service` and a `scope`, and presented to the registry.
"""

import re
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - RFC 9110's word for a name
_PARAMETER: Final = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?:,\s*|$)')
_SCHEME: Final = re.compile(rf"({_TOKEN})(?:\s*,\s*|\s+|$)")
_MAX_HEADER: Final = 8192


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token is wanted; it is had from `realm`."""

    realm: str
    service: str = ""
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Basic:
    """User name and password are wanted."""


Challenge = Bearer | Basic


def parse_challenge(header: str) -> Challenge | None:
    """Return the strongest challenge that Naru can answer: Bearer before Basic; None when there is neither."""
    found: list[Challenge] = []
    rest = header[:_MAX_HEADER].strip()
    while rest and (scheme := _SCHEME.match(rest)):
        rest = rest[scheme.end() :]
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(rest):
            name, quoted, plain = parameter.groups()
            parameters[name.lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            rest = rest[parameter.end() :]
        match scheme[1].lower():
            case "bearer" if parameters.get("realm"):
                found.append(Bearer(parameters["realm"], parameters.get("service", ""), parameters.get("scope", "")))
            case "basic":
                found.append(Basic())
    return next((challenge for challenge in found if isinstance(challenge, Bearer)), found[0] if found else None)
