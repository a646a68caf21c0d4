"""Images by name: what their registry says of them, and their indexes derived from its layers (exchange.origin.Origin).

An agent asks others for an image by its digest alone. Which repository that digest belongs to, only those know who were
told the image's name: containerd's labels tell the snapshotter, and an operator tells `prefetch`.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from naru.agent.index.derive import derive
from naru.agent.index.index import Index
from naru.agent.mirror.blobs import Blobs
from naru.agent.mirror.manifests import Manifests
from naru.agent.mirror.upstream import Upstream
from naru.agent.objects import ObjectStore
from naru.domain.errors import Forbidden, Invalid, NotFound
from naru.domain.image import Image, Origin, Platform
from naru.oci.manifest import MAX_CONFIG, Descriptor, Inspected, Manifest, parse_config, parse_manifest, select
from naru.oci.reference import Digest, Reference

_MOST_NAMED: Final = 10_000
_MACHINES: Final = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv7l": ("arm", "v7"),
    "riscv64": ("riscv64", ""),
}


@dataclass(frozen=True, slots=True)
class Named:
    """Which layers an index is made of: those of a manifest in a repository, all of them or the lowest `depth`."""

    reference: Reference
    manifest: Digest
    depth: int | None = None


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """Of which repository a blob is, for an index that is of the blob as it is."""

    reference: Reference
    digest: Digest


class Images:
    """Images of registries, seen through what the node keeps of them."""

    def __init__(
        self, store: ObjectStore, manifests: Manifests, blobs: Blobs, upstream: Upstream, *, derives: bool
    ) -> None:
        self._store = store
        self._manifests = manifests
        self._blobs = blobs
        self._upstream = upstream
        self._derives = derives
        self._named: dict[str, Named | NamedBlob] = {}
        self._deriving: dict[str, asyncio.Task[Index]] = {}

    def name(self, image: str, named: Named | NamedBlob) -> None:
        """Remember what an index that may be asked for is made of."""
        if len(self._named) >= _MOST_NAMED:
            self._named.pop(next(iter(self._named)))
        self._named[image] = named

    def reference(self, image: str) -> str:
        """Return an image's name; empty when it was never told."""
        named = self._named.get(image)
        return named.reference.familiar if named else ""

    async def resolve(self, reference: Reference, platform: Platform) -> Inspected:
        """Find the image that a name means for a platform, and remember its name."""
        wanted = str(reference.digest) if reference.digest else reference.tag
        document = await self._manifests.get(reference, wanted)
        parsed = parse_manifest(document.content, document.media_type)
        if isinstance(parsed, Manifest):
            digest = document.digest
        else:
            digest = select(parsed.manifests, platform, reference.familiar).digest
        self.name(str(digest), Named(reference, digest))
        return await self.inspect(reference, digest)

    async def inspect(self, reference: Reference, digest: Digest) -> Inspected:
        """Return the manifest and the configuration of an image of one platform, and remember whose its layers are."""
        document = await self._manifests.get(reference, str(digest))
        manifest = parse_manifest(document.content, document.media_type)
        if not isinstance(manifest, Manifest) or not manifest.is_image:
            raise Invalid(f"{reference.familiar} is no container image", "name an image that can run")
        if manifest.config.size > MAX_CONFIG:
            raise Invalid(f"{reference.familiar} has a configuration of {manifest.config.size} bytes", "do not run it")
        await self._blobs.fetch(reference, manifest.config.digest, size=manifest.config.size)
        content = await asyncio.to_thread(self._store.read, bytes.fromhex(manifest.config.digest.hex))
        config = parse_config(content)
        if len(config.diff_ids) != len(manifest.layers):
            raise Invalid(f"{reference.familiar} has other layers than its configuration says", "push it again")
        for layer in manifest.layers:
            self.name(str(layer.digest), NamedBlob(reference, layer.digest))
        image = Image(
            reference=str(reference),
            digest=str(digest),
            config_digest=str(manifest.config.digest),
            platform=config.platform,
            origin=Origin.REGISTRY,
            size=manifest.size,
        )
        return Inspected(image, manifest, config)

    async def derive(self, image: str) -> Index:
        """Derive an image's index from its registry's layers, once however many ask; all its objects come with it."""
        if not self._derives:
            raise Forbidden("this agent fetches no layers from registries", "allow it with NARU_AGENT_ORIGIN=yes")
        task = self._deriving.get(image)
        if task is None:
            task = self._deriving[image] = asyncio.create_task(self._derive(image))
            task.add_done_callback(lambda _: self._deriving.pop(image, None))
        return await asyncio.shield(task)

    async def _derive(self, image: str) -> Index:
        named = self._named.get(image)
        if named is None:
            raise NotFound(f"this agent was never told the name of {image}", "prefetch the image by its name here")
        if isinstance(named, NamedBlob):
            return await self._blobs.derive(named.reference, named.digest)
        inspected = await self.inspect(named.reference, named.manifest)
        if named.depth is not None:
            inspected = lowest(inspected, named.depth, image)

        def blob(layer: Descriptor) -> AsyncIterator[bytes]:
            return self._layer(named.reference, layer)

        return await derive(inspected, blob, self._store)

    async def _layer(self, of: Reference, layer: Descriptor) -> AsyncIterator[bytes]:
        """Stream a layer, from the mirror's blobs where it is there already; `derive` verifies it."""
        if await asyncio.to_thread(self._store.has, bytes.fromhex(layer.digest.hex)):
            async for chunk in self._blobs.read(of, layer.digest, 0, layer.size):
                yield chunk
            return
        async with self._upstream.blob(of, layer.digest) as (_, chunks):
            async for chunk in chunks:
                self._blobs.from_origin += len(chunk)
                yield chunk


def chain_id(diff_ids: Sequence[Digest]) -> str:
    """Name the layers with these diff IDs, lowest first, together (OCI image-spec, config.md, "Layer ChainID")."""
    chain = ""
    for diff_id in diff_ids:
        both = f"{chain} {diff_id}".encode()
        chain = f"sha256:{hashlib.sha256(both).hexdigest()}" if chain else str(diff_id)
    return chain


def lowest(image: Inspected, depth: int, name: str) -> Inspected:
    """Return the image made of the lowest `depth` layers, under another name in place of its digest."""
    return Inspected(
        replace(image.image, digest=name),
        replace(image.manifest, layers=image.manifest.layers[:depth]),
        replace(image.config, diff_ids=image.config.diff_ids[:depth]),
    )


def this_platform() -> Platform:
    """Return the platform of this machine."""
    machine = os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)
