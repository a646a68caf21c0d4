"""Images for tests, assembled from a static busybox: no registry, no build, the same bytes every time.

`busybox_image(path)` writes a docker-archive file. Its web server answers on port 8080 with `body`; the CGI program
`/cgi-bin/health` answers 200, or 500 once the file `/tmp/sick` exists.
"""

import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from naru.domain.image import Image, Origin, Platform

BUSYBOX = Path("/bin/busybox")
SERVE = ("/bin/httpd", "-f", "-p", "8080", "-h", "/www")
_TOOLS = (
    "cat",
    "dd",
    "echo",
    "env",
    "false",
    "head",
    "httpd",
    "id",
    "kill",
    "ls",
    "mkdir",
    "nc",
    "ps",
    "rm",
    "sed",
    "seq",
    "sh",
    "sleep",
    "stat",
    "touch",
    "tr",
    "true",
    "wc",
    "wget",
)
_HEALTH = """#!/bin/sh
[ -e /tmp/sick ] && printf 'Status: 500 Internal Server Error\\r\\n'
printf 'Content-Type: text/plain\\r\\n\\r\\n'
[ -e /tmp/sick ] && echo sick || echo well
"""


def busybox_image(
    archive: Path, *, reference: str = "naru-test/busybox:1", body: str = "hello\n", command: tuple[str, ...] = SERVE
) -> Image:
    """Write the image to `archive` and return it; different bodies give different digests."""
    layer, config, manifest = _parts(body, command)
    name = _digest(config).removeprefix("sha256:")
    index = [{"Config": f"{name}.json", "RepoTags": [reference], "Layers": [f"{name}.tar"]}]
    with tarfile.open(archive, "w") as tar:
        _add(tar, "manifest.json", json.dumps(index).encode())
        _add(tar, f"{name}.json", config)
        _add(tar, f"{name}.tar", layer)
    return Image(
        reference=reference,
        digest=_digest(manifest),
        config_digest=_digest(config),
        platform=Platform("linux", _architecture()),
        origin=Origin.STORED,
        size=len(layer),
    )


def busybox_layout(
    archive: Path,
    repository: str,
    *,
    tag: str = "1",
    body: str = "hello\n",
    command: tuple[str, ...] = SERVE,
    programs: Sequence[str] = (),
) -> Image:
    """Write the same image as an OCI layout that containerd imports under its tag and its digest, and return it.

    With some of this machine's own programs, and the libraries that they take.
    """
    blobs = _parts(body, command, programs)
    manifest = blobs[-1]
    names = (f"{repository}:{tag}", f"{repository}@{_digest(manifest)}")
    entries = [
        {
            **_descriptor("application/vnd.oci.image.manifest.v1+json", manifest),
            "annotations": {"io.containerd.image.name": name},
        }
        for name in names
    ]
    with tarfile.open(archive, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
        for blob in blobs:
            _add(tar, f"blobs/{_digest(blob).replace(':', '/')}", blob)
    platform = Platform("linux", _architecture())
    return Image(names[0], _digest(manifest), _digest(blobs[1]), platform, Origin.REGISTRY, size=len(blobs[0]))


def _parts(body: str, command: tuple[str, ...], programs: Sequence[str] = ()) -> tuple[bytes, bytes, bytes]:
    """Make the layer, the configuration and the manifest."""
    layer = _layer(body, programs)
    config = json.dumps(
        {
            "architecture": _architecture(),
            "os": "linux",
            "config": {"Cmd": list(command), "Env": ["PATH=/bin"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    ).encode()
    return layer, config, manifest


def _layer(body: str, programs: Sequence[str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("www", 0o755), ("www/cgi-bin", 0o755)):
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        _add(tar, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
        for tool in _TOOLS:
            entry = tarfile.TarInfo(f"bin/{tool}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
        _add(tar, "www/index.html", body.encode())
        _add(tar, "www/cgi-bin/health", _HEALTH.encode(), 0o755)
        for path in sorted({library for program in programs for library in _taken_by(program)}):
            _add(tar, path.lstrip("/"), Path(path).read_bytes(), 0o755)
    return out.getvalue()


def _taken_by(program: str) -> list[str]:
    """The program itself, and the libraries that the loader would give it."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [program, *re.findall(r"(/\S+) \(0x", told)]


def _add(tar: tarfile.TarFile, path: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
