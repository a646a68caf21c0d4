"""An index beside its image: an artifact of the same repository that refers to the image's manifest.

The artifact (OCI image-spec 1.1, "Guidelines for Artifact Usage") has the encoded index as its one layer. Who may
write to the repository may put anything there, so an index is taken only when it has the digest that a release pinned.
"""

import logging
from typing import Final

from naru.agent.index.index import MAX_ENCODED, Index
from naru.domain.account import Credentials
from naru.domain.errors import Forbidden, Invalid, NotFound
from naru.oci.manifest import Descriptor, Manifest
from naru.oci.reference import Digest, Reference
from naru.oci.registry import RegistryClient

ARTIFACT_TYPE: Final = "application/vnd.naru.index.v1"
INDEX_TYPE: Final = "application/vnd.naru.index.v1+zstd"
DIGEST: Final = "io.naru.index.digest"
"""The annotation with the index's own digest, in hexadecimal."""

_EMPTY: Final = "application/vnd.oci.empty.v1+json"
_MOST: Final = 16
_LOG = logging.getLogger(__name__)


async def publish(
    client: RegistryClient, reference: Reference, index: Index, credentials: Credentials | None = None
) -> Descriptor:
    """Put the index of an image beside it, into the repository of `reference`; doing so twice changes nothing.

    Raises NotFound when the image is not there, Forbidden when we may not write there.
    """
    subject = reference.only(Digest.parse(index.image))
    described, _ = await client.manifest(subject, credentials)
    blob = await client.push_blob(reference, index.encode(), credentials)
    empty = await client.push_blob(reference, b"{}", credentials)
    artifact = Manifest(
        config=Descriptor(_EMPTY, empty.digest, empty.size),
        layers=(Descriptor(INDEX_TYPE, blob.digest, blob.size),),
        artifact_type=ARTIFACT_TYPE,
        subject=described,
        annotations={DIGEST: index.digest.hex()},
    )
    return await client.attach(subject, artifact, credentials)


async def published(
    client: RegistryClient, reference: Reference, image: str, pinned: bytes, credentials: Credentials | None = None
) -> Index:
    """Fetch the index that has the digest `pinned` from beside the image with the manifest digest `image`.

    Raises NotFound when none of the artifacts there is it; what claims to be and is not is logged.
    """
    subject = reference.only(Digest.parse(image))
    claims = await client.referrers(subject, ARTIFACT_TYPE, credentials)
    for claim in [entry for entry in claims if entry.annotations.get(DIGEST) == pinned.hex()][:_MOST]:
        try:
            index = await _fetched(client, subject, claim, credentials)
            if (index.image, index.digest) == (image, pinned):
                return index
            _LOG.warning("%s is not the index that it claims to be", claim.digest)
        except (Invalid, Forbidden, NotFound) as error:
            _LOG.warning("%s is no index of %s: %s", claim.digest, subject.familiar, error)
    raise NotFound(f"{subject.familiar} has no index {pinned.hex()} beside it", "derive it from the image")


async def _fetched(
    client: RegistryClient, subject: Reference, claim: Descriptor, credentials: Credentials | None
) -> Index:
    _, artifact = await client.manifest(subject.only(claim.digest), credentials)
    if not isinstance(artifact, Manifest) or len(artifact.layers) != 1:
        raise Invalid("an index is an artifact with one layer", "publish it again")
    layer = artifact.layers[0]
    if layer.media_type != INDEX_TYPE or layer.size > MAX_ENCODED:
        raise Invalid(f"its layer is {layer.media_type!r:.80} of {layer.size} bytes", "publish it again")
    return Index.decode(b"".join([chunk async for chunk in client.blob(subject, layer, credentials)]))
