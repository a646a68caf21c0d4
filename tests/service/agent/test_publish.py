"""Indexes beside their images, in Debian's registry and in one that has the referrers API and lies."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.service.oci.hostile import Answer, Hostile
from tests.unit.oci.archives import AMD64, oci_members, stream, tar

from naru.agent.index.derive import derive, from_image_store, from_registry
from naru.agent.index.index import Index
from naru.agent.index.publish import ARTIFACT_TYPE, DIGEST, publish, published
from naru.agent.objects import ObjectStore
from naru.domain.errors import NotFound
from naru.oci.layout import ImageStore
from naru.oci.manifest import OCI_INDEX, OCI_MANIFEST, Inspected
from naru.oci.reference import Digest, Reference
from naru.oci.registry import RegistryClient


@pytest_asyncio.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with RegistryClient() as client:
        yield client


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    opened = ObjectStore(tmp_path / "objects")
    yield opened
    opened.close()


@pytest.fixture
def images(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


async def loaded(images: ImageStore, name: str) -> Inspected:
    [image] = await images.load(stream(tar(oci_members([name], (AMD64,)))))
    return await images.inspect(image)


@pytest_asyncio.fixture
async def shop(client: RegistryClient, images: ImageStore, open_registry: str) -> tuple[Reference, Inspected]:
    """An image in the image store and in a registry."""
    reference = Reference.parse(f"{open_registry}/edge/shop:1")
    inspected = await loaded(images, str(reference))
    for blob in (inspected.manifest.config, *inspected.manifest.layers):
        async with images.content(blob.digest) as path:
            await client.push_blob(reference, path)
    await client.push_manifest(reference, inspected.manifest)
    return reference, inspected


@pytest.mark.needs("docker-registry")
async def test_an_image_has_one_index_wherever_it_comes_from(client, store, images, shop) -> None:
    reference, inspected = shop
    pushed = await client.inspect(reference, AMD64)

    assert await derive(inspected, from_image_store(images), store) == await derive(
        pushed, from_registry(client, reference), store
    )


@pytest.mark.needs("docker-registry")
async def test_a_published_index_is_found_by_its_digest(client, store, images, shop) -> None:
    reference, inspected = shop
    index = await derive(inspected, from_image_store(images), store)

    await publish(client, reference, index)
    await publish(client, reference, index)

    assert await published(client, reference, index.image, index.digest) == index
    assert len(await client.referrers(reference.only(Digest.parse(index.image)), ARTIFACT_TYPE)) == 1


@pytest.mark.needs("docker-registry")
async def test_an_index_that_no_release_pinned_is_not_taken(client, store, images, shop) -> None:
    reference, inspected = shop
    index = await derive(inspected, from_image_store(images), store)
    other = Index(index.image, b"other", ())
    await publish(client, reference, other)

    with pytest.raises(NotFound, match="has no index"):
        await published(client, reference, index.image, b"\1" * 32)


async def test_the_referrers_api_is_used_where_there_is_one_and_not_believed(client, hostile: Hostile) -> None:
    image = f"sha256:{'1' * 64}"
    index, other = Index(image, b"true", ()), Index(image, b"false", ())
    reference = Reference.parse(f"{hostile.host}/edge/shop:1")
    registry: dict[str, bytes] = {}
    claims = []
    for content, claimed in ((other, index), (index, index)):  # a liar first
        encoded = content.encode()
        registry[f"/v2/edge/shop/blobs/{Digest.of(encoded)}"] = encoded
        layer = {"mediaType": f"{ARTIFACT_TYPE}+zstd", "digest": str(Digest.of(encoded)), "size": len(encoded)}
        config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": str(Digest.of(b"{}")), "size": 2}
        manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]})
        registry[f"/v2/edge/shop/manifests/{Digest.of(manifest.encode())}"] = manifest.encode()
        claims.append(
            {
                "mediaType": OCI_MANIFEST,
                "digest": str(Digest.of(manifest.encode())),
                "size": len(manifest),
                "artifactType": ARTIFACT_TYPE,
                "annotations": {DIGEST: claimed.digest.hex()},
            }
        )
    listing = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": claims}).encode()
    for path, content in registry.items():
        hostile.answers[path] = Answer(200, content, {"Content-Type": OCI_MANIFEST} if "manifests" in path else {})
    hostile.answers[f"/v2/edge/shop/referrers/{image}"] = Answer(200, listing, {"Content-Type": OCI_INDEX})

    assert await published(client, reference, image, index.digest) == index
    assert hostile.asked[0].query == {"artifactType": ARTIFACT_TYPE}
