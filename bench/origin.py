"""What measures of distribution carry: a real image, and the registry that it comes from.

The image is Debian with Python and NumPy; it is ready when NumPy is imported and HTTP answers 200.
"""

import asyncio
import gzip
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tests.fleets import Host
from tests.layered import base, push

from bench.measures import Absent
from naru.oci.build import File, layer
from naru.oci.exchange import Exchange
from naru.oci.manifest import OCI_CONFIG, OCI_LAYER, ImageConfig, Manifest
from naru.oci.reference import Digest, Reference
from naru.oci.registry import RegistryClient

PORT = 8080
REGISTRY_PORT = 5000
SECURE_PORT = 5443
REPOSITORY = "bench/numpy"
PAUSE = "bench/pause:1"
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
PACKAGES = "python3-numpy,gcc"
"""NumPy is what the service uses; the compiler makes the image as large as images of this kind are."""

SERVICE = b"""import numpy
from http.server import BaseHTTPRequestHandler, HTTPServer


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(numpy.arange(10).sum()).encode())

    def log_message(self, *_):
        pass


HTTPServer(("", 8080), Answer).serve_forever()
"""


def root() -> Path:
    """Return a Debian root with Python and NumPy, made once and kept in the user's cache."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "naru", "bench-root")
    if not (kept / "complete").exists():
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        made = subprocess.run(
            ("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(kept / "root")),
            capture_output=True,
        )
        if made.returncode:
            raise Absent(f"debootstrap failed: {made.stdout.decode(errors='replace').splitlines()[-1:]}")
        for archive in (kept / "root/var/cache/apt/archives").glob("*.deb"):
            archive.unlink()
        (kept / "complete").touch()
    return kept / "root"


async def publish(storage: Path, tag: str, changed: Iterable[tuple[str, bytes]] = ()) -> Digest:
    """Put the image into a registry's storage, with the files `changed` on top; return its digest."""
    files = [File("/srv/service.py", SERVICE), *(File(path, content) for path, content in changed)]
    with tempfile.TemporaryDirectory(prefix="naru-bench-") as scratch, registry(storage) as address:
        await push(Path(scratch, "pause"), f"{address}/{PAUSE}", [base()], "/bin/sleep", "1000000")
        named = Reference.parse(f"{address}/{REPOSITORY}:{tag}")
        async with RegistryClient(Exchange(insecure=(address,))) as client:
            layers, diff_ids = [], []
            for number, chunks in enumerate((_tar(root()), layer(files, CREATED))):
                path = Path(scratch, str(number))
                diff_ids.append(await asyncio.to_thread(_compressed, chunks, path))
                layers.append(replace(await client.push_blob(named, path), media_type=f"{OCI_LAYER}+gzip"))
            config = ImageConfig(
                diff_ids=tuple(diff_ids), entrypoint=("/usr/bin/python3", "/srv/service.py"), exposed_ports=(PORT,)
            )
            described = replace(await client.push_blob(named, config.encode()), media_type=OCI_CONFIG)
            manifest = Manifest(described, tuple(layers))
            return (await client.push_manifest(named, manifest)).digest


@contextmanager
def registry(storage: Path, host: Host | None = None, key: Path | None = None) -> Iterator[str]:
    """Run Debian's registry over `storage`, on a host or here on loopback; gives its address.

    With `key`, a file with a certificate and its key, it speaks TLS, and may run beside one that does not.
    """
    address = f"{host.address if host else '127.0.0.1'}:{SECURE_PORT if key else REGISTRY_PORT}"
    storage.mkdir(parents=True, exist_ok=True)
    config = storage.with_suffix(".secure.yml" if key else ".yml")
    tls = f", tls: {{certificate: {key}, key: {key}}}" if key else ""
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{address}'{tls}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {storage}}}}}\n"
    )
    words = ("docker-registry", "serve", str(config))
    with storage.with_suffix(".log").open("ab") as log:
        server = subprocess.Popen(host.command(*words) if host else words, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 10
        probe = (
            "python3",
            "-c",
            f"import socket; socket.create_connection(('{address.split(':')[0]}', {address.split(':')[1]}), 1)",
        )
        while subprocess.run(host.command(*probe) if host else probe, capture_output=True).returncode:
            if server.poll() is not None or time.monotonic() > deadline:
                raise Absent("the registry did not come up")
            time.sleep(0.05)
        yield address
    finally:
        server.terminate()
        server.wait(10)


def layers(storage: Path, tag: str) -> list[Path]:
    """Return the files of an image's layers as the registry has them."""
    blobs = storage / "docker/registry/v2/blobs/sha256"
    link = storage / f"docker/registry/v2/repositories/{REPOSITORY}/_manifests/tags/{tag}/current/link"

    def blob(digest: str) -> Path:
        name = digest.removeprefix("sha256:")
        return blobs / name[:2] / name / "data"

    manifest = json.loads(blob(link.read_text().strip()).read_text())
    return [blob(layer["digest"]) for layer in manifest["layers"]]


def _compressed(chunks: Iterable[bytes], path: Path) -> Digest:
    """Write a layer as images have them and return the digest of its uncompressed bytes."""
    with gzip.GzipFile(path, "wb", compresslevel=6, mtime=0) as file:

        def passed() -> Iterator[bytes]:
            for chunk in chunks:
                file.write(chunk)
                yield chunk

        return Digest.of_stream(passed())


def _tar(folder: Path) -> Iterator[bytes]:
    """Give a directory as an uncompressed tar, sorted, without times of the moment."""
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(folder.rglob("*")):
                tar.add(path, arcname=str(path.relative_to(folder)), recursive=False)
        file.seek(0)
        while chunk := file.read(1 << 20):
            yield chunk
