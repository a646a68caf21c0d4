"""Who is let into the agents' cluster, and who is thrown out of it.

The cluster's authority, whose key signs certificates, is an agent. The control plane makes join tokens and tells that
agent their hashes; the secret is seen only by whoever asked for the token.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from naru.domain.errors import Invalid

_TOKEN: Final = re.compile(r"naru1\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Token:
    """What lets a node join: the sha256 of the authority's certificate, and a secret of 32 random bytes as base64."""

    pin: bytes
    secret: str

    def __str__(self) -> str:
        return f"naru1.{base64.urlsafe_b64encode(self.pin).rstrip(b'=').decode()}.{self.secret}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a token; raise Invalid."""
        found = _TOKEN.fullmatch(text.strip())
        if not found:
            raise Invalid("this is no join token", "copy all of it, from naru1 on")
        return cls(base64.urlsafe_b64decode(found[1] + "="), found[2])

    @property
    def hashed(self) -> str:
        """What is kept of the secret: it has 256 random bits, so that one sha256 hides it."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def pins(self, fingerprint: bytes) -> bool:
        """Whether a certificate of that sha256 is the one of the authority that the token is for."""
        return hmac.compare_digest(fingerprint, self.pin)


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A join token as it is kept: for the node of that name alone, or for any; good for `uses` nodes, 0 for any number.

    `spent` once the authority has seen its last use.
    """

    id: str
    node: str
    uses: int
    created_by: str
    created_at: datetime
    expires_at: datetime
    spent: bool = False


@dataclass(frozen=True, slots=True)
class Invitation:
    """A new join token with its value, which is shown once, and the address at which the authority lets nodes join."""

    token: JoinToken
    value: str
    via: str


@dataclass(frozen=True, slots=True)
class Admission:
    """What the authority is told of a join token: the sha256 of its secret, until when, for whom, and how often."""

    hashed: str
    until: datetime
    node: str = ""
    uses: int = 0


@dataclass(frozen=True, slots=True)
class Expulsion:
    """A node that was removed: the certificates that it had at that time are good no more."""

    node: str
    at: datetime
