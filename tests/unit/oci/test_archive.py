"""Archives from outside: honest ones load, dishonest ones are refused by their cause and leave nothing behind."""

import gzip
import json
import random
import tarfile

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.oci.archives import AMD64, config, docker_members, layer, oci_members, special, stream, tar

from naru.domain.errors import Invalid
from naru.domain.image import Origin, Platform
from naru.oci.archive import Limits
from naru.oci.layout import ImageStore
from naru.oci.manifest import OCI_CONFIG, OCI_INDEX, OCI_LAYER, Descriptor, Manifest
from naru.oci.reference import Digest, Reference

SHOP = Reference.parse("shop:1")
LIMITS = Limits(layer=80 * 1024**2, total=100 * 1024**2, members=50)


@pytest.fixture
def store(tmp_path):
    return ImageStore(tmp_path / "store", LIMITS)


def leftovers(tmp_path):
    root = tmp_path / "store"
    return [*(root / "incoming").iterdir(), *(root / "blobs" / "sha256").iterdir()]


async def refused(store, tmp_path, content, cause):
    with pytest.raises(Invalid, match=cause) as invalid:
        await store.load(stream(content))
    assert invalid.value.mend
    assert leftovers(tmp_path) == []
    assert await store.images() == []


async def test_a_docker_archive_is_loaded_under_its_name(store):
    [image] = await store.load(stream(tar(docker_members([layer("a"), layer("b")]))))
    assert image.reference == "docker.io/library/shop:1"
    assert image.origin is Origin.STORED
    assert image.platform == AMD64
    assert image.config_digest == str(Digest.of(config([layer("a"), layer("b")])))
    assert image.size == len(layer("a")) + len(layer("b"))
    assert await store.images() == [image]


async def test_a_docker_archive_always_becomes_the_same_manifest(store):
    members = docker_members()
    [image] = await store.load(stream(tar(members)))
    [again] = await store.load(stream(tar(dict(reversed(members.items())))), name=Reference.parse("other:1"))
    content = config([layer()])
    expected = Manifest(
        Descriptor(OCI_CONFIG, Digest.of(content), len(content)),
        (Descriptor(OCI_LAYER, Digest.of(layer()), len(layer())),),
    )
    assert image.digest == again.digest == str(Digest.of(expected.encode()))


@pytest.mark.parametrize("compress", ["", "gzip", "zstd"])
async def test_an_oci_archive_keeps_its_own_manifest(store, compress):
    members = oci_members(compress=compress)
    [image] = await store.load(stream(tar(members)))
    manifest = json.loads(members["index.json"])["manifests"][0]["digest"]
    assert image.digest == manifest
    assert image.reference == "docker.io/library/shop:1"


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, lambda content: content])
@pytest.mark.parametrize("chunk", [1000, 10**6])
async def test_the_archive_may_be_compressed_and_arrive_in_any_pieces(store, pack, chunk):
    [image] = await store.load(stream(pack(tar(docker_members())), chunk))
    assert image.reference == "docker.io/library/shop:1"


async def test_a_layer_may_be_compressed_in_a_docker_archive(store):
    members = docker_members()
    path = next(path for path in members if path.endswith("layer.tar"))
    [image] = await store.load(stream(tar(members | {path: gzip.compress(layer())})))
    assert (await store.inspect(image)).manifest.layers[0].media_type == f"{OCI_LAYER}+gzip"


async def test_a_layer_that_docker_save_links_to_is_found(store):
    members = docker_members([layer("a"), layer("a")])
    first = f"{Digest.of(layer('a')).hex}/layer.tar"
    listing = json.loads(members["manifest.json"])
    listing[0]["Layers"] = [first, "second/layer.tar"]
    members["manifest.json"] = json.dumps(listing).encode()
    linked = {**members, "second/layer.tar": special(tarfile.SYMTYPE, f"../{first}"), "second/VERSION": b"1.0"}
    [image] = await store.load(stream(tar(linked)))
    assert image.size == 2 * len(layer("a"))


async def test_every_platform_of_an_oci_archive_is_stored_and_found(store):
    arm = Platform("linux", "arm64")
    await store.load(stream(tar(oci_members(platforms=[AMD64, arm]))))
    found = await store.resolve(SHOP, arm)
    assert found is not None
    assert found.platform == arm
    with pytest.raises(Invalid, match="exists for linux/amd64, linux/arm64, not linux/s390x"):
        await store.resolve(SHOP, Platform("linux", "s390x"))


async def test_several_names_are_all_stored(store):
    images = await store.load(stream(tar(docker_members(tags=["shop:1", "shop:latest"]))))
    assert [image.reference for image in images] == ["docker.io/library/shop:1", "docker.io/library/shop:latest"]


async def test_an_image_without_a_name_needs_one(store, tmp_path):
    await refused(store, tmp_path, tar(docker_members(tags=None)), "has no name")
    [image] = await store.load(stream(tar(docker_members(tags=None))), name=SHOP)
    assert image.reference == str(SHOP)


async def test_a_bare_tag_in_a_layout_is_no_name(store, tmp_path):
    await refused(store, tmp_path, tar(oci_members(names=["latest"])), "has no name")


async def test_progress_names_every_layer_once_verified(store):
    seen = []
    await store.load(stream(tar(docker_members([layer("a"), layer("b")]))), progress=seen.append)
    assert [event.current == event.total for event in seen if event.status == "verified"] == [True, True]


TRICKS = [
    ("../escape", b"x", "leads out"),
    ("a/../../escape", b"x", "leads out"),
    ("/etc/cron.d/evil", b"x", "leads out"),
    ("..\\escape", b"x", "leads out"),
    ("link", special(tarfile.SYMTYPE, "/etc/passwd"), "leads out"),
    ("link", special(tarfile.SYMTYPE, "../../etc/passwd"), "leads out"),
    ("hard", special(tarfile.LNKTYPE, "manifest.json"), "hard link"),
    ("device", special(tarfile.CHRTYPE), "device"),
    ("block", special(tarfile.BLKTYPE), "device"),
    ("fifo", special(tarfile.FIFOTYPE), "special file"),
    ("manifest.json", b"[]", "two members"),
    ("./manifest.json", b"[]", "two members"),
    ("foreign.txt", b"x", "belongs to no image"),
    ("blobs/sha256/" + "0" * 64, b"lie", "has the digest"),
]


@pytest.mark.parametrize(("path", "member", "cause"), TRICKS)
async def test_a_trick_in_an_archive_is_refused(store, tmp_path, path, member, cause):
    content = tar([*docker_members().items(), (path, member)])
    await refused(store, tmp_path, content, cause)
    assert not (tmp_path / "escape").exists()


async def test_links_that_lead_to_themselves_are_refused(store, tmp_path):
    members = docker_members()
    path = next(path for path in members if path.endswith("layer.tar"))
    del members[path]
    looped = {**members, path: special(tarfile.SYMTYPE, "../other"), "other": special(tarfile.SYMTYPE, path)}
    await refused(store, tmp_path, tar(looped), "leads to itself")


@pytest.mark.parametrize("missing", ["manifest.json", "layer.tar", ".json"])
async def test_a_missing_member_is_named(store, tmp_path, missing):
    members = docker_members()
    victim = next(
        path for path in members if path.endswith(missing) and (missing != ".json" or path != "manifest.json")
    )
    del members[victim]
    await refused(store, tmp_path, tar(members), "has neither|has no")


async def test_a_missing_blob_is_refused(store, tmp_path):
    members = oci_members()
    del members[max(members, key=lambda path: path.startswith("blobs/"))]
    await refused(store, tmp_path, tar(members), "has no|belongs to no image|no container image")


async def test_a_layer_that_is_not_what_the_configuration_says_is_refused(store, tmp_path):
    members = docker_members([layer("honest")])
    path = next(path for path in members if path.endswith("layer.tar"))
    await refused(store, tmp_path, tar(members | {path: layer("evil")}), "unpacks to sha256:")


async def test_a_layer_too_many_is_refused(store, tmp_path):
    members = docker_members()
    listing = json.loads(members["manifest.json"])
    listing[0]["Layers"] *= 2
    await refused(store, tmp_path, tar(members | {"manifest.json": json.dumps(listing).encode()}), "has 2 layers")


@pytest.mark.parametrize(
    "listing", [b"{}", b"[1]", b"[{}]", b'[{"Config":"../x","Layers":[]}]', b'[{"Config":1}]', b"[]", b"nonsense"]
)
async def test_a_broken_list_of_images_is_refused(store, tmp_path, listing):
    await refused(store, tmp_path, tar(docker_members() | {"manifest.json": listing}), ".")


async def test_indexes_that_multiply_are_refused(store, tmp_path):
    members = oci_members()
    leaf = json.loads(members["index.json"])["manifests"]
    for _ in range(2):
        index = json.dumps({"schemaVersion": 2, "manifests": leaf * 500}).encode()
        members[f"blobs/sha256/{Digest.of(index).hex}"] = index
        leaf = [{"mediaType": OCI_INDEX, "digest": str(Digest.of(index)), "size": len(index)}]
    members["index.json"] = json.dumps({"schemaVersion": 2, "manifests": leaf}).encode()
    await refused(store, tmp_path, tar(members), "more than 1000 images")


async def test_a_list_that_repeats_an_image_is_refused(store, tmp_path):
    members = docker_members()
    listing = json.dumps(json.loads(members["manifest.json"]) * 1001).encode()
    await refused(store, tmp_path, tar(members | {"manifest.json": listing}), "more than 1000 images")


async def test_indexes_that_are_nested_too_deeply_are_refused(store, tmp_path):
    members = oci_members()
    leaf = json.loads(members["index.json"])["manifests"]
    for _ in range(5):
        index = json.dumps({"schemaVersion": 2, "manifests": leaf}).encode()
        members[f"blobs/sha256/{Digest.of(index).hex}"] = index
        leaf = [{"mediaType": OCI_INDEX, "digest": str(Digest.of(index)), "size": len(index)}]
    members["index.json"] = json.dumps({"schemaVersion": 2, "manifests": leaf}).encode()
    await refused(store, tmp_path, tar(members), "too deeply")


async def test_an_index_whose_other_platforms_were_not_saved_is_loaded(store):
    members = oci_members(names=[""])
    here = json.loads(members["index.json"])["manifests"]
    elsewhere = [
        here[0] | {"digest": str(Digest.of(b"not saved")), "platform": {"os": "linux", "architecture": "arm64"}}
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": here + elsewhere}).encode()
    members[f"blobs/sha256/{Digest.of(index).hex}"] = index
    entry = {"mediaType": OCI_INDEX, "digest": str(Digest.of(index)), "size": len(index)}
    entry["annotations"] = {"io.containerd.image.name": "docker.io/library/shop:1"}
    members["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    [image] = await store.load(stream(tar(members)))
    assert (image.reference, image.digest) == ("docker.io/library/shop:1", here[0]["digest"])


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
async def test_a_decompression_bomb_is_refused(store, tmp_path, pack):
    bomb = pack(tar(docker_members([bytes(75 * 1024**2)])))
    assert len(bomb) < 200_000
    await refused(store, tmp_path, bomb, "200 times its size")


async def test_a_bomb_inside_a_layer_is_refused(store, tmp_path):
    plain = bytes(75 * 1024**2)
    await refused(store, tmp_path, tar(oci_members(plain=plain)), "200 times its size")


async def test_an_archive_beyond_the_limit_is_refused(tmp_path):
    store = ImageStore(tmp_path / "store", Limits(layer=10_000, total=20_000, members=50))
    noise = random.Random(1).randbytes(15_000)
    await refused(store, tmp_path, tar(docker_members([noise])), "has 15000 bytes")
    await refused(store, tmp_path, tar(docker_members([noise[:8000], noise[1:8000], noise[2:8000]])), "more than 20000")


async def test_too_many_members_are_refused(store, tmp_path):
    await refused(store, tmp_path, tar([(f"{n}/VERSION", b"") for n in range(60)]), "more than 50 members")


async def test_a_huge_header_is_refused_before_it_is_read(store, tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 10**10
    await refused(store, tmp_path, info.tobuf(tarfile.GNU_FORMAT), "header of 10000000000 bytes")


@pytest.mark.parametrize("size", [b"-0000000001\0", b"\xff" * 12, b"99999999999\0", b"\x80" + b"\xff" * 11])
async def test_an_impossible_size_is_refused(store, tmp_path, size):
    header = bytearray(tarfile.TarInfo("x").tobuf())
    header[124:136] = size
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
    await refused(store, tmp_path, bytes(header), "damaged|beyond")


async def test_what_is_no_archive_is_refused(store, tmp_path):
    for content in (b"", b"hello", bytes(1024), b"<html>" * 1000, b"\x1f\x8b\x08broken", b"\x28\xb5\x2f\xfdbroken"):
        await refused(store, tmp_path, content, ".")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999), pack=st.sampled_from([gzip.compress, zstandard.compress, bytes]))
async def test_a_cut_off_archive_is_refused(tmp_path, share, pack):
    content = tar(docker_members())[:-8192]
    packed = pack(content)
    await refused(ImageStore(tmp_path / "store", LIMITS), tmp_path, packed[: int(len(packed) * share)], ".")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=6))
async def test_a_damaged_archive_is_refused_or_means_the_same(tmp_path, flips):
    store = ImageStore(tmp_path / "store", LIMITS)
    content = bytearray(tar(oci_members(compress="")))
    for place, change in flips:
        content[place % len(content)] ^= change
    try:
        loaded = await store.load(stream(bytes(content)))
    except Invalid:
        assert leftovers(tmp_path) == []
        return
    for image in loaded:
        assert (await store.inspect(image)).config.diff_ids == (Digest.of(layer()),)
        await store.remove(Reference.parse(image.reference))


async def test_a_stream_that_fails_leaves_nothing(store, tmp_path):
    async def broken():
        yield tar(docker_members())[:2000]
        raise ConnectionResetError("the browser went away")

    with pytest.raises(ConnectionResetError):
        await store.load(broken())
    assert leftovers(tmp_path) == []
