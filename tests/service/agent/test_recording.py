"""What a container touches is recorded, whether the store had it or not."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.service.agent.lazy_roots import MemorySource, content_of, digest_of, index_of, until

from naru.agent.index.index import Index
from naru.agent.mount import kernel, support
from naru.agent.mount.recording import objects_of
from naru.agent.mount.roots import Roots
from naru.agent.mount.support import Mode
from naru.agent.objects import ObjectStore

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


async def test_missing_and_present_files_are_recorded_in_the_order_of_first_touch(roots: Roots, tmp_path: Path):
    await roots.mount(INDEX.image, tmp_path / "root")
    recording = await roots.record(INDEX.image, tmp_path / "root")

    for name in ("second", "first", "fourth", "second", "third"):
        await content_of(tmp_path / "root/usr" / name)
    profile = await recording.stop()

    assert profile.objects(INDEX) == digests("second", "first", "fourth", "third")


async def test_what_is_opened_in_another_mount_namespace_is_recorded(roots: Roots, tmp_path: Path):
    root = tmp_path / "root"
    await roots.mount(INDEX.image, root)
    recording = await roots.record(INDEX.image, root)
    script = f"mount --bind {root}/usr /mnt && cat /mnt/fourth"

    await asyncio.to_thread(subprocess.run, ["unshare", "-m", "sh", "-c", script], check=True, capture_output=True)
    profile = await recording.stop()

    assert profile.objects(INDEX) == digests("fourth")


async def test_a_recording_follows_the_overlay_that_an_engine_mounts_later(roots: Roots, tmp_path: Path):
    recording = await roots.record(INDEX.image)
    attached = asyncio.create_task(recording.attach_to(tmp_path / "upper"))
    mount = roots.overlay(INDEX.image, tmp_path / "upper", tmp_path / "work")

    await asyncio.to_thread(kernel.mount, mount, tmp_path / "root")
    assert await attached
    with await asyncio.to_thread((tmp_path / "root/usr/second").open, "ab") as file:  # copied up, and still the same
        file.write(b"more")
    await content_of(tmp_path / "root/usr/fourth")

    assert (await recording.stop()).objects(INDEX) == digests("second", "fourth")


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

    assert (await recording.stop()).objects(INDEX) == digests("third")
    await asyncio.to_thread(kernel.unmount, lasting)


async def test_a_recording_can_be_stopped_while_it_waits_for_a_mount(roots: Roots, tmp_path: Path):
    recording = await roots.record(INDEX.image)
    attached = asyncio.create_task(recording.attach_to(tmp_path / "upper"))
    await asyncio.sleep(0)

    assert (await recording.stop()).touches == ()
    assert not await attached
    assert (await recording.stop()).touches == ()


async def test_a_container_is_not_kept_from_ending_by_its_recording(roots: Roots, tmp_path: Path):
    await roots.mount(INDEX.image, tmp_path / "root")
    recording = await roots.record(INDEX.image, tmp_path / "root")
    await content_of(tmp_path / "root/usr/fourth")

    async def unmounted() -> None:
        await until(lambda: not subprocess.run(["umount", str(tmp_path / "root")], capture_output=True).returncode)

    await unmounted()
    assert (await recording.stop()).objects(INDEX) == digests("fourth")


async def test_every_file_of_the_metadata_is_traced_to_its_object(roots: Roots, tmp_path: Path):
    meta = tmp_path / "roots" / "meta" / INDEX.image.removeprefix("sha256:")

    assert sorted(objects_of(meta).values()) == sorted(digest_of(content) for content in FILES.values())
    assert isinstance(INDEX, Index)
