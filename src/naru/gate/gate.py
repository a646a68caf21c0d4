"""Collects the evidence on an image and decides."""

from naru.domain.image import Image
from naru.domain.verdict import Verdict
from naru.gate.decide import Policy, decide, digest_evidence, origin_evidence
from naru.oci.reference import Reference


class Gate:
    """Judges images by one policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def judge(self, image: Image) -> Verdict:
        """Say whether the image may run, with everything that spoke for and against it."""
        registry = Reference.parse(image.reference).domain
        return decide([digest_evidence(image), origin_evidence(self._policy, image, registry)])
