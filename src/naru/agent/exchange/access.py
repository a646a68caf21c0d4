"""Which images a member of the cluster may have."""

from typing import Protocol

from naru.agent.exchange.identity import Member


class Access(Protocol):
    """Decides for those who ask, and proves for this node."""

    def allows(self, member: Member, image: str, grant: bytes) -> bool:
        """Whether a member that shows this grant may have an image ("sha256:…")."""

    def grant(self, image: str) -> bytes:
        """Return what proves that this node may have the image, empty when nothing does."""


class Members:
    """Every member of the cluster may have every image whose digest it can name; no agent ever lists digests."""

    def allows(self, member: Member, image: str, grant: bytes) -> bool:
        """Return True: who was not told of an image cannot name it."""
        return True

    def grant(self, image: str) -> bytes:
        """Return nothing: nothing is asked for."""
        return b""


MEMBERS = Members()
