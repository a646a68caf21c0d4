"""What a container touches is recorded, whether the store had it or not."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.service.agent.lazy_roots import MemorySource, content_of, digest_of, index_of, until

from naru.agent.exchange.pieces import Pieces
from naru.agent.index.index import CHUNK, Index
from naru.agent.mount import kernel, pages, support
from naru.agent.mount.recording import objects_of
from naru.agent.mount.roots import Roots
from naru.agent.mount.support import Mode
from naru.agent.objects import ObjectStore
from naru.agent.profile import Profile, Touched

pytestmark = pytest.mark.needs("lazy roots")

FILES = {f"usr/{name}": name.encode() * 100 for name in ("first", "second", "third", "fourth", "never")}
INDEX = index_of(FILES)


@pytest.fixture(params=list(Mode))
async def roots(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Roots]:
    """A node whose store has the second file and the fourth."""
    if reason := support.probe(tmp_path).reason(request.param):
        pytest.skip(f"this kernel does not allow the mode {request.param}: {reason}")
    store = ObjectStore(tmp_path / "store")
    store.save_index(INDEX)
    for name in ("usr/second", "usr/fourth"):
        store.put(digest_of(FILES[name]), FILES[name])
    for name in ("root", "upper", "work"):
        (tmp_path / name).mkdir()
    source = MemorySource.of(store, FILES)
    roots = await Roots.open(store, source, tmp_path / "roots", mode=request.param)
    try:
        await roots.add(INDEX)
        yield roots
    finally:
        await roots.unmount(tmp_path / "root", detach=True)
        await roots.destroy()
        store.close()


def digests(*names: str) -> tuple[bytes, ...]:
    return tuple(digest_of(FILES[f"usr/{name}"]) for name in names)


def opened(touched: Sequence[Touched]) -> tuple[bytes, ...]:
    return tuple(one.digest for one in touched)


async def test_missing_and_present_files_are_recorded_in_the_order_of_first_touch(roots: Roots, tmp_path: Path):
    await roots.mount(INDEX.image, tmp_path / "root")
    recording = await roots.record(INDEX.image, tmp_path / "root")

    for name in ("second", "first", "fourth", "second", "third"):
        await content_of(tmp_path / "root/usr" / name)

    assert opened(await recording.stop()) == digests("second", "first", "fourth", "third")


async def test_what_is_opened_in_another_mount_namespace_is_recorded(roots: Roots, tmp_path: Path):
    root = tmp_path / "root"
    await roots.mount(INDEX.image, root)
    recording = await roots.record(INDEX.image, root)
    script = f"mount --bind {root}/usr /mnt && cat /mnt/fourth"

    await asyncio.to_thread(subprocess.run, ["unshare", "-m", "sh", "-c", script], check=True, capture_output=True)

    assert opened(await recording.stop()) == digests("fourth")


async def test_a_recording_follows_the_overlay_that_an_engine_mounts_later(roots: Roots, tmp_path: Path):
    recording = await roots.record(INDEX.image)
    attached = asyncio.create_task(recording.attach_to(tmp_path / "upper"))
    mount = roots.overlay(INDEX.image, tmp_path / "upper", tmp_path / "work")

    await asyncio.to_thread(kernel.mount, mount, tmp_path / "root")
    assert await attached
    with await asyncio.to_thread((tmp_path / "root/usr/second").open, "ab") as file:  # copied up, and still the same
        file.write(b"more")
    await content_of(tmp_path / "root/usr/fourth")

    assert opened(await recording.stop()) == digests("second", "fourth")


async def test_a_recording_outlasts_the_mount_with_which_an_engine_looks_into_an_image(roots: Roots, tmp_path: Path):
    recording = await roots.record(INDEX.image)
    attached = asyncio.create_task(recording.attach_to(tmp_path / "upper"))
    mount = roots.overlay(INDEX.image, tmp_path / "upper", tmp_path / "work")
    brief, lasting = tmp_path / "root", tmp_path / "lasting"
    await asyncio.to_thread(lasting.mkdir)

    await asyncio.to_thread(kernel.mount, mount, brief)
    assert await attached
    await asyncio.to_thread(kernel.unmount, brief)
    await asyncio.to_thread(kernel.mount, mount, lasting)
    await until(lambda: len(recording._threads) >= 3)
    await content_of(lasting / "usr/third")

    assert opened(await recording.stop()) == digests("third")
    await asyncio.to_thread(kernel.unmount, lasting)


async def test_a_recording_can_be_stopped_while_it_waits_for_a_mount(roots: Roots, tmp_path: Path):
    recording = await roots.record(INDEX.image)
    attached = asyncio.create_task(recording.attach_to(tmp_path / "upper"))
    await asyncio.sleep(0)

    assert await recording.stop() == ()
    assert not await attached
    assert await recording.stop() == ()


async def test_a_container_is_not_kept_from_ending_by_its_recording(roots: Roots, tmp_path: Path):
    await roots.mount(INDEX.image, tmp_path / "root")
    recording = await roots.record(INDEX.image, tmp_path / "root")
    await content_of(tmp_path / "root/usr/fourth")

    async def unmounted() -> None:
        await until(lambda: not subprocess.run(["umount", str(tmp_path / "root")], capture_output=True).returncode)

    await unmounted()
    assert opened(await recording.stop()) == digests("fourth")


async def test_every_file_of_the_metadata_is_traced_to_its_object(roots: Roots, tmp_path: Path):
    meta = tmp_path / "roots" / "meta" / INDEX.image.removeprefix("sha256:")

    assert sorted(objects_of(meta).values()) == sorted(digest_of(content) for content in FILES.values())
    assert isinstance(INDEX, Index)


@pytest.fixture
def traced(big: Path) -> None:
    """Nothing, where the kernel tells of pages."""
    watching = pages.watch([big.stat().st_ino])
    if watching is None:
        pytest.skip("this kernel has no tracepoints of the page cache, or no tracefs")
    watching.close()


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A file of five chunks, outside of any image."""
    path = tmp_path / "big"
    with path.open("wb", buffering=0) as file:
        for _ in range(5 * CHUNK >> 18):
            file.write(os.urandom(1 << 18))
    return path


def touched_chunks(watching: pages.Pages, path: Path) -> set[int]:
    inode = path.stat().st_ino
    return {first // CHUNK for of, first, _ in watching.read() if of == inode}


@pytest.mark.usefixtures("traced")
async def test_pages_that_others_read_and_map_are_told_and_those_that_the_agent_reads_are_not(big: Path):
    watching = await asyncio.to_thread(lambda: pages.watch([big.stat().st_ino]))
    assert watching is not None
    program = (
        "import mmap, os, sys; file = os.open(sys.argv[1], os.O_RDONLY); size = 1 << 20;"
        "os.pread(file, 10, 3 * size + size // 2); mapped = mmap.mmap(file, 0, prot=mmap.PROT_READ);"
        "mapped[size + size // 2]"
    )
    try:
        await content_of(big)  # all of it is in memory from now on
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program, str(big)], check=True)

        assert touched_chunks(watching, big) == {1, 3}
    finally:
        watching.close()


def test_a_kernel_without_these_tracepoints_tells_of_no_pages(tmp_path: Path, big: Path):
    (tmp_path / "instances").mkdir()

    assert pages.watch([big.stat().st_ino], tmp_path) is None
    assert pages.watch([]) is None


@pytest.mark.usefixtures("traced")
async def test_of_a_big_file_the_chunks_that_are_touched_are_recorded(tmp_path: Path):
    if reason := support.probe(tmp_path).reason(Mode.READS):
        pytest.skip(f"this kernel has no lazy root file systems: {reason}")
    files = {"lib/here": os.urandom(4 * CHUNK), "lib/away": os.urandom(4 * CHUNK), "small": b"small"}
    index = index_of(files)
    store = ObjectStore(tmp_path / "store")
    store.save_index(index)
    assert store.add(iter([files["lib/here"]]), 4 * CHUNK).digest == digest_of(files["lib/here"])
    root = tmp_path / "root"
    root.mkdir()
    roots = await Roots.open(store, MemorySource.of(store, files), tmp_path / "roots")
    try:
        await roots.add(index)
        await roots.mount(index.image, root)
        recording = await roots.record(index.image, root)
        script = f"cat {root}/small; for f in away here; do dd if={root}/lib/$f bs=1k skip=2500 count=1; done"

        await asyncio.to_thread(subprocess.run, ["sh", "-c", script], check=True, capture_output=True)
        profile = Profile.of(index, await recording.stop())
    finally:
        await roots.unmount(root, detach=True)
        await roots.destroy()
        store.close()

    pieces = Pieces(index)
    listed = [pieces.piece(number) for number in profile.pieces(index)]
    assert {(one.object.digest, one.offset // CHUNK) for one in listed if not one.whole} == {
        (digest_of(files["lib/away"]), 2),
        (digest_of(files["lib/here"]), 2),
    }
    assert [one.digest for one in listed if one.whole] == [digest_of(files["small"])]
