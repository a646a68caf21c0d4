"""Images out of archives that `docker save`, Podman, Skopeo or BuildKit wrote.

Two formats: the OCI image layout (image-spec 1.1, image-layout.md) and Docker's own, `manifest.json` beside
configurations and layers. No path of an archive ever becomes a path on disk: content is staged under its digest, and
names inside the archive are only looked up in a table.
"""

import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from naru.domain.errors import Invalid
from naru.domain.rollout import LayerProgress
from naru.oci.compression import Decompressed, Readable, compression
from naru.oci.document import Document, load_json
from naru.oci.manifest import (
    LAYER_TYPES,
    MAX_CONFIG,
    MAX_LAYERS,
    MAX_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    parse_config,
    parse_manifest,
)
from naru.oci.reference import Digest, Reference
from naru.oci.staging import Blob, Staging
from naru.oci.tar import Kind, Member, TarStream

Progress = Callable[[LayerProgress], None]

_NAME: Final = "io.containerd.image.name"
REF_NAME: Final = "org.opencontainers.image.ref.name"
_BLOBS: Final = "blobs/sha256/"
_MAX_DEPTH: Final = 3
_MAX_IMAGES: Final = 1000
_REPORT: Final = 4 * 1024 * 1024
_METADATA: Final = frozenset({"oci-layout", "index.json", "manifest.json", "repositories"})
_LEGACY: Final = frozenset({"VERSION", "json"})
_MEND: Final = "save the image again with docker save"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may unpack to: bytes of one layer and of everything, and the number of members."""

    layer: int = 16 * 1024**3
    total: int = 64 * 1024**3
    members: int = 20_000


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Packed:
    """An image that an archive held: the names it had there, its manifest, and where that is described.

    The manifest, the configuration and every layer are in the staging directory, verified.
    """

    names: tuple[Reference, ...]
    descriptor: Descriptor
    manifest: Manifest

    @property
    def content(self) -> tuple[Digest, ...]:
        """Everything that the image needs."""
        return (self.descriptor.digest, self.manifest.config.digest, *(layer.digest for layer in self.manifest.layers))


def read_archive(source: Readable, staging: Staging, limits: Limits, progress: Progress) -> tuple[Packed, ...]:
    """Stage every image of the archive that `source` streams, at least one; raise Invalid when anything is wrong."""
    files = _unpack(source, staging, limits, progress)
    images = _Images(files, staging, limits, progress)
    packed = tuple(images.of_layout() if "oci-layout" in files else images.of_docker())
    if not packed:
        raise Invalid("the archive holds no container image", _MEND)
    files.refuse_foreign()
    return packed


class _Files:
    """The archive's table of names."""

    def __init__(self) -> None:
        self._blobs: dict[str, Blob] = {}
        self._links: dict[str, str] = {}
        self._used: set[str] = set()

    def __contains__(self, path: str) -> bool:
        return self._resolve(path) in self._blobs

    def add(self, path: str, blob: Blob) -> None:
        self._blobs[path] = blob

    def link(self, path: str, target: str) -> None:
        self._links[path] = target

    def has(self, path: str) -> bool:
        return path in self._blobs or path in self._links

    def blob(self, path: str) -> Blob:
        """Return the content of a member, through links inside the archive."""
        path = self._resolve(path)
        self._used.add(path)
        try:
            return self._blobs[path]
        except KeyError:
            raise Invalid(f"the archive has no {path!r:.100}, which its manifest names", _MEND) from None

    def small(self, path: str, limit: int) -> bytes:
        """Return the bytes of a member that may have at most `limit`."""
        blob = self.blob(path)
        if blob.size > limit:
            raise Invalid(f"the archive's {path!r:.100} has {blob.size} bytes", f"at most {limit} are read")
        return blob.path.read_bytes()

    def refuse_foreign(self) -> None:
        """Refuse members that belong to no image; content by digest may be left over from other platforms."""
        for path in self._blobs.keys() - self._used:
            legacy = posixpath.basename(path) in _LEGACY and path.count("/") == 1
            if path not in _METADATA and not legacy and not path.startswith(_BLOBS):
                raise Invalid(f"the archive's member {path!r:.100} belongs to no image", _MEND)

    def _resolve(self, path: str) -> str:
        for _ in range(len(self._links) + 1):
            if path not in self._links:
                return path
            path = self._links[path]
        raise Invalid(f"the archive's link {path!r:.100} leads to itself", _MEND)


def _unpack(source: Readable, staging: Staging, limits: Limits, progress: Progress) -> _Files:
    plain = Decompressed(source, "the archive", limits.total)
    tar = TarStream(plain, max_members=limits.members)
    files = _Files()
    for member in tar:
        path = _inside(member.path, member.path)
        if member.kind is Kind.DIRECTORY:
            continue
        if files.has(path):
            raise Invalid(f"the archive has two members {path!r:.100}", _MEND)
        match member.kind:
            case Kind.FILE:
                if member.size > limits.layer:
                    raise Invalid(
                        f"the archive's {path!r:.100} has {member.size} bytes", f"at most {limits.layer} are read"
                    )
                files.add(path, _stage(path, member, tar, staging, progress))
            case Kind.SYMLINK:
                # docker save writes a layer that two images share once, and links to it.
                target = posixpath.normpath(posixpath.join(posixpath.dirname(path), member.target))
                files.link(path, _inside(target, member.path))
            case _:
                raise Invalid(f"the archive's member {path!r:.100} is a {member.kind.value}", _MEND)
    for _ in plain.chunks():
        pass  # what follows the archive's end is padding; reading it lets gzip check its own sum
    return files


def _stage(path: str, member: Member, tar: TarStream, staging: Staging, progress: Progress) -> Blob:
    blob = staging.write(_reported(path, member.size, tar.content(), progress))
    if path.startswith(_BLOBS) and path != _BLOBS + blob.digest.hex:
        raise Invalid(f"the archive's {path!r:.100} has the digest {blob.digest}", "do not trust where it comes from")
    return blob


def _reported(name: str, total: int, chunks: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    current = reported = 0
    for chunk in chunks:
        yield chunk
        current += len(chunk)
        if current - reported >= _REPORT or current == total > _REPORT:
            progress(LayerProgress(name, "reading", current, total))
            reported = current


def _inside(path: str, written: str) -> str:
    """Return the path in its plain form when it stays inside the archive."""
    plain = path.removeprefix("./").rstrip("/") or "."
    parts = plain.split("/")
    if path.startswith("/") or "\\" in path or "\0" in path or ".." in parts or "" in parts or "." in parts[1:]:
        raise Invalid(f"the archive's member {written!r:.100} leads out of it", "do not trust where it comes from")
    return plain


class _Images:
    """Finds the images among the files, and verifies them."""

    def __init__(self, files: _Files, staging: Staging, limits: Limits, progress: Progress) -> None:
        self._files = files
        self._staging = staging
        self._limits = limits
        self._progress = progress
        self._verified: set[tuple[Digest, Digest]] = set()
        self._count = 0

    def of_layout(self) -> Iterator[Packed]:
        """Yield the images of an OCI image layout, for every platform that is in it completely."""
        layout = Document.load(self._files.small("oci-layout", 4096), "oci-layout", 4096)
        if not layout.text("imageLayoutVersion").startswith("1."):
            raise Invalid("the archive's OCI image layout has no version 1", _MEND)
        index = parse_manifest(self._files.small("index.json", MAX_MANIFEST))
        if not isinstance(index, Index):
            raise Invalid("the archive's index.json is no index", _MEND)
        for entry in index.manifests:
            yield from self._of_entry(entry, _names(entry), 0)

    def _of_entry(self, entry: Descriptor, names: tuple[Reference, ...], depth: int) -> Iterator[Packed]:
        self._count_more(1)
        content = self._files.small(_BLOBS + entry.digest.hex, MAX_MANIFEST)
        match parse_manifest(content, entry.media_type):
            case Index(manifests=children):
                if depth == _MAX_DEPTH:
                    raise Invalid("the archive's indexes are nested too deeply", _MEND)
                for child in children:
                    # Tools that save one platform keep the whole index: what is not here was not saved.
                    if _BLOBS + child.digest.hex in self._files:
                        yield from self._of_entry(child, names, depth + 1)
            case Manifest(is_image=True) as manifest:
                config = self._config(_BLOBS + manifest.config.digest.hex)
                layers = [self._files.blob(_BLOBS + layer.digest.hex) for layer in manifest.layers]
                self._verify(config, layers, [_BLOBS + layer.digest.hex for layer in manifest.layers])
                _agree(manifest, layers)
                yield Packed(
                    names, Descriptor(manifest.media_type, entry.digest, len(content), config.platform), manifest
                )

    def of_docker(self) -> Iterator[Packed]:
        """Yield the images of Docker's format, each with an OCI manifest made for it.

        The manifest follows from the archive's content alone, so the same image always gets the same digest; its
        configuration stays as it is, and with it the id that Docker shows.
        """
        if "manifest.json" not in self._files:
            raise Invalid("the archive has neither manifest.json nor oci-layout", _MEND)
        entries = load_json(self._files.small("manifest.json", MAX_MANIFEST), "manifest.json", MAX_MANIFEST)
        if not isinstance(entries, list):
            raise Invalid("the archive's manifest.json is no list", _MEND)
        self._count_more(len(entries))
        for entry in (Document(entry, "an entry of manifest.json") for entry in entries):
            paths = [_inside(path, path) for path in entry.texts("Layers")]
            config_path = _inside(entry.text("Config"), entry.text("Config"))
            config, config_blob = self._config(config_path), self._files.blob(config_path)
            layers = [self._files.blob(path) for path in paths]
            self._verify(config, layers, paths)
            manifest = Manifest(
                config=Descriptor(OCI_CONFIG, config_blob.digest, config_blob.size),
                layers=tuple(Descriptor(_layer_type(blob), blob.digest, blob.size) for blob in layers),
            )
            content = self._staging.write([manifest.encode()])
            names = tuple(Reference.parse(tag) for tag in entry.texts("RepoTags") if not tag.startswith("<none>"))
            yield Packed(
                names, Descriptor(manifest.media_type, content.digest, content.size, config.platform), manifest
            )

    def _count_more(self, entries: int) -> None:
        """Bound the work: a small archive can name the same content again and again, at every depth."""
        self._count += entries
        if self._count > _MAX_IMAGES:
            raise Invalid(f"the archive lists more than {_MAX_IMAGES} images", "save fewer images at once")

    def _config(self, path: str) -> ImageConfig:
        config = parse_config(self._files.small(path, MAX_CONFIG))
        if not (config.platform.os and config.platform.architecture):
            raise Invalid("the image's configuration names no platform", "build the image again with a current tool")
        return config

    def _verify(self, config: ImageConfig, layers: Sequence[Blob], paths: Sequence[str]) -> None:
        """Hold the layers against the configuration: as many, in that order, each unpacking to its diff_id."""
        if len(layers) > MAX_LAYERS:
            raise Invalid(f"the image has {len(layers)} layers", f"build it with at most {MAX_LAYERS}")
        if len(layers) != len(config.diff_ids):
            raise Invalid(f"the image has {len(layers)} layers, its configuration {len(config.diff_ids)}", _MEND)
        for blob, expected, path in zip(layers, config.diff_ids, paths, strict=True):
            if blob.digest != expected and (blob.digest, expected) not in self._verified:
                self._progress(LayerProgress(path, "verifying", blob.size, blob.size))
                self._verify_compressed(blob, expected, path)
                self._verified.add((blob.digest, expected))
            self._progress(LayerProgress(path, "verified", blob.size, blob.size))

    def _verify_compressed(self, blob: Blob, expected: Digest, path: str) -> None:
        with blob.path.open("rb") as file:
            found = Digest.of_stream(Decompressed(file, f"layer {path}", self._limits.layer).chunks())
        if found != expected:
            raise Invalid(
                f"layer {path!r:.100} unpacks to {found}, the image's configuration says {expected}",
                "do not trust where it comes from",
            )


def _names(entry: Descriptor) -> tuple[Reference, ...]:
    """Read the name that a layout's entry carries. A bare tag, which some tools write, names nothing."""
    name = entry.annotations.get(_NAME) or entry.annotations.get(REF_NAME, "")
    return (Reference.parse(name),) if "/" in name or ":" in name else ()


def _agree(manifest: Manifest, layers: Sequence[Blob]) -> None:
    for described, blob in zip(manifest.layers, layers, strict=True):
        if described.size != blob.size:
            raise Invalid(f"layer {described.digest} has {blob.size} bytes, its manifest says {described.size}", _MEND)
        if described.media_type not in LAYER_TYPES:
            raise Invalid(f"layer {described.digest} has the unknown type {described.media_type!r:.100}", _MEND)


def _layer_type(blob: Blob) -> str:
    with blob.path.open("rb") as file:
        kind = compression(file.read(4))
    return f"{OCI_LAYER}+{kind}" if kind else OCI_LAYER
