"""Hostile layers cost little and leave nothing behind."""

import gzip
import io
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from naru.agent.index.derive import derive
from naru.agent.objects import ObjectStore
from naru.domain.errors import Invalid, Unavailable
from naru.domain.image import Image, Origin, Platform
from naru.oci.manifest import OCI_CONFIG, OCI_LAYER, Descriptor, ImageConfig, Inspected, Manifest
from naru.oci.reference import Digest


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    opened = ObjectStore(tmp_path / "store")
    yield opened
    opened.close()


def image(*layers: tuple[bytes, bytes], media_type: str = OCI_LAYER) -> Inspected:
    manifest = Manifest(
        Descriptor(OCI_CONFIG, Digest.of(b""), 0),
        tuple(Descriptor(media_type, Digest.of(blob), len(blob)) for blob, _ in layers),
    )
    described = Image("r/i:1", str(Digest.of(manifest.encode())), str(Digest.of(b"")), Platform(), Origin.STORED, 0)
    return Inspected(described, manifest, ImageConfig(diff_ids=tuple(Digest.of(plain) for _, plain in layers)))


def served(*blobs: bytes):
    async def blob(layer: Descriptor) -> AsyncIterator[bytes]:
        for content in blobs:
            if Digest.of(content) == layer.digest:
                yield content

    return blob


def tar(name: str, size: int, content: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf() + content


async def test_a_bomb_is_refused_before_it_has_unpacked(store: ObjectStore) -> None:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as file:
        file.write(tar("zeros", 400 << 20, b""))
        for _ in range(400):
            file.write(bytes(1 << 20))
    bomb = packed.getvalue()

    with pytest.raises(Invalid, match="times its size"):
        await derive(image((bomb, b"")), served(bomb), store)

    assert store.usage().size == 0


async def test_a_file_that_claims_more_than_its_layer_holds_is_refused(store: ObjectStore) -> None:
    plain = tar("huge", 1 << 32, bytes(1024))

    with pytest.raises(Invalid, match="cut off"):
        await derive(image((plain, plain)), served(plain), store)

    assert (store.usage().size, store.indexes()) == (0, [])


async def test_a_layer_that_is_no_file_system_is_refused(store: ObjectStore) -> None:
    plain = bytes(1024)
    with pytest.raises(Invalid, match="type"):
        await derive(image((plain, plain), media_type="application/vnd.in-toto+json"), served(plain), store)


async def test_what_the_source_raises_passes_on(store: ObjectStore) -> None:
    async def unreachable(layer: Descriptor) -> AsyncIterator[bytes]:
        yield bytes(100)
        raise Unavailable("the registry does not answer")

    plain = bytes(1024)
    with pytest.raises(Unavailable, match="registry"):
        await derive(image((plain, plain)), unreachable, store)


async def test_an_image_without_files_has_an_index(store: ObjectStore) -> None:
    plain = bytes(1024)
    index = await derive(image((plain, plain), (b"", b"")), served(plain, b""), store)
    assert index.objects == ()
    assert store.index(index.image) == index


async def test_a_budget_that_is_too_small_is_told(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "small", budget=1000)
    plain = tar("file", 1024, bytes(1024)) + tar("other", 512, b"x" * 512) + bytes(1024)

    with pytest.raises(Unavailable, match="budget"):
        await derive(image((plain, plain)), served(plain), store)
    store.close()
