"""Pulling from a real registry, by digest, with and without a password."""

import asyncio
import json
import tarfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.contract.engine_labs import SocketLab, everything, socket_lab
from tests.images import busybox_image
from tests.service.oci import conftest as registries

from naru.domain.account import Credentials
from naru.domain.errors import Forbidden, NotFound
from naru.domain.image import Image, Origin
from naru.engines.dockerapi.images import held

pytestmark = pytest.mark.needs("docker", "docker-registry", "htpasswd")


USER, PASSWORD = registries.USER, registries.PASSWORD
registry = registries.password_registry


@pytest.fixture
async def lab(docker_socket, busybox) -> AsyncIterator[SocketLab]:
    async with socket_lab(docker_socket, *busybox) as lab:
        yield lab


@pytest.fixture
async def pushed(registry: str, tmp_path: Path, lab: SocketLab) -> AsyncIterator[Image]:
    """An image that the registry has and the engine has not."""
    archive = tmp_path / "image.tar"
    image = busybox_image(archive, reference=f"{registry}/team/shop:1", body=f"page of {lab.app}\n")
    await asyncio.to_thread(push, registry, archive, image)
    image = replace(image, origin=Origin.REGISTRY)
    yield image
    if name := await held(lab.engine._wire, image):
        await lab.docker.images.delete(name, force=True)


def push(registry: str, archive: Path, image: Image) -> None:
    with tarfile.open(archive) as tar, httpx.Client(auth=(USER, PASSWORD)) as http:
        index = json.load(tar.extractfile("manifest.json"))[0]
        config = tar.extractfile(index["Config"]).read()
        layer = tar.extractfile(index["Layers"][0]).read()
        diff_id = json.loads(config)["rootfs"]["diff_ids"][0]
        for digest, content in ((image.config_digest, config), (diff_id, layer)):
            begun = http.post(f"http://{registry}/v2/team/shop/blobs/uploads/").raise_for_status()
            http.put(
                httpx.URL(begun.headers["location"]).copy_merge_params({"digest": digest}), content=content
            ).raise_for_status()
        manifest = image_manifest(image, config, layer, diff_id)
        kind = "application/vnd.oci.image.manifest.v1+json"
        answer = http.put(
            f"http://{registry}/v2/team/shop/manifests/1", content=manifest, headers={"content-type": kind}
        ).raise_for_status()
        assert answer.headers["docker-content-digest"] == image.digest


def image_manifest(image: Image, config: bytes, layer: bytes, diff_id: str) -> bytes:
    """The manifest whose digest `busybox_image` names."""
    kind = "application/vnd.oci.image"
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": {"mediaType": f"{kind}.config.v1+json", "digest": image.config_digest, "size": len(config)},
            "layers": [{"mediaType": f"{kind}.layer.v1.tar", "digest": diff_id, "size": len(layer)}],
        }
    ).encode()


async def test_an_image_is_pulled_by_digest_with_progress_and_runs_by_digest(lab, registry, pushed):
    key = Credentials(registry, USER, PASSWORD)

    reports = await everything(lab.engine.fetch(pushed, credentials=key))

    assert reports
    assert all(layer.total == 0 or layer.current == layer.total for layer in reports[-1])
    assert await everything(lab.engine.fetch(pushed)) == []
    lab.image = pushed
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)
    made = await lab.docker.containers.container(instance.id).show()
    assert made["Config"]["Image"] == f"{registry}/team/shop@{pushed.digest}"
    assert await lab.engine.find(pushed.reference) is None


async def test_a_registry_that_wants_another_password_is_named(lab, registry, pushed):
    with pytest.raises(Forbidden, match="credentials"):
        await everything(lab.engine.fetch(pushed))
    with pytest.raises(Forbidden, match="credentials"):
        await everything(lab.engine.fetch(pushed, credentials=Credentials(registry, USER, "wrong")))


async def test_an_image_that_the_registry_lacks_is_not_found(lab, registry, pushed):
    absent = replace(pushed, digest="sha256:" + "7" * 64, config_digest="sha256:" + "8" * 64)

    with pytest.raises(NotFound):
        await everything(lab.engine.fetch(absent, credentials=Credentials(registry, USER, PASSWORD)))
