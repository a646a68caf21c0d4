"""Which images a member of the cluster may have."""

from collections.abc import Callable, Collection
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


class Listed:
    """Only the images of the cluster's own list are given, whoever asks: for clusters that keep one."""

    def __init__(self, images: Callable[[], Collection[str]]) -> None:
        self._images = images

    def allows(self, member: Member, image: str, grant: bytes) -> bool:
        """Whether the list names the image now."""
        return image in self._images()

    def grant(self, image: str) -> bytes:
        """Return nothing: the list is here."""
        return b""


MEMBERS = Members()
