"""Naru's own store of loaded images.

What is on disk, and why a crash cannot damage it, is told in naru.oci.directory.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from naru.domain.errors import Invalid, NotFound
from naru.domain.image import Image, Origin, Platform
from naru.domain.rollout import LayerProgress
from naru.oci.archive import DEFAULT_LIMITS, Limits, Packed, Progress, read_archive
from naru.oci.bridge import Bridge, in_thread
from naru.oci.directory import Directory, Entry, content_of, disk_errors
from naru.oci.export import write_docker_archive
from naru.oci.manifest import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Inspected,
    Manifest,
    parse_config,
    select,
)
from naru.oci.reference import Digest, Reference

_LOADS_AT_ONCE: Final = 2


def _silent(_: LayerProgress) -> None:
    """Report to nobody."""


class ImageStore:
    """The images below `root`, which is made when it is missing. Several processes may share it.

    Every method raises Unavailable when the disk is full or refuses, Conflict when the store itself is damaged.
    """

    def __init__(self, root: Path, limits: Limits = DEFAULT_LIMITS) -> None:
        self._root = root
        self._limits = limits
        self._directory = Directory(root)
        # A load waits for its bytes in a thread of asyncio's small pool; a few of them must not take it all.
        self._loads = asyncio.Semaphore(_LOADS_AT_ONCE)

    async def load(
        self, stream: AsyncIterator[bytes], *, name: Reference | None = None, progress: Progress = _silent
    ) -> list[Image]:
        """Take in every image of a docker-archive or OCI archive, plain or compressed with gzip or Zstandard.

        An older image of the same name stays, named by its digest alone: a rollback may need it (see `prune`).

        With `name` the archive's only image gets that name; one that carries no name needs it. Either all images are
        stored or nothing is. Raises Invalid for an archive that is damaged, dishonest or too large, and whatever
        `stream` raises. `progress` is called on the event loop.
        """
        loop = asyncio.get_running_loop()
        bridge = Bridge(stream, loop)

        def report(layer: LayerProgress) -> None:
            loop.call_soon_threadsafe(progress, layer)

        async with self._loads:
            return await in_thread(lambda: self._load(bridge, name, report), bridge.stop)

    async def add(self, reference: Reference, config: ImageConfig, layers: Sequence[Iterable[bytes]]) -> Image:
        """Store an image made of uncompressed tar layers, lowest first; the configuration gets their diff_ids.

        Equal arguments give an image with the same digest, everywhere and always.
        """
        return await in_thread(lambda: self._add(reference, config, layers))

    async def images(self) -> list[Image]:
        """List what is stored, by name and platform."""
        return await in_thread(lambda: list(self._images()))

    async def resolve(self, reference: Reference, platform: Platform) -> Image | None:
        """Return the image of that name, or of that name and digest, or None when there is none.

        Raises Invalid when it is stored for other platforms only.
        """
        return await in_thread(lambda: self._resolve(reference, platform))

    async def inspect(self, image: Image) -> Inspected:
        """Read the manifest and configuration of a stored image; raise NotFound."""
        return await in_thread(lambda: self._inspect(image))

    @asynccontextmanager
    async def content(self, digest: Digest) -> AsyncIterator[Path]:
        """Give the file of stored content, a layer for instance, which stays whole while the context lasts."""
        staging = await in_thread(self._directory.staging)
        try:
            yield await in_thread(lambda: self._directory.lend(digest, staging))
        finally:
            await in_thread(staging.close)

    async def remove(self, reference: Reference) -> None:
        """Forget the image of that name on every platform and free what no other image needs; raise NotFound."""
        await in_thread(lambda: self._remove(reference))

    async def prune(self, needed: Collection[str]) -> int:
        """Forget images that lost their name to a newer one and whose digest is not `needed`; return bytes freed."""
        return await in_thread(lambda: self._prune(needed))

    async def collect(self) -> int:
        """Free content that no image needs and what crashed loads left; return the number of bytes freed."""
        return await in_thread(self._directory.collect)

    @asynccontextmanager
    async def export(self, image: Image) -> AsyncIterator[Path]:
        """Give the image as a docker-archive file, which is gone when the context ends; raise NotFound."""
        staging = await in_thread(self._directory.staging)
        try:
            path = staging.directory / "image.tar"
            await in_thread(lambda: self._export(image, path))
            yield path
        finally:
            await in_thread(staging.close)

    def _load(self, bridge: Bridge, name: Reference | None, report: Progress) -> list[Image]:
        with disk_errors(self._root), self._directory.staging() as staging:
            packed = read_archive(bridge, staging, self._limits, report)
            named = [(entry, image) for image in packed for entry in _entries(image, packed, name)]
            self._directory.commit(staging, [(entry, image.content) for entry, image in named])
            return [_stored(entry, image.manifest) for entry, image in named]

    def _add(self, reference: Reference, config: ImageConfig, layers: Sequence[Iterable[bytes]]) -> Image:
        with disk_errors(self._root), self._directory.staging() as staging:
            blobs = [staging.write(layer) for layer in layers]
            config_blob = staging.write([replace(config, diff_ids=tuple(blob.digest for blob in blobs)).encode()])
            manifest = Manifest(
                config=Descriptor(OCI_CONFIG, config_blob.digest, config_blob.size),
                layers=tuple(Descriptor(OCI_LAYER, blob.digest, blob.size) for blob in blobs),
            )
            content = staging.write([manifest.encode()])
            entry = Entry(reference, Descriptor(OCI_MANIFEST, content.digest, content.size, config.platform))
            self._directory.commit(staging, [(entry, content_of(entry, manifest))])
            return _stored(entry, manifest)

    def _remove(self, reference: Reference) -> None:
        if not self._directory.keep(lambda entry: entry.reference != reference):
            raise NotFound(f"the image store has no {reference.familiar}", "naru image list lists what it has")
        self._directory.collect()

    def _prune(self, needed: Collection[str]) -> int:
        self._directory.keep(lambda entry: bool(entry.reference.tag) or str(entry.descriptor.digest) in needed)
        return self._directory.collect()

    def _images(self) -> Iterator[Image]:
        for entry in self._directory.entries():
            with suppress(NotFound):  # removed since the list was read
                yield self._image(entry)

    def _image(self, entry: Entry) -> Image:
        return _stored(entry, self._directory.manifest(entry))

    def _resolve(self, reference: Reference, platform: Platform) -> Image | None:
        named = [entry for entry in self._directory.entries() if _answers(entry, reference)]
        if not named:
            return None
        chosen = select([entry.descriptor for entry in named], platform, reference.familiar)
        entry = next(entry for entry in named if entry.descriptor == chosen)
        return replace(self._image(entry), reference=str(reference))

    def _inspect(self, image: Image) -> Inspected:
        for entry in self._directory.entries():
            if str(entry.descriptor.digest) == image.digest:
                manifest = self._directory.manifest(entry)
                return Inspected(image, manifest, parse_config(self._directory.read(manifest.config.digest)))
        raise NotFound(
            f"the image store has no {Reference.parse(image.reference).familiar} with the digest {image.digest}",
            "load it with naru image load",
        )

    def _export(self, image: Image, path: Path) -> None:
        inspected = self._inspect(image)
        try:
            with disk_errors(self._root), self._directory.staging() as staging, path.open("wb") as file:
                write_docker_archive(inspected, self._directory.path, staging, file)
        except FileNotFoundError as error:
            raise NotFound(f"the image store has lost a part of {image.reference}", "load the image again") from error


def _entries(image: Packed, packed: Sequence[Packed], name: Reference | None) -> list[Entry]:
    """Decide under which names an image of an archive is listed."""
    if name is not None and len({other.descriptor.platform for other in packed}) < len(packed):
        raise Invalid("the archive holds several images, so one name does not fit", "load it without a name")
    names = (name,) if name is not None else image.names
    if not names:
        raise Invalid("an image of the archive has no name", "load it with one: naru image load --name shop:1 FILE")
    for reference in names:
        if not reference.tag or reference.digest is not None:
            raise Invalid(f"{reference.familiar} has a digest, which the archive decides", "give a name with a tag")
    return [Entry(reference, image.descriptor) for reference in names]


def _answers(entry: Entry, reference: Reference) -> bool:
    """Say whether a stored image is the one that is asked for: the digest decides where there is one."""
    if reference.digest is not None:
        return entry.reference.name == reference.name and entry.descriptor.digest == reference.digest
    return entry.reference == reference


def _stored(entry: Entry, manifest: Manifest) -> Image:
    return Image(
        reference=str(entry.reference),
        digest=str(entry.descriptor.digest),
        config_digest=str(manifest.config.digest),
        platform=entry.platform,
        origin=Origin.STORED,
        size=manifest.size,
    )
