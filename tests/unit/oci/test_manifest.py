"""Manifests, indexes and configurations: read strictly, written the same every time, chosen by platform."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.domain.errors import Invalid
from naru.domain.image import Platform
from naru.oci.manifest import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MAX_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    parse_config,
    parse_manifest,
    select,
)
from naru.oci.reference import Digest

A, B = Digest("a" * 64), Digest("b" * 64)
AMD64, ARM64, ARM = Platform("linux", "amd64"), Platform("linux", "arm64"), Platform("linux", "arm")


def described(media_type=OCI_CONFIG, digest=A, size=2, **more):
    return {"mediaType": media_type, "digest": str(digest), "size": size, **more}


def document(**changes):
    base = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(),
        "layers": [described(OCI_LAYER, B, 3)],
    }
    return json.dumps({name: value for name, value in (base | changes).items() if value is not ...}).encode()


def entry(platform, digest=A, **more):
    return Descriptor(OCI_MANIFEST, digest, 1, platform, **more)


def test_an_oci_manifest_is_read():
    manifest = parse_manifest(document())
    assert manifest == Manifest(Descriptor(OCI_CONFIG, A, 2), (Descriptor(OCI_LAYER, B, 3),))
    assert manifest.is_image
    assert manifest.size == 3


def test_a_docker_manifest_is_read():
    content = document(
        mediaType=DOCKER_MANIFEST, config=described(DOCKER_CONFIG), layers=[described(f"{DOCKER_LAYER}.gzip")]
    )
    manifest = parse_manifest(content, DOCKER_MANIFEST)
    assert isinstance(manifest, Manifest)
    assert manifest.media_type == DOCKER_MANIFEST


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_LIST])
def test_an_index_is_read_with_its_platforms(kind):
    arm = {"os": "linux", "architecture": "arm", "variant": "v7"}
    content = json.dumps(
        {"schemaVersion": 2, "mediaType": kind, "manifests": [described(OCI_MANIFEST, platform=arm)]}
    ).encode()
    index = parse_manifest(content, kind)
    assert isinstance(index, Index)
    assert index.manifests[0].platform == Platform("linux", "arm", "v7")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "proper JSON"),
        (b"\xff\xfe{}", "proper JSON"),
        (b"[]", "not a JSON object"),
        (b"[" * 100_000, "proper JSON"),
        (b'{"a":NaN}', "proper JSON"),
        (b'{"schemaVersion":2,"schemaVersion":2}', "proper JSON"),
        (b'{"mediaType":"\\ud800"}', "proper JSON"),
        (b'{"schemaVersion":1,"fsLayers":[]}', "schema 1"),
        (b'{"size":' + b"9" * 5000 + b"}", "proper JSON"),
        (document(manifests=[]), "both an index and an image"),
        (document(mediaType=OCI_INDEX), "does not look like one"),
        (document(mediaType="text/html"), "no image manifest"),
        (document(config=...), "config of the manifest is not"),
        (document(config=1), "not a JSON"),
        (document(layers={}), "wrong type"),
        (document(layers=[described(size=-1)]), "size -1"),
        (document(layers=[described(size=True)]), "wrong type"),
        (document(layers=[described(size=1.5)]), "wrong type"),
        (document(layers=[described()] * 513), "513 layers"),
        (document(annotations={"a": 1}), "wrong type"),
        (b" " * (MAX_MANIFEST + 1), "bytes"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_cause(content, cause):
    with pytest.raises(Invalid, match=cause) as refused:
        parse_manifest(content)
    assert refused.value.mend


def test_a_digest_that_is_a_path_is_refused():
    with pytest.raises(Invalid, match="SHA-256"):
        parse_manifest(document(config={"mediaType": OCI_CONFIG, "digest": "sha256:../../etc/passwd", "size": 1}))


def test_a_manifest_that_contradicts_its_carrier_is_refused():
    with pytest.raises(Invalid, match="served as"):
        parse_manifest(document(), DOCKER_MANIFEST)


def test_a_manifest_served_as_plain_json_is_read_by_what_it_says():
    assert parse_manifest(document(), "application/json") == parse_manifest(document())


def test_a_signature_is_no_image():
    manifest = parse_manifest(document(artifactType="application/vnd.example.signature"))
    assert isinstance(manifest, Manifest)
    assert not manifest.is_image


def test_a_configuration_is_read():
    content = {
        "architecture": "arm64",
        "os": "linux",
        "variant": "v8",
        "created": "2026-01-01T00:00:00Z",
        "config": {
            "User": "1000:1000",
            "Entrypoint": ["/bin/shop"],
            "Cmd": ["serve"],
            "Env": ["PATH=/bin", "EMPTY", "EQ=a=b"],
            "ExposedPorts": {"8443/tcp": {}, "80": {}, "53/udp": {}},
            "WorkingDir": "/srv",
            "Labels": {"team": "shop"},
            "Volumes": {"/data": {}},
            "StopSignal": "SIGINT",
        },
        "rootfs": {"type": "layers", "diff_ids": [str(A), str(B)]},
    }
    assert parse_config(json.dumps(content).encode()) == ImageConfig(
        platform=Platform("linux", "arm64", "v8"),
        diff_ids=(A, B),
        user="1000:1000",
        entrypoint=("/bin/shop",),
        cmd=("serve",),
        environment={"PATH": "/bin", "EMPTY": "", "EQ": "a=b"},
        exposed_ports=(80, 8443),
        working_dir="/srv",
        labels={"team": "shop"},
        volumes=("/data",),
        stop_signal="SIGINT",
        created="2026-01-01T00:00:00Z",
    )


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"{}", "rootfs"),
        (b'{"rootfs":{"diff_ids":["sha256:x"]}}', "SHA-256"),
        (b'{"rootfs":{"diff_ids":[1]}}', "wrong type"),
        (b'{"config":{"ExposedPorts":{"99999":{}}},"rootfs":{}}', "no port"),
        (b'{"config":{"ExposedPorts":{"http":{}}},"rootfs":{}}', "no port"),
        (b'{"config":{"Cmd":"sh"},"rootfs":{}}', "wrong type"),
        (b'{"config":[],"rootfs":{}}', "not a JSON object"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_cause(content, cause):
    with pytest.raises(Invalid, match=cause):
        parse_config(content)


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_name = st.text("ABCxyz_1", min_size=1, max_size=6)
_configs = st.builds(
    ImageConfig,
    platform=st.sampled_from([AMD64, ARM64, Platform("linux", "arm", "v7")]),
    diff_ids=st.lists(st.sampled_from([A, B]), max_size=3).map(tuple),
    user=_text,
    entrypoint=st.lists(_text, max_size=3).map(tuple),
    cmd=st.lists(_text, max_size=3).map(tuple),
    environment=st.dictionaries(_name, _text, max_size=3),
    exposed_ports=st.sets(st.integers(1, 65535), max_size=3).map(lambda ports: tuple(sorted(ports))),
    labels=st.dictionaries(_text, _text, max_size=3),
    working_dir=_text,
)


@given(_configs)
def test_what_is_written_is_read_back(config):
    assert parse_config(config.encode()) == config
    manifest = Manifest(Descriptor(OCI_CONFIG, A, 2), (Descriptor(OCI_LAYER, B, 3),), annotations=config.labels)
    assert parse_manifest(manifest.encode()) == manifest
    index = Index((Descriptor(OCI_MANIFEST, A, 1, config.platform, dict(config.labels)),))
    assert parse_manifest(index.encode()) == index


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | _text,
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["schemaVersion", "config", "layers", "manifests", "digest", "size", "rootfs", "diff_ids", "Env"]
                ),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_read_or_invalid(value):
    content = json.dumps(value).encode()
    for parse in (parse_manifest, parse_config):
        try:
            parse(content)
        except Invalid:
            continue


def test_the_wanted_platform_is_selected():
    entries = [entry(ARM64, A), entry(AMD64, B)]
    assert select(entries, AMD64, "shop:1").digest == B


def test_a_missing_platform_is_named_with_the_ones_that_exist():
    attestation = entry(Platform("unknown", "unknown"))
    with pytest.raises(Invalid, match=r"image shop:1 exists for linux/arm64, not linux/amd64") as refused:
        select([entry(ARM64), attestation], AMD64, "shop:1")
    assert "linux/amd64" in refused.value.mend


@pytest.mark.parametrize(
    ("offered", "wanted", "chosen"),
    [
        (["v8"], "", "v8"),
        ([""], "v8", ""),
    ],
)
def test_arm64_is_version_8(offered, wanted, chosen):
    entries = [entry(Platform("linux", "arm64", variant)) for variant in offered]
    assert select(entries, Platform("linux", "arm64", wanted), "x").platform == Platform("linux", "arm64", chosen)


def test_the_best_variant_that_runs_wins():
    entries = [entry(Platform("linux", "arm", variant)) for variant in ("v5", "v6", "v7")]
    assert select(entries, Platform("linux", "arm", "v6"), "x").platform.variant == "v6"
    assert select(entries, ARM, "x").platform.variant == "v7"


def test_a_variant_beyond_the_processor_is_not_chosen():
    with pytest.raises(Invalid, match="linux/amd64/v3, not linux/amd64"):
        select([entry(Platform("linux", "amd64", "v3"))], AMD64, "x")


def test_an_entry_without_platform_is_taken_last():
    assert select([entry(None, B), entry(AMD64, A)], AMD64, "x").digest == A
    assert select([entry(None, B), entry(ARM64, A)], AMD64, "x").digest == B
