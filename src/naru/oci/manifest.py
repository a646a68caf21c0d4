"""What an image is made of: index, manifest and configuration, parsed at the door.

Formats: OCI image-spec 1.1 (image-index.md, manifest.md, config.md) and Docker's image manifest version 2, schema 2.
Every document is bounded in size before it is parsed, and unknown fields are ignored, as both specifications ask.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from naru.domain.errors import Invalid
from naru.domain.image import Image, Platform
from naru.oci.document import Document, canonical
from naru.oci.reference import Digest

MAX_MANIFEST: Final = 4 * 1024 * 1024
MAX_CONFIG: Final = 4 * 1024 * 1024
MAX_LAYERS: Final = 512

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"

MANIFEST_TYPES: Final = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
CONFIG_TYPES: Final = frozenset({OCI_CONFIG, DOCKER_CONFIG})
LAYER_TYPES: Final = frozenset(
    {OCI_LAYER, f"{OCI_LAYER}+gzip", f"{OCI_LAYER}+zstd", DOCKER_LAYER, f"{DOCKER_LAYER}.gzip", f"{DOCKER_LAYER}.zstd"}
)
_INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Points at content: its type, digest and exact size in bytes (descriptor.md)."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform, or an artifact about an image. Layers are listed from the lowest to the uppermost."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = OCI_MANIFEST
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""
    subject: Descriptor | None = None

    @property
    def is_image(self) -> bool:
        """Whether this is something that runs, rather than a signature, an attestation or a chart."""
        return self.config.media_type in CONFIG_TYPES and not self.artifact_type

    @property
    def size(self) -> int:
        """Bytes of all layers as they are stored."""
        return sum(layer.size for layer in self.layers)

    def encode(self) -> bytes:
        """Write the manifest, the same bytes for the same value."""
        return canonical(
            {
                "schemaVersion": 2,
                "mediaType": self.media_type,
                "artifactType": self.artifact_type or None,
                "config": descriptor_json(self.config),
                "layers": [descriptor_json(layer) for layer in self.layers],
                "subject": descriptor_json(self.subject) if self.subject else None,
                "annotations": dict(self.annotations) or None,
            }
        )


@dataclass(frozen=True, slots=True)
class Index:
    """Several manifests, usually the same image for several platforms, in the order of preference."""

    manifests: tuple[Descriptor, ...]
    media_type: str = OCI_INDEX
    annotations: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Write the index, the same bytes for the same value."""
        return canonical(
            {
                "schemaVersion": 2,
                "mediaType": self.media_type,
                "manifests": [descriptor_json(manifest) for manifest in self.manifests],
                "annotations": dict(self.annotations) or None,
            }
        )


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """How an image wants to be run.

    `exposed_ports` are TCP ports. `diff_ids` are the digests of the uncompressed layers, lowest first. `created` is
    an RFC 3339 time or empty.
    """

    platform: Platform = Platform()
    diff_ids: tuple[Digest, ...] = ()
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    exposed_ports: tuple[int, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    created: str = ""

    def encode(self) -> bytes:
        """Write the configuration, the same bytes for the same value."""
        return canonical(
            {
                "architecture": self.platform.architecture,
                "os": self.platform.os,
                "variant": self.platform.variant or None,
                "created": self.created or None,
                "config": {
                    "User": self.user or None,
                    "Entrypoint": list(self.entrypoint) or None,
                    "Cmd": list(self.cmd) or None,
                    "Env": [f"{name}={value}" for name, value in self.environment.items()] or None,
                    "ExposedPorts": {f"{port}/tcp": {} for port in self.exposed_ports} or None,
                    "WorkingDir": self.working_dir or None,
                    "Labels": dict(self.labels) or None,
                    "Volumes": {path: {} for path in self.volumes} or None,
                    "StopSignal": self.stop_signal or None,
                },
                "rootfs": {"type": "layers", "diff_ids": [str(digest) for digest in self.diff_ids]},
            }
        )


@dataclass(frozen=True, slots=True)
class Inspected:
    """An image with its manifest and configuration."""

    image: Image
    manifest: Manifest
    config: ImageConfig


def parse_manifest(content: bytes, media_type: str = "", *, limit: int = MAX_MANIFEST) -> Manifest | Index:
    """Read a manifest or an index; raise Invalid.

    `media_type` is what its carrier called it, or empty. A document that could be read both ways, or that contradicts
    its carrier, is refused: two readers must never see two images in the same bytes (CVE-2021-41190).
    """
    document = Document.load(content, "the manifest", limit)
    if document.integer("schemaVersion") == 1 or document.has("fsLayers"):
        raise Invalid("the manifest has Docker's old schema 1", "push the image again with a current tool")
    is_index = document.has("manifests")
    if is_index and (document.has("layers") or document.has("config")):
        raise Invalid("the manifest is both an index and an image", "do not trust where it comes from")
    named = document.text("mediaType") or (media_type if media_type in MANIFEST_TYPES else "")
    if media_type in MANIFEST_TYPES and named != media_type:
        raise Invalid(f"the manifest says {named!r:.80} but was served as {media_type}", "push the image again")
    named = named or (OCI_INDEX if is_index else OCI_MANIFEST)
    if named not in MANIFEST_TYPES:
        raise Invalid(f"{named!r:.80} is no image manifest", "name a container image")
    if is_index != (named in _INDEX_TYPES):
        raise Invalid(f"the manifest says {named} but does not look like one", "push the image again")
    if is_index:
        entries = tuple(_descriptor(entry) for entry in document.objects("manifests"))
        return Index(entries, named, document.strings_by_name("annotations"))
    layers = document.objects("layers")
    if len(layers) > MAX_LAYERS:
        raise Invalid(f"the image has {len(layers)} layers", f"build it with at most {MAX_LAYERS}")
    return Manifest(
        config=_descriptor(document.member("config")),
        layers=tuple(_descriptor(layer) for layer in layers),
        media_type=named,
        annotations=document.strings_by_name("annotations"),
        artifact_type=document.text("artifactType"),
        subject=_descriptor(document.member("subject")) if document.has("subject") else None,
    )


def parse_config(content: bytes) -> ImageConfig:
    """Read an image's configuration; raise Invalid."""
    document = Document.load(content, "the image's configuration", MAX_CONFIG)
    run = document.member("config") if document.has("config") else Document({}, "the image's configuration")
    return ImageConfig(
        platform=_platform(document),
        diff_ids=tuple(Digest.parse(digest) for digest in document.member("rootfs").texts("diff_ids")),
        user=run.text("User"),
        entrypoint=run.texts("Entrypoint"),
        cmd=run.texts("Cmd"),
        environment=dict(_variable(variable) for variable in run.texts("Env")),
        exposed_ports=_tcp_ports(run.names("ExposedPorts")),
        working_dir=run.text("WorkingDir"),
        labels=run.strings_by_name("Labels"),
        volumes=run.names("Volumes"),
        stop_signal=run.text("StopSignal"),
        created=document.text("created"),
    )


def select(descriptors: Sequence[Descriptor], wanted: Platform, image: str) -> Descriptor:
    """Choose the manifest for the platform `wanted`; raise Invalid naming the platforms that `image` exists for.

    The same variant wins, then an older one that the wanted processor also runs. A manifest that names no platform is
    taken when no other fits: its configuration decides.
    """
    rated = [(_fit(entry.platform, wanted), entry) for entry in descriptors if entry.platform is not None]
    fitting = [(rate, entry) for rate, entry in rated if rate is not None]
    if fitting:
        return max(fitting, key=lambda pair: pair[0])[1]
    for entry in descriptors:
        if entry.platform is None and not entry.artifact_type:
            return entry
    offered = sorted({str(entry.platform) for _, entry in rated if entry.platform and entry.platform.os != "unknown"})
    raise wrong_platform(image, offered, wanted)


def wrong_platform(image: str, offered: Sequence[str], wanted: Platform) -> Invalid:
    """Say that `image` does not exist for the platform `wanted`."""
    return Invalid(
        f"image {image} exists for {', '.join(offered) or 'no platform'}, not {wanted}",
        f"push it for {wanted}, or deploy it where one of its platforms runs",
    )


def runs_on(platform: Platform, wanted: Platform) -> bool:
    """Say whether an image for `platform` runs where `wanted` is asked for."""
    return _fit(platform, wanted) is not None


def descriptor_json(descriptor: Descriptor) -> dict[str, object]:
    """Write a descriptor as the specification shapes it."""
    platform = descriptor.platform
    return {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
        "artifactType": descriptor.artifact_type or None,
        "annotations": dict(descriptor.annotations) or None,
        "platform": {
            "os": platform.os,
            "architecture": platform.architecture,
            "variant": platform.variant or None,
        }
        if platform
        else None,
    }


_DEFAULT_VARIANT = {"arm64": "v8", "arm": "v7"}


def _fit(offered: Platform | None, wanted: Platform) -> int | None:
    """Rate how well an image fits: None when it does not run, higher is better."""
    if offered is None or (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    default = _DEFAULT_VARIANT.get(wanted.architecture, "v1")
    has, may = _level(offered.variant or default), _level(wanted.variant or default)
    if has is None or may is None:
        return 0 if offered.variant == wanted.variant else None
    return has if has <= may else None


def _level(variant: str) -> int | None:
    return int(variant[1:]) if len(variant) == 2 and variant[0] == "v" and variant[1].isdecimal() else None


def _descriptor(entry: Document) -> Descriptor:
    size = entry.integer("size")
    if size < 0:
        raise Invalid(f"a descriptor has the size {size}", "push the image again")
    return Descriptor(
        media_type=entry.text("mediaType"),
        digest=Digest.parse(entry.text("digest")),
        size=size,
        platform=_platform(entry.member("platform")) if entry.has("platform") else None,
        annotations=entry.strings_by_name("annotations"),
        artifact_type=entry.text("artifactType"),
    )


def _platform(entry: Document) -> Platform:
    return Platform(entry.text("os"), entry.text("architecture"), entry.text("variant"))


def _variable(variable: str) -> tuple[str, str]:
    name, _, value = variable.partition("=")
    return name, value


def _tcp_ports(ports: Sequence[str]) -> tuple[int, ...]:
    """Read `8080`, `8080/tcp` and drop UDP; refuse what is no port."""
    found = set()
    for port in ports:
        number, _, protocol = port.partition("/")
        if not (number.isascii() and number.isdecimal() and len(number) <= 5 and 0 < int(number) < 65536):
            raise Invalid(f"the image exposes {port!r:.80}, which is no port", "build it with EXPOSE 8080")
        if protocol in ("", "tcp"):
            found.add(int(number))
    return tuple(sorted(found))
