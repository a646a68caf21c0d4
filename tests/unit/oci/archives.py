"""Archives for tests: honest ones, and ones that are changed member by member."""

import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator, Mapping, Sequence

import zstandard

from naru.domain.image import Platform
from naru.oci.manifest import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
)
from naru.oci.reference import Digest

AMD64 = Platform("linux", "amd64")


def tar(members: Mapping[str, bytes | tarfile.TarInfo] | Sequence[tuple[str, bytes | tarfile.TarInfo]]) -> bytes:
    """Write members in their order; a TarInfo is written as it is, without content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items() if isinstance(members, Mapping) else members:
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def layer(text: str = "hello") -> bytes:
    return tar({"greeting": text.encode()})


def config(layers: Sequence[bytes], platform: Platform = AMD64) -> bytes:
    return ImageConfig(platform=platform, diff_ids=tuple(Digest.of(plain) for plain in layers), cmd=("/x",)).encode()


def docker_members(
    layers: Sequence[bytes] = (layer(),), tags: Sequence[str] | None = ("shop:1",), platform: Platform = AMD64
) -> dict[str, bytes]:
    """Return the members of a docker-archive with one image."""
    content = config(layers, platform)
    name = f"{Digest.of(content).hex}.json"
    paths = [f"{Digest.of(plain).hex}/layer.tar" for plain in layers]
    listing = [{"Config": name, "RepoTags": tags, "Layers": paths}]
    return dict(zip(paths, layers, strict=True)) | {name: content, "manifest.json": json.dumps(listing).encode()}


def oci_members(
    names: Sequence[str] = ("docker.io/library/shop:1",),
    platforms: Sequence[Platform] = (AMD64,),
    compress: str = "gzip",
    plain: bytes | None = None,
) -> dict[str, bytes]:
    """Return the members of an OCI archive: one image for each platform, listed under each name."""
    plain = layer() if plain is None else plain
    packed = {"": plain, "gzip": gzip.compress(plain, mtime=0), "zstd": zstandard.compress(plain)}[compress]
    blobs, entries = [packed], []
    for platform in platforms:
        content = config([plain], platform)
        manifest = Manifest(
            Descriptor(OCI_CONFIG, Digest.of(content), len(content)),
            (Descriptor(f"{OCI_LAYER}+{compress}" if compress else OCI_LAYER, Digest.of(packed), len(packed)),),
        ).encode()
        blobs += [content, manifest]
        entries += [
            Descriptor(
                OCI_MANIFEST,
                Digest.of(manifest),
                len(manifest),
                platform,
                {"org.opencontainers.image.ref.name": name} if name else {},
            )
            for name in names
        ]
    return {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": Index(tuple(entries)).encode(),
    } | {f"blobs/sha256/{Digest.of(blob).hex}": blob for blob in blobs}


async def stream(content: bytes, chunk: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(content), chunk):
        yield content[start : start + chunk]
