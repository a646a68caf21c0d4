"""What containerd's clients tell about a layer when they ask for a snapshot to unpack it into.

The labels are those of containerd's `pkg/snapshotters`, which its CRI plugin and nerdctl set.
"""

from collections.abc import Mapping
from typing import Final

from naru.agent.snapshotter.values import Claim
from naru.domain.errors import Invalid
from naru.oci.reference import Digest, Reference

TARGET: Final = "containerd.io/snapshot.ref"
"""The chain ID under which the client will look for the layer."""
IMAGE: Final = "containerd.io/snapshot/cri.image-ref"
MANIFEST: Final = "containerd.io/snapshot/cri.manifest-digest"
LAYERS: Final = "containerd.io/snapshot/cri.image-layers"
"""The digests of this layer and as many above it as the label holds, separated by commas."""


def claim(labels: Mapping[str, str], depth: int) -> Claim | None:
    """Return which layers of which image a client is about to unpack; None when it does not say so, or not clearly.

    `depth` is how many layers that makes with those below. A label is nobody's promise: whoever has the image's index
    still holds all of it against the image's own configuration.
    """
    if not (labels.get(TARGET) and labels.get(IMAGE) and labels.get(MANIFEST) and labels.get(LAYERS)):
        return None
    try:
        reference = Reference.parse(labels[IMAGE])
        manifest, chain = Digest.parse(labels[MANIFEST]), Digest.parse(labels[TARGET])
    except Invalid:
        return None
    return Claim(str(reference), str(manifest), str(chain), depth, whole="," not in labels[LAYERS])
