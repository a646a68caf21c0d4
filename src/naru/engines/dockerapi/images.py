"""Images on one engine: which are there, and how others get there."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from naru.domain.account import Credentials
from naru.domain.errors import Invalid, NotFound
from naru.domain.image import Image, Origin, Platform
from naru.domain.rollout import LayerProgress
from naru.engines.dockerapi.answers import PullLine
from naru.engines.dockerapi.translate import image_names
from naru.engines.dockerapi.wire import Wire
from naru.oci.reference import Reference

Reports = AsyncGenerator[Sequence[LayerProgress], None]

REPORT_EVERY = 0.1
"""Seconds between two reports of progress."""
_BLOCK = 1 << 20
_DONE = frozenset({"Pull complete", "Already exists", "Download complete"})


async def find(wire: Wire, reference: str) -> Image | None:
    """Return an image that was built or loaded on this engine and that no registry is known to have."""
    name = Reference.parse(reference)
    found = await wire.image(name.familiar)
    # Podman gives digests to what it builds as well, under the domain that stands for no registry.
    if found is None or any(not digest.startswith("localhost/") for digest in found.repo_digests):
        return None
    return Image(
        reference=str(name),
        digest=found.id,
        config_digest=found.id,
        platform=Platform(found.os, found.architecture, found.variant),
        origin=Origin.ENGINE,
        size=found.size,
    )


async def held(wire: Wire, image: Image) -> str:
    """Return the name under which the engine holds exactly this image, empty when it does not."""
    for name in image_names(image):
        if await wire.image(name):
            return name
    return ""


async def fetch(
    wire: Wire, image: Image, credentials: Credentials | None, archive: Path | None
) -> AsyncIterator[Sequence[LayerProgress]]:
    """Bring the image, unless it is there; afterwards it is, or an error says why not."""
    if await held(wire, image):
        return
    match image.origin:
        case Origin.REGISTRY:
            async with aclosing(_pull(wire, image, credentials)) as reports:
                async for layers in reports:
                    yield layers
        case Origin.STORED if archive:
            async with aclosing(_load(wire, archive)) as reports:
                async for layers in reports:
                    yield layers
        case Origin.STORED:
            raise NotFound(f"the stored bytes of {image.reference} are missing", "load the image again")
        case Origin.ENGINE:
            raise NotFound(f"{image.reference} is not on {wire.name} any more", "build or load it again")
    if not await held(wire, image):
        raise Invalid(
            f"{wire.name} took {image.reference} and holds no image {image.config_digest}",
            "the archive holds another image than it says: save it again",
        )


async def _pull(wire: Wire, image: Image, credentials: Credentials | None) -> Reports:
    layers: dict[str, LayerProgress] = {}
    reported = asyncio.get_running_loop().time()
    async with aclosing(wire.pull(image_names(image)[0], credentials)) as lines:
        async for line in lines:
            if line.id and line.status and not line.status.startswith("Pulling from"):
                layers[line.id] = _progress(line, layers.get(line.id))
            now = asyncio.get_running_loop().time()
            if layers and now - reported >= REPORT_EVERY:
                reported = now
                yield tuple(layers.values())
    if layers:
        yield tuple(layers.values())


def _progress(line: PullLine, before: LayerProgress | None) -> LayerProgress:
    """Read one line of a pull; bytes are those downloaded, whatever the layer goes through afterwards."""
    status = line.status.lower()
    if line.status == "Downloading":
        return LayerProgress(line.id, status, line.progress.current, line.progress.total)
    total = before.total if before else 0
    done = total if line.status in _DONE or line.status == "Extracting" else before.current if before else 0
    return LayerProgress(line.id, status, done, total)


@dataclass(slots=True)
class _Upload:
    """A file on its way to the engine, and how far it has come."""

    file: BinaryIO
    total: int
    sent: int = 0

    async def blocks(self) -> AsyncIterator[bytes]:
        while block := await asyncio.to_thread(self.file.read, _BLOCK):
            yield block
            self.sent += len(block)

    @property
    def progress(self) -> Sequence[LayerProgress]:
        return (LayerProgress("archive", "loading", self.sent, self.total),)


async def _load(wire: Wire, archive: Path) -> Reports:
    with archive.open("rb") as file:
        upload = _Upload(file, os.fstat(file.fileno()).st_size)
        loading = asyncio.create_task(wire.load(upload.blocks()))
        try:
            while not (await asyncio.wait({loading}, timeout=REPORT_EVERY))[0]:
                yield upload.progress
            await loading
            yield upload.progress
        finally:
            loading.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await loading
