"""An OCI image layout on disk (image-spec 1.1, image-layout.md), changed safely.

Content is staged before it is moved to its place, and `index.json` is replaced in one step, so whoever opens the
directory, even after a kill or a power cut, finds a valid layout in which every listed image is complete. An entry of
`index.json` is one image for one platform; its full reference is the annotation org.opencontainers.image.ref.name.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from naru.domain.errors import Conflict, Invalid, NotFound, Unavailable
from naru.domain.image import Platform
from naru.oci.archive import REF_NAME
from naru.oci.manifest import MAX_CONFIG, MAX_MANIFEST, Descriptor, Index, Manifest, parse_manifest
from naru.oci.reference import Digest, Reference
from naru.oci.staging import Staging, sweep

_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_MAX_INDEX: Final = 64 * 1024 * 1024
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored image: its name, and the descriptor of its manifest with the platform."""

    reference: Reference
    descriptor: Descriptor

    @property
    def platform(self) -> Platform:
        """The one platform that the manifest is for."""
        return self.descriptor.platform or Platform()


class Directory:
    """The layout below `root`, which is made when it is missing. Blocking; several processes may share it.

    Every method raises Unavailable when the disk is full or refuses, Conflict when the layout itself is damaged.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._blobs = root / "blobs" / "sha256"
        self._incoming = root / "incoming"

    def staging(self) -> Staging:
        """Open a staging directory on the same file system; also makes the layout."""
        with disk_errors(self._root), self._locked():
            return Staging(self._incoming)

    def path(self, digest: Digest) -> Path:
        """Return where content with `digest` lies when it is stored."""
        return self._blobs / digest.hex

    def entries(self) -> tuple[Entry, ...]:
        """List what is stored, by name and platform."""
        try:
            with disk_errors(self._root):
                content = (self._root / "index.json").read_bytes()
        except FileNotFoundError:
            return ()
        try:
            index = parse_manifest(content, limit=_MAX_INDEX)
            if not isinstance(index, Index):
                raise Invalid("index.json is no index")
            return tuple(Entry(Reference.parse(entry.annotations[REF_NAME]), entry) for entry in index.manifests)
        except (Invalid, KeyError) as error:
            raise Conflict(
                f"the image store {self._root} has a damaged index.json",
                "move the directory away and load its images again",
            ) from error

    def manifest(self, entry: Entry) -> Manifest:
        """Read the manifest of a stored image."""
        manifest = parse_manifest(self.read(entry.descriptor.digest, MAX_MANIFEST), entry.descriptor.media_type)
        if not isinstance(manifest, Manifest):
            raise Conflict(f"the image store holds an index as {entry.reference}", "remove the image and load it again")
        return manifest

    def read(self, digest: Digest, limit: int = MAX_CONFIG) -> bytes:
        """Return small stored content, verified; raise NotFound when it is not stored."""
        try:
            with disk_errors(self._root), self.path(digest).open("rb") as file:
                content = file.read(limit + 1)
        except FileNotFoundError:
            raise _not_stored(digest) from None
        if Digest.of(content) != digest:
            raise Conflict(f"the image store's content of {digest} is damaged", "remove the image and load it again")
        return content

    def lend(self, digest: Digest, staging: Staging) -> Path:
        """Link stored content into `staging`, where no removal takes it away; raise NotFound when it is not stored."""
        lent = staging.path(digest)
        try:
            with disk_errors(self._root):
                lent.hardlink_to(self.path(digest))
        except FileNotFoundError:
            raise _not_stored(digest) from None
        return lent

    def commit(self, staging: Staging, images: Sequence[tuple[Entry, Iterable[Digest]]]) -> None:
        """Move the images' content from staging to its place, then list them.

        An image that had the name before stays listed by its digest alone: releases may still need it.
        """
        with disk_errors(self._root), self._locked():
            for digest in {digest for _, content in images for digest in content}:
                staging.path(digest).replace(self.path(digest))
            _sync(self._blobs)
            self._write_index(staging, _listed(self.entries(), [entry for entry, _ in images]))

    def keep(self, wanted: Callable[[Entry], bool]) -> int:
        """Take the images that are not `wanted` from the list; return how many that were."""
        with self.staging() as staging, disk_errors(self._root), self._locked():
            entries = self.entries()
            kept = [entry for entry in entries if wanted(entry)]
            if len(kept) < len(entries):
                self._write_index(staging, kept)
        return len(entries) - len(kept)

    def collect(self) -> int:
        """Free what no listed image needs and what crashed loads left; return the number of bytes freed from blobs."""
        freed = 0
        with disk_errors(self._root), self._locked():
            sweep(self._incoming)
            needed = {digest.hex for entry in self.entries() for digest in content_of(entry, self.manifest(entry))}
            for path in self._blobs.iterdir():
                if path.name not in needed:
                    freed += path.stat().st_size
                    path.unlink()
        return freed

    def _write_index(self, staging: Staging, entries: Iterable[Entry]) -> None:
        ordered = sorted(entries, key=lambda entry: (str(entry.reference), str(entry.platform)))
        index = Index(
            tuple(replace(entry.descriptor, annotations={REF_NAME: str(entry.reference)}) for entry in ordered)
        )
        staging.write([index.encode()]).path.replace(self._root / "index.json")
        _sync(self._root)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the layout alone, among threads and processes; the kernel frees it when we die."""
        with disk_errors(self._root):
            self._blobs.mkdir(parents=True, exist_ok=True)
            self._incoming.mkdir(exist_ok=True)
            lock = os.open(self._root / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (self._root / "oci-layout").exists():
                with disk_errors(self._root), Staging(self._incoming) as staging:
                    self._write_index(staging, ())
                    staging.write([_LAYOUT]).path.replace(self._root / "oci-layout")
                    _sync(self._root)
            yield
        finally:
            os.close(lock)


def _listed(before: Iterable[Entry], new: Iterable[Entry]) -> Collection[Entry]:
    """Add images to a list: each name means one image for each platform, the newest."""
    by_name = {(entry.reference, entry.platform): entry for entry in before}
    for entry in new:
        old = by_name.get((entry.reference, entry.platform))
        if old is not None and old.descriptor.digest != entry.descriptor.digest:
            unnamed = replace(old, reference=old.reference.only(old.descriptor.digest))
            by_name[unnamed.reference, unnamed.platform] = unnamed
        by_name.pop((entry.reference.only(entry.descriptor.digest), entry.platform), None)
        by_name[entry.reference, entry.platform] = entry
    return by_name.values()


def content_of(entry: Entry, manifest: Manifest) -> tuple[Digest, ...]:
    """List everything that a stored image needs."""
    return (entry.descriptor.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers))


def _not_stored(digest: Digest) -> NotFound:
    return NotFound(f"the image store holds nothing with the digest {digest}", "load the image again")


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Say what a full or refusing disk means. A missing file stays a FileNotFoundError: its reader knows better."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise Unavailable(
                f"the disk of the image store {root} is full",
                "free space there, or remove images with naru image rm",
                retry_after=60,
            ) from error
        if error.filename is not None or error.errno in (errno.EIO, errno.EROFS):
            raise Unavailable(
                f"the image store {root} cannot be used: {error.strerror}", "check the directory's owner and its disk"
            ) from error
        raise


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
