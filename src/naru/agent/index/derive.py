"""An index out of an image as its registry or archive has it: every layer is read once.

A layer arrives and is decompressed in one thread while another merges its members and puts their contents into the
object store. What is slow there (decompressing, hashing, writing) leaves the interpreter to the other thread, in
large enough pieces that they do not wait for it in turn. Memory is bounded by what waits between the two, not by
layers or files; only the tree of names grows with the image.
"""

import asyncio
import hashlib
import queue
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Final, Self

from naru.agent.index.erofs import erofs_image
from naru.agent.index.index import CHUNK, Index, Object
from naru.agent.index.tree import MAX_ENTRIES, Inode, Tree, walk
from naru.agent.objects import ObjectStore
from naru.domain.account import Credentials
from naru.domain.errors import Invalid
from naru.oci.bridge import Bridge, in_thread
from naru.oci.compression import Decompressed, Readable
from naru.oci.layout import ImageStore
from naru.oci.manifest import LAYER_TYPES, Descriptor, Inspected
from naru.oci.reference import Digest, Reference
from naru.oci.registry import RegistryClient
from naru.oci.tar import LAYER, TarStream

Blobs = Callable[[Descriptor], AsyncIterator[bytes]]
"""Gives the bytes of a layer as it is stored."""

MAX_LAYER: Final = 16 << 30
"""Bytes that one layer may unpack to."""

_AHEAD: Final = 8
_LIAR: Final = "do not trust where it comes from"


async def derive(image: Inspected, blobs: Blobs, store: ObjectStore) -> Index:
    """Read every layer, put all contents into the store, and return and remember the image's index.

    Equal images give equal indexes, whoever derives them. Raises Invalid when a layer has another digest than the
    manifest or the configuration says or holds what no honest layer does, Unavailable when the disk is full, and
    whatever `blobs` raises.
    """
    if len(image.manifest.layers) != len(image.config.diff_ids):
        raise Invalid(f"image {image.image.digest} has other layers than its configuration says", "push it again")
    tree = Tree()
    objects: dict[bytes, Object] = {}
    with store.gathering():
        for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True):
            reading = _Reading(blobs(layer), layer, diff_id)
            await in_thread(partial(_merge, reading, tree, store, objects), reading.stop)
        index = await in_thread(lambda: _index(image.image.digest, tree.root, objects))
        await in_thread(lambda: store.save_index(index))
    return index


def from_image_store(images: ImageStore) -> Blobs:
    """Read layers of loaded images."""

    async def blob(layer: Descriptor) -> AsyncIterator[bytes]:
        async with images.content(layer.digest) as path:
            with await asyncio.to_thread(Path.open, path, "rb") as file:
                while chunk := await asyncio.to_thread(file.read, CHUNK):
                    yield chunk

    return blob


def from_registry(client: RegistryClient, reference: Reference, credentials: Credentials | None = None) -> Blobs:
    """Stream layers from the repository of `reference`."""
    return lambda layer: client.blob(reference, layer, credentials)


class _Reading:
    """A layer's plain bytes, decompressed in a thread ahead of its reader, held against both digests at the end."""

    def __init__(self, stream: AsyncIterator[bytes], layer: Descriptor, diff_id: Digest) -> None:
        if layer.media_type not in LAYER_TYPES:
            raise Invalid(f"layer {layer.digest} has the type {layer.media_type!r:.100}", "use an image that can run")
        self._loop = asyncio.get_running_loop()
        self._bridge = Bridge(stream, self._loop)
        self._layer = layer
        self._diff_id = diff_id
        self._blocks: queue.Queue[bytes | BaseException] = queue.Queue(_AHEAD)
        self._block = memoryview(b"")
        self._ended = False
        self._abandoned = False
        self._thread = Thread(target=self._fill, name="layer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._abandoned = True
        if not self._ended:
            self._loop.call_soon_threadsafe(self.stop)
        while self._thread.is_alive():
            with suppress(queue.Empty):
                self._blocks.get(timeout=0.01)
        self._thread.join()

    def stop(self) -> None:
        """Let the reader fail with Stopped soon. Called on the event loop."""
        self._bridge.stop()

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, empty at the end, which comes only when the whole layer was verified."""
        if not self._block and not self._ended:
            block = self._blocks.get()
            if isinstance(block, BaseException):
                self._ended = True
                raise block
            self._ended = not block
            self._block = memoryview(block)
        part, self._block = self._block[:size], self._block[size:]
        return bytes(part)

    def _fill(self) -> None:
        try:
            stored = _Hashed(self._bridge, self._layer)
            plain = Decompressed(stored, f"layer {self._layer.digest}", MAX_LAYER)
            unpacked = hashlib.sha256()
            while block := plain.read(CHUNK):
                unpacked.update(block)
                self._blocks.put(block)
                if self._abandoned:
                    return
            stored.verify()
            if unpacked.hexdigest() != self._diff_id.hex:
                raise Invalid(f"layer {self._layer.digest} does not unpack to {self._diff_id}", _LIAR)
            self._blocks.put(b"")
        except BaseException as error:
            self._blocks.put(error)


class _Hashed:
    """Hashes what is read, and refuses more than the layer has."""

    def __init__(self, source: Readable, layer: Descriptor) -> None:
        self._source = source
        self._layer = layer
        self._sha256 = hashlib.sha256()
        self._size = 0

    def read(self, size: int, /) -> bytes:
        chunk = self._source.read(size)
        self._sha256.update(chunk)
        self._size += len(chunk)
        if self._size > self._layer.size:
            raise Invalid(f"layer {self._layer.digest} has more than its {self._layer.size} bytes", _LIAR)
        return chunk

    def verify(self) -> None:
        """Read to the end, which decompression may have left out, and hold everything against the digest."""
        while self.read(CHUNK):
            pass
        if self._size != self._layer.size or self._sha256.hexdigest() != self._layer.digest.hex:
            raise Invalid(f"layer {self._layer.digest} came with other bytes", _LIAR)


def _merge(layer: _Reading, tree: Tree, store: ObjectStore, objects: dict[bytes, Object]) -> None:
    """Merge a layer into the tree and its contents into the store."""
    tree.begin_layer()
    with layer:
        tar = TarStream(layer, max_members=3 * MAX_ENTRIES, dialect=LAYER)
        for member in tar:
            inode = tree.add(member)
            if inode is not None:
                content = store.add(tar.content(), inode.size)
                objects[content.digest] = content
                inode.digest = content.digest
        while layer.read(CHUNK):
            pass  # what follows the archive's end belongs to its digest


def _index(image: str, root: Inode, objects: dict[bytes, Object]) -> Index:
    named = {inode.digest for _, inode in walk(root) if inode.size}
    return Index(image, erofs_image(root), tuple(objects[digest] for digest in sorted(named)))
