"""What the snapshotter asks of the node: root file systems without unpacking."""

from pathlib import Path
from typing import Protocol

from naru.agent.snapshotter.values import Claim, Lower


class Roots(Protocol):
    """Gives the merged files of an image's lowest layers."""

    async def offers(self, claim: Claim) -> bool:
        """Whether these layers can be given without unpacking them, soon and for sure.

        True only when the image's own configuration says that they have this chain ID. Never raises: a node that
        cannot say yes says no, and containerd fetches the layers as ever.
        """

    async def lower(self, claim: Claim) -> Lower:
        """Give the files as the lower part of an overlay, mounted until `release`.

        Asking again, after a crash or a reboot too, gives the same files. Raises Unavailable when nobody who has them
        answers.
        """

    async def used(self, claim: Claim, upper: Path) -> None:
        """Know that a container is about to be mounted on these files, with `upper` as its upper directory."""

    async def release(self, claim: Claim) -> None:
        """Let go of what `lower` gave: no snapshot needs it any more. Doing it twice is no error."""


class NoRoots:
    """A node without indexes: every layer is unpacked."""

    async def offers(self, claim: Claim) -> bool:
        """Say no."""
        return False

    async def lower(self, claim: Claim) -> Lower:
        """Have nothing."""
        raise AssertionError(f"{claim} was never offered")

    async def used(self, claim: Claim, upper: Path) -> None:
        """Have nothing that could be used."""

    async def release(self, claim: Claim) -> None:
        """Have nothing to let go."""
