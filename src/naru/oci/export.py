"""Images as docker-archives: the one format that every `docker load` takes."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from naru.oci.compression import Decompressed, compression
from naru.oci.manifest import Inspected
from naru.oci.reference import Digest, Reference
from naru.oci.staging import Staging


def exported_tag(image: Inspected) -> str:
    """Return the tag under which an engine keeps an image of ours.

    It belongs to this image alone: loading never moves a tag that the engine's owner uses, and an earlier release
    never becomes a dangling image that a prune removes before a rollback needs it.
    """
    reference = Reference.parse(image.image.reference)
    return f"{reference.name}:naru-{Digest.parse(image.image.digest).hex[:12]}"


def write_docker_archive(image: Inspected, path_of: Callable[[Digest], Path], staging: Staging, to: BinaryIO) -> None:
    """Write the archive of `image` to the file `to`; equal images give equal bytes.

    gzip layers stay as they are. Zstandard layers are unpacked: not every engine knows them.
    """
    config = path_of(image.manifest.config.digest)
    config_name = f"{image.manifest.config.digest.hex}.json"
    layers = [f"{diff_id.hex}.tar" for diff_id in image.config.diff_ids]
    listing = [{"Config": config_name, "RepoTags": [exported_tag(image)], "Layers": layers}]
    with tarfile.open(fileobj=to, mode="w", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, "manifest.json", json.dumps(listing).encode())
        _add(tar, config_name, config.read_bytes())
        for name, layer in dict(zip(layers, image.manifest.layers, strict=True)).items():
            _add_file(tar, name, _plain_enough(path_of(layer.digest), staging, name))


def _plain_enough(layer: Path, staging: Staging, name: str) -> Path:
    with layer.open("rb") as file:
        if compression(file.read(4)) != "zstd":
            return layer
        file.seek(0)
        return staging.write(Decompressed(file, f"layer {name}").chunks()).path


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    info = tarfile.TarInfo(name)
    info.size = path.stat().st_size
    with path.open("rb") as file:
        tar.addfile(info, file)
