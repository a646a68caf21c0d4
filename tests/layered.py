"""Images of several small layers for tests of the agent, pushed to a registry."""

import io
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.images import BUSYBOX

from naru.domain.image import Image, Platform
from naru.oci.exchange import Exchange
from naru.oci.layout import ImageStore
from naru.oci.manifest import ImageConfig
from naru.oci.reference import Reference
from naru.oci.registry import RegistryClient

TOOLS = ("cat", "cp", "echo", "head", "ls", "mkdir", "rm", "sh", "sha256sum", "sleep", "stat", "touch", "true")


def base() -> bytes:
    """Write the lowest layer: busybox and the tools that it is."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("dev", 0o755), ("proc", 0o755)):
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        entry = tarfile.TarInfo("bin/busybox")
        content = BUSYBOX.read_bytes()
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
        for tool in TOOLS:
            entry = tarfile.TarInfo(f"bin/{tool}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return out.getvalue()


def layer(files: Mapping[str, bytes]) -> bytes:
    """Write a layer of files; `.wh.NAME` takes NAME away."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


async def push(home: Path, reference: str, layers: Sequence[bytes], *command: str) -> Image:
    """Push an image of uncompressed layers, lowest first, to a registry without TLS."""
    store, named = ImageStore(home), Reference.parse(reference)
    platform = Platform("linux", {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine])
    config = ImageConfig(platform=platform, cmd=command or ("/bin/sh",), environment={"PATH": "/bin"})
    image = await store.add(named, config, [[content] for content in layers])
    inspected = await store.inspect(image)
    async with RegistryClient(Exchange(insecure=(named.domain,))) as registry:
        for blob in (inspected.manifest.config, *inspected.manifest.layers):
            async with store.content(blob.digest) as path:
                await registry.push_blob(named, path)
        await registry.push_manifest(named, inspected.manifest)
    return image
