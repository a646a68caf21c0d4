"""The store of loaded images: what it lists, finds, frees, lends and exports."""

import asyncio
import errno
import json
import os
import tarfile
from pathlib import Path

import pytest
from tests.unit.oci.archives import AMD64, docker_members, layer, oci_members, stream, tar

from naru.domain.errors import Conflict, Invalid, NotFound, Unavailable
from naru.domain.image import Platform
from naru.oci.layout import ImageStore
from naru.oci.manifest import ImageConfig
from naru.oci.reference import Digest, Reference
from naru.oci.staging import Staging

SHOP, OTHER = Reference.parse("shop:1"), Reference.parse("other:1")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root) -> ImageStore:
    return ImageStore(root)


def blobs(root: Path) -> set[str]:
    return {path.name for path in (root / "blobs" / "sha256").iterdir()}


async def loaded(store, *layers, name=SHOP):
    [image] = await store.load(stream(tar(docker_members(layers))), name=name)
    return image


async def test_an_empty_store_lists_nothing_and_finds_nothing(store):
    assert await store.images() == []
    assert await store.resolve(SHOP, AMD64) is None
    assert await store.collect() == 0


async def test_the_store_is_an_oci_layout(store, root):
    image = await loaded(store, layer("a"))
    assert json.loads((root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    [entry] = json.loads((root / "index.json").read_bytes())["manifests"]
    assert entry["digest"] == image.digest
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "docker.io/library/shop:1"}
    for name in blobs(root):
        assert Digest.of((root / "blobs" / "sha256" / name).read_bytes()).hex == name


async def test_another_store_on_the_same_directory_sees_the_same(store, root):
    image = await loaded(store, layer("a"))
    assert await ImageStore(root).images() == [image]


async def test_an_image_is_found_by_name_and_by_digest(store):
    image = await loaded(store, layer("a"))
    assert await store.resolve(SHOP, AMD64) == image
    by_digest = SHOP.at(Digest.parse(image.digest))
    found = await store.resolve(by_digest, AMD64)
    assert found is not None
    assert (found.digest, found.reference) == (image.digest, str(by_digest))
    assert await store.resolve(SHOP.at(Digest.of(b"")), AMD64) is None
    assert await store.resolve(OTHER, AMD64) is None


async def test_a_name_that_is_loaded_again_means_the_new_image_and_the_old_one_stays_by_digest(store):
    old = await loaded(store, layer("old"))
    new = await loaded(store, layer("new"))
    assert await store.resolve(SHOP, AMD64) == new
    by_digest = SHOP.only(Digest.parse(old.digest))
    assert {image.reference for image in await store.images()} == {new.reference, str(by_digest)}
    async with store.export(old) as archive:
        assert archive.exists()
    assert await loaded(store, layer("old")) == old
    assert {image.digest for image in await store.images()} == {old.digest, new.digest}
    assert len(await store.images()) == 2


async def test_pruning_keeps_what_has_a_name_or_is_needed(store):
    one, two, three = [await loaded(store, layer(text)) for text in ("one", "two", "three")]
    assert await store.prune({one.digest}) > 0
    assert {image.digest for image in await store.images()} == {one.digest, three.digest}
    assert await store.prune(()) > 0
    assert await store.images() == [three]
    with pytest.raises(NotFound):
        await store.inspect(two)


async def test_removing_an_image_frees_only_what_no_other_needs(store, root):
    await loaded(store, layer("a"), layer("b"))
    other = await loaded(store, layer("b"), name=OTHER)
    await store.remove(SHOP)
    assert await store.images() == [other]
    kept = await store.inspect(other)
    assert blobs(root) == {
        Digest.parse(other.digest).hex,
        kept.manifest.config.digest.hex,
        Digest.of(layer("b")).hex,
    }


async def test_removing_what_is_not_there_says_so(store):
    with pytest.raises(NotFound, match="no shop:1"):
        await store.remove(SHOP)


async def test_collecting_frees_strangers_and_leftovers_but_no_work_in_progress(store, root):
    await loaded(store, layer("a"))
    (root / "blobs" / "sha256" / ("0" * 64)).write_bytes(bytes(100))
    crashed = root / "incoming" / "crashed"
    crashed.mkdir()
    (crashed / "lock").touch()
    (root / "incoming" / "empty").mkdir()
    with Staging(root / "incoming") as working:
        blob = working.write([b"half"])
        assert await store.collect() == 100
        assert blob.path.exists()
    assert list((root / "incoming").iterdir()) == []


async def test_a_name_with_a_digest_or_for_several_images_is_refused(store):
    with pytest.raises(Invalid, match="has a digest"):
        await store.load(stream(tar(docker_members())), name=SHOP.at(Digest.of(b"")))
    listing = json.loads(docker_members()["manifest.json"]) + json.loads(docker_members([layer("b")])["manifest.json"])
    two = docker_members() | docker_members([layer("b")]) | {"manifest.json": json.dumps(listing).encode()}
    with pytest.raises(Invalid, match="several images"):
        await store.load(stream(tar(two)), name=OTHER)


async def test_an_export_is_a_docker_archive_that_loads_to_the_same_image(store, tmp_path):
    image = await loaded(store, layer("a"), layer("b"))
    async with store.export(image) as archive:
        content = archive.read_bytes()
    assert not archive.exists()
    [again] = await ImageStore(tmp_path / "again").load(stream(content), name=SHOP)
    assert again == image


async def test_an_export_never_carries_the_owners_tag(store):
    image = await loaded(store, layer("a"))
    async with store.export(image) as archive:
        with tarfile.open(archive) as tar_file:
            [entry] = json.load(tar_file.extractfile("manifest.json"))
    assert entry["RepoTags"] == [f"docker.io/library/shop:naru-{Digest.parse(image.digest).hex[:12]}"]


async def test_an_export_unpacks_zstandard_for_old_engines(store):
    [image] = await store.load(stream(tar(oci_members(compress="zstd"))))
    async with store.export(image) as archive:
        with tarfile.open(archive) as tar_file:
            [entry] = json.load(tar_file.extractfile("manifest.json"))
            assert tar_file.extractfile(entry["Layers"][0]).read() == layer()


async def test_layers_that_repeat_are_exported_once_and_named_twice(store):
    image = await loaded(store, layer("a"), layer("a"))
    async with store.export(image) as archive:
        with tarfile.open(archive) as tar_file:
            [entry] = json.load(tar_file.extractfile("manifest.json"))
            assert len(entry["Layers"]) == 2
            assert len(tar_file.getnames()) == 3


async def test_lent_content_outlives_its_removal(store):
    image = await loaded(store, layer("a"))
    async with store.content(Digest.of(layer("a"))) as path:
        await store.remove(SHOP)
        assert path.read_bytes() == layer("a")
    assert not path.exists()
    with pytest.raises(NotFound):
        async with store.export(image):
            pass


async def test_equal_builds_are_equal_images(store):
    one = await store.add(SHOP, ImageConfig(platform=AMD64), [iter([layer("a")])])
    other = await store.add(OTHER, ImageConfig(platform=AMD64), [[layer("a")[:100], layer("a")[100:]]])
    assert one.digest == other.digest
    assert (await store.inspect(one)).config.diff_ids == (Digest.of(layer("a")),)


async def test_many_loads_at_once_all_arrive(store):
    names = [Reference.parse(f"shop:{n}") for n in range(12)]
    await asyncio.gather(*(loaded(store, layer("same"), layer(name.tag), name=name) for name in names))
    assert {image.reference for image in await store.images()} == {str(name) for name in names}
    assert await store.collect() == 0


async def test_a_load_that_is_cancelled_leaves_nothing(store, root):
    started = asyncio.Event()

    async def stalling():
        yield tar(docker_members())[:3000]
        started.set()
        await asyncio.Event().wait()

    load = asyncio.create_task(store.load(stalling()))
    await started.wait()
    load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await load
    assert list((root / "incoming").iterdir()) == []
    assert blobs(root) == set()


async def test_a_damaged_index_is_a_conflict_with_a_mend(store, root):
    await loaded(store, layer("a"))
    (root / "index.json").write_bytes(b"{")
    with pytest.raises(Conflict, match=r"damaged index\.json") as damaged:
        await store.images()
    assert damaged.value.mend


async def test_damaged_content_is_found_and_loading_again_mends_it(store, root):
    image = await loaded(store, layer("a"))
    (root / "blobs" / "sha256" / Digest.parse(image.config_digest).hex).write_bytes(b"rot")
    with pytest.raises(Conflict, match="is damaged"):
        await store.inspect(image)
    await loaded(store, layer("a"))
    await store.inspect(image)


@pytest.mark.parametrize("moment", [1, 2, 3, 4, 5])
async def test_a_full_disk_is_said_and_leaves_nothing(store, root, monkeypatch, moment):
    await store.collect()
    calls = 0
    real = os.fsync

    def fsync(handle):
        nonlocal calls
        calls += 1
        if calls == moment:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(Unavailable, match="is full") as full:
        await loaded(store, layer("a"))
    assert "naru image rm" in full.value.mend
    assert await store.images() == []
    await store.collect()
    assert blobs(root) == set()
    assert list((root / "incoming").iterdir()) == []


async def test_a_directory_that_is_a_file_is_unavailable(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot be used"):
        await ImageStore(tmp_path / "file").load(stream(b""))


async def test_two_platforms_under_one_name_are_removed_together(store, root):
    await store.load(stream(tar(oci_members(platforms=[AMD64, Platform("linux", "arm64")]))))
    assert len(await store.images()) == 2
    await store.remove(SHOP)
    assert await store.images() == []
    assert blobs(root) == set()
