"""An index of a real tree, read by the kernel: every attribute and byte is what tar extracts."""

import asyncio
import gzip
import hashlib
import os
import random
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard

from naru.agent.index.derive import Blobs, derive
from naru.agent.index.index import CHUNK, Index
from naru.agent.objects import ObjectStore
from naru.domain.errors import Invalid
from naru.domain.image import Image, Origin, Platform
from naru.oci.manifest import OCI_CONFIG, OCI_LAYER, Descriptor, ImageConfig, Inspected, Manifest
from naru.oci.reference import Digest

pytestmark = pytest.mark.needs("lazy roots")


def image_of(*layers: tuple[bytes, bytes]) -> tuple[Inspected, Blobs]:
    """An image of layers, each as stored and as unpacked, and where its blobs come from."""
    stored = {Digest.of(blob): blob for blob, _ in layers}
    manifest = Manifest(
        Descriptor(OCI_CONFIG, Digest.of(b""), 0),
        tuple(Descriptor(OCI_LAYER, Digest.of(blob), len(blob)) for blob, _ in layers),
    )
    image = Image("r/i:1", str(Digest.of(manifest.encode())), str(Digest.of(b"")), Platform(), Origin.STORED, 0)
    config = ImageConfig(diff_ids=tuple(Digest.of(plain) for _, plain in layers))

    async def blobs(layer: Descriptor) -> AsyncIterator[bytes]:
        content = stored[layer.digest]
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]

    return Inspected(image, manifest, config), blobs


def index_of(store: ObjectStore, *layers: tuple[bytes, bytes]) -> Index:
    inspected, blobs = image_of(*layers)
    return asyncio.run(derive(inspected, blobs, store))


@contextmanager
def mounted(index: Index, store: ObjectStore, place: Path) -> Iterator[Path]:
    """Mount the metadata over the store, as an agent does."""
    image, meta, root = place / "image", place / "meta", place / "root"
    image.write_bytes(index.meta)
    meta.mkdir()
    root.mkdir()
    options = f"ro,lowerdir={meta}::{store.objects},metacopy=on,redirect_dir=follow"
    run("mount", "-t", "erofs", "-o", "ro,loop", str(image), str(meta))
    try:
        run("mount", "-t", "overlay", "-o", options, "overlay", str(root))
        try:
            yield root
        finally:
            run("umount", str(root))
    finally:
        run("umount", str(meta))


def run(*command: str) -> bytes:
    return subprocess.run(command, check=True, capture_output=True).stdout


def packed(tree: Path) -> bytes:
    return run("tar", "-C", str(tree), "--format=pax", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-c", ".")


def described(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Everything that can be asked about every file."""
    found = {}
    todo = [os.fsencode(root)]
    while todo:
        path = todo.pop()
        status = os.lstat(path)
        content: object = None
        match stat.S_IFMT(status.st_mode):
            case stat.S_IFDIR:
                todo += [os.path.join(path, name) for name in os.listdir(path)]
            case stat.S_IFLNK:
                content = os.readlink(path)
            case stat.S_IFREG:
                content = hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest()
        names = sorted(os.listxattr(path, follow_symlinks=False))
        found[os.path.relpath(path, os.fsencode(root))] = (
            oct(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            status.st_nlink,
            status.st_rdev,
            None if stat.S_ISDIR(status.st_mode) else status.st_size,
            [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names],
            content,
        )
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with one of everything."""
    root, some = tmp_path / "tree", random.Random(4)
    (root / "etc").mkdir(parents=True)
    for size in (0, 1, 4095, 4096, 4097, CHUNK, CHUNK + 1, 3 * CHUNK + 17):
        (root / "etc" / f"file-{size}").write_bytes(some.randbytes(size))
    (root / "etc" / "setuid").write_bytes(b"#!/bin/sh\n")
    os.chown(root / "etc" / "setuid", 70_000, 65_536)
    (root / "etc" / "setuid").chmod(0o4755)
    (root / "etc" / "linked").write_bytes(b"linked")
    (root / "elsewhere").mkdir(mode=0o1777)
    for name in ("one", "two"):
        os.link(root / "etc" / "linked", root / "elsewhere" / name)
    for length in (1, 60, 3900, 4095):
        (root / "etc" / f"symlink-{length}").symlink_to(
            "/".join(["x"] * ((length + 1) // 2))[:length].ljust(length, "y")
        )
    os.mknod(root / "etc" / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(root / "etc" / "disk", 0o600 | stat.S_IFBLK, os.makedev(259, 70_000))
    os.mkfifo(root / "etc" / "fifo")
    (root / "many").mkdir()
    for number in range(700):
        (root / "many" / f"{'long-' * (number % 40)}{number}").write_bytes(b"%d" % (number % 50))
    (root / "empty").mkdir(mode=0o700)
    Path(os.fsdecode(bytes(root) + b"/caf\xe9")).write_bytes(b"latin")
    (root / ("n" * 255)).write_bytes(b"long")
    for name, value in (
        ("user.a", b"1"),
        ("user.empty", b""),
        ("trusted.b", bytes(range(256))),
        ("user.big", bytes(2000)),
    ):
        os.setxattr(root / "etc" / "file-4096", name, value)
    os.setxattr(root / "etc" / "setuid", "user.a", b"1")
    os.setxattr(root / "empty", "user.a", b"1")
    # security.capability, version 2, CAP_NET_BIND_SERVICE permitted and effective
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(root / "etc" / "file-1", "security.capability", capability)
    for number, path in enumerate(sorted(root.rglob("*"))):
        os.utime(path, ns=(0, 1_600_000_000_123_456_789 + number * 10**9), follow_symlinks=False)
    os.utime(root / "etc" / "file-1", ns=(0, 7))
    return root


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    opened = ObjectStore(tmp_path / "store")
    yield opened
    opened.close()


def compressed(plain: bytes, how: str) -> bytes:
    match how:
        case "gzip":
            return gzip.compress(plain, 1)
        case "zstd":
            return zstandard.compress(plain)
        case _:
            return plain


@pytest.mark.parametrize("how", ["gzip", "zstd", "plain"])
def test_the_kernel_sees_what_tar_packed(tree: Path, store: ObjectStore, tmp_path: Path, how: str) -> None:
    plain = packed(tree)
    index = index_of(store, (compressed(plain, how), plain))

    with mounted(index, store, tmp_path) as root:
        assert described(root) == described(tree)

    assert store.index(index.image) == index
    assert not store.missing(obj.digest for obj in index.objects)


@pytest.mark.needs("fsck.erofs")
def test_fsck_finds_nothing_wrong(tree: Path, store: ObjectStore, tmp_path: Path) -> None:
    plain = packed(tree)
    (tmp_path / "image").write_bytes(index_of(store, (plain, plain)).meta)

    run("fsck.erofs", str(tmp_path / "image"))


def test_equal_trees_have_equal_indexes_however_they_are_packed(tree: Path, store: ObjectStore) -> None:
    plain = packed(tree)
    names = sorted(os.listdir(tree), reverse=True)
    other = run(
        "tar", "-C", str(tree), "--format=pax", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-c",
        "--no-recursion", ".", "--recursion", *(f"./{name}" for name in names),
    )  # fmt: skip

    first, second = index_of(store, (plain, plain)), index_of(store, (other, other))

    assert (first.meta, first.objects) == (second.meta, second.objects)


def test_whiteouts_and_replacements_are_seen_merged(tmp_path: Path, store: ObjectStore) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for path in ("a/x", "a/y", "b/z", "c", "d/e/f"):
        (lower / path).parent.mkdir(parents=True, exist_ok=True)
        (lower / path).write_text(f"lower {path}")
    for path in ("a/.wh.x", "b/.wh..wh..opq", "b/new", "c/now-a-directory", ".wh.d"):
        (upper / path).parent.mkdir(parents=True, exist_ok=True)
        (upper / path).write_text(f"upper {path}")
    layers = [(plain, plain) for plain in (packed(lower), packed(upper))]

    with mounted(index_of(store, *layers), store, tmp_path) as root:
        found = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}

    assert found == {"a/y": "lower a/y", "b/new": "upper b/new", "c/now-a-directory": "upper c/now-a-directory"}


def test_what_the_store_lacks_cannot_be_read(tmp_path: Path, store: ObjectStore) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"content")
    plain = packed(tree)
    index = index_of(store, (plain, plain))
    store.path(index.objects[0].digest).unlink()

    with mounted(index, store, tmp_path) as root, pytest.raises(OSError, match="file"):
        (root / "file").read_bytes()


@pytest.mark.parametrize("what", ["blob", "diff id", "cut", "longer"])
def test_layers_that_are_not_what_they_claim_are_refused(tmp_path: Path, store: ObjectStore, what: str) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(bytes(3 * CHUNK))
    plain = packed(tmp_path / "tree")
    inspected, blobs = image_of((gzip.compress(plain, 1), plain if what != "diff id" else b"other"))

    async def tampered(layer: Descriptor) -> AsyncIterator[bytes]:
        content = b"".join([part async for part in blobs(layer)])
        match what:
            case "blob":
                yield gzip.compress(plain, 2)
            case "cut":
                yield content[:-30]
            case "longer":
                yield content + b"more"
            case _:
                yield content

    with pytest.raises(Invalid):
        asyncio.run(derive(inspected, tampered, store))
    assert store.indexes() == []


def test_a_source_that_stalls_can_be_left(store: ObjectStore) -> None:
    plain = bytes(1024)
    inspected, _ = image_of((plain, plain))

    async def stalled(layer: Descriptor) -> AsyncIterator[bytes]:
        yield plain[:512]
        await asyncio.Event().wait()

    async def given_up() -> None:
        async with asyncio.timeout(0.2):
            await derive(inspected, stalled, store)

    with pytest.raises(TimeoutError):
        asyncio.run(given_up())
