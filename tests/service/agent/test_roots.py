"""Lazy root file systems on the kernel that is here, in each mode that it allows."""

import asyncio
import errno
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.service.agent.lazy_roots import MemorySource, content_of, digest_of, index_of, until

from naru.agent.index.index import CHUNK
from naru.agent.mount import keeping, kernel, support
from naru.agent.mount.roots import Roots
from naru.agent.mount.server import BIG
from naru.agent.mount.support import Mode
from naru.agent.objects import ObjectStore
from naru.agent.source import Priority
from naru.domain.errors import Conflict, NotFound, Unavailable

pytestmark = pytest.mark.needs("lazy roots")

FILES = {"etc/name": b"naru\n", "bin/tool": b"#!/bin/sh\necho tool\n" * 500, "lib/same": b"naru\n"}
LAZY = [Mode.PASSTHROUGH, Mode.READS]


@pytest.fixture
def store(tmp_path: Path):
    store = ObjectStore(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture(params=LAZY)
def lazy(request: pytest.FixtureRequest, tmp_path: Path) -> Mode:
    return allowed(request.param, tmp_path)


def allowed(mode: Mode, place: Path) -> Mode:
    if mode not in (here := support.probe(place)).modes:
        pytest.skip(f"this kernel does not allow the mode {mode}: {here}")
    return mode


@asynccontextmanager
async def rooted(
    store: ObjectStore, source: MemorySource, place: Path, mode: Mode, files: dict[str, bytes], patience: float = 20.0
) -> AsyncIterator[tuple[Roots, Path]]:
    """A mounted, writable image, and what mounted it; afterwards nothing of it is left."""
    index = index_of(files)
    store.save_index(index)
    where, upper, work = (place / name for name in ("root", "upper", "work"))
    for directory in (where, upper, work):
        directory.mkdir(exist_ok=True)
    roots = await Roots.open(store, source, place / "roots", mode=mode, patience=patience)
    try:
        await roots.add(index)
        await roots.mount(index.image, where, upper, work)
        yield roots, where
    finally:
        await roots.destroy()
        assert [one for one in kernel.mounted() if one.where.is_relative_to(place)] == []


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_root_holds_the_files_of_its_image_in_every_mode(store, tmp_path, mode):
    source = MemorySource.of(store, FILES)

    async with rooted(store, source, tmp_path, allowed(mode, tmp_path), FILES) as (roots, root):
        assert {name: await content_of(root / name) for name in FILES} == FILES
        assert roots.mode is mode
        assert await asyncio.to_thread(subprocess.check_output, ["sh", root / "bin/tool"]) == b"tool\n" * 500
        assert all(store.has(digest_of(content)) for content in FILES.values())


async def test_an_object_is_fetched_once_however_many_open_it_at_once(store, tmp_path, lazy):
    source = MemorySource.of(store, FILES)
    source.open.clear()

    async with rooted(store, source, tmp_path, lazy, FILES) as (_, root):
        reads = [asyncio.create_task(content_of(root / name)) for name in ["etc/name", "lib/same"] for _ in range(4)]
        await until(lambda: source.asked)
        source.open.set()

        assert await asyncio.gather(*reads) == [b"naru\n"] * 8
        assert source.asked == [(digest_of(b"naru\n"), Priority.DEMAND)]


async def test_files_of_the_store_are_opened_without_asking_the_server(store, tmp_path, lazy):
    source = MemorySource.of(store)
    for content in FILES.values():
        store.put(digest_of(content), content)

    async with rooted(store, source, tmp_path, lazy, FILES) as (roots, root):
        await roots.close()

        assert await content_of(root / "etc/name") == b"naru\n"


async def test_a_fetch_that_fails_is_an_error_for_that_file_alone_and_is_tried_again(store, tmp_path, lazy):
    source = MemorySource.of(store, FILES)
    tool = digest_of(FILES["bin/tool"])
    source.failures[tool] = Unavailable("the site is cut off")

    async with rooted(store, source, tmp_path, lazy, FILES) as (_, root):
        with pytest.raises(OSError, match="Input/output") as raised:
            await content_of(root / "bin/tool")
        assert raised.value.errno == errno.EIO
        assert await content_of(root / "etc/name") == b"naru\n"

        source.failures.clear()
        assert await content_of(root / "bin/tool") == FILES["bin/tool"]


async def test_wrong_bytes_never_reach_a_reader(store, tmp_path, lazy):
    source = MemorySource.of(store, FILES)
    source.lies[digest_of(b"naru\n")] = b"NARU\n"

    async with rooted(store, source, tmp_path, lazy, FILES) as (_, root):
        with pytest.raises(OSError, match="Input/output"):
            await content_of(root / "etc/name")


@pytest.mark.parametrize("answer", [b"short", b""])
async def test_a_range_that_comes_short_is_an_error_and_no_zeros(store, tmp_path, lazy, answer):
    files = {"big": os.urandom(BIG + 3 * CHUNK)}
    source = MemorySource.of(store, files)
    source.lies[digest_of(files["big"])] = answer

    async with rooted(store, source, tmp_path, lazy, files) as (_, root):
        with pytest.raises(OSError, match="Input/output"):
            await content_of(root / "big")


async def test_a_disk_that_is_full_is_an_error_until_there_is_space(tmp_path, lazy):
    disk, node = tmp_path / "disk", tmp_path / "node"
    disk.mkdir()
    node.mkdir()
    kernel.mount(kernel.Mount("tmpfs", "tmpfs", ("size=1m",)), disk)
    store = ObjectStore(disk / "store")
    try:
        files = {"large": os.urandom(600_000), "small": b"small\n"}
        async with rooted(store, MemorySource.of(store, files), node, lazy, files) as (_, root):
            (disk / "filler").write_bytes(bytes(700_000))
            with pytest.raises(OSError, match="Input/output"):
                await content_of(root / "large")
            assert await content_of(root / "small") == b"small\n"

            (disk / "filler").unlink()
            assert await content_of(root / "large") == files["large"]
    finally:
        store.close()
        kernel.unmount(disk, detach=True)


async def test_many_open_many_files_at_once(store, tmp_path, lazy):
    files = {f"d{number % 7}/f{number}": b"%d\n" % number * 100 for number in range(600)}
    source = MemorySource.of(store, files)
    source.open.clear()

    async with rooted(store, source, tmp_path, lazy, files) as (roots, root):
        script = "for f in *; do cat $f & done; wait"
        readers = [
            await asyncio.create_subprocess_exec("sh", "-c", script, cwd=root / f"d{number}", stdout=subprocess.PIPE)
            for number in range(7)
        ]
        await until(lambda: roots.server.waiting > 500, 30)
        source.open.set()
        outs = [(await reader.communicate())[0] for reader in readers]

        assert sum(map(len, outs)) == sum(map(len, files.values()))
        assert len(source.asked) == len(files)


async def test_a_source_that_never_answers_ends_in_an_error(store, tmp_path, lazy):
    source = MemorySource.of(store, FILES)
    source.open.clear()

    async with rooted(store, source, tmp_path, lazy, FILES, patience=0.2) as (_, root):
        with pytest.raises(OSError, match="Input/output"):
            await content_of(root / "etc/name")


async def test_a_big_file_is_read_before_it_is_whole(store, tmp_path, lazy):
    files = {"big": os.urandom(BIG + 3 * CHUNK + 17)}
    source = MemorySource.of(store, files)
    source.failures[digest_of(files["big"])] = NotFound("not yet")

    async with rooted(store, source, tmp_path, lazy, files) as (_, root):
        with await asyncio.to_thread((root / "big").open, "rb") as file:
            source.failures.clear()
            await asyncio.to_thread(file.seek, -17, os.SEEK_END)
            assert await asyncio.to_thread(file.read) == files["big"][-17:]
            assert sum(length for _, length in source.ranges) < len(files["big"])
            await asyncio.to_thread(file.seek, 0)
            assert await asyncio.to_thread(file.read) == files["big"]


async def test_a_big_file_that_became_whole_is_read_from_the_store_by_those_who_had_it_open(store, tmp_path, lazy):
    files = {"big": os.urandom(BIG + CHUNK)}
    source = MemorySource.of(store, files)
    source.open.clear()

    async with rooted(store, source, tmp_path, lazy, files) as (_, root):
        with await asyncio.to_thread((root / "big").open, "rb") as early:
            await until(lambda: source.asked)
            source.open.set()
            await until(lambda: store.has(digest_of(files["big"])))
            assert await asyncio.to_thread(early.read) == files["big"]
            assert await content_of(root / "big") == files["big"]
        assert source.ranges == []
        assert await content_of(root / "big") == files["big"]


async def test_a_library_is_mapped_into_memory(store, tmp_path, lazy):
    files = {"small.so": os.urandom(40_000), "big.so": os.urandom(BIG + 9)}
    source = MemorySource.of(store, files)

    async with rooted(store, source, tmp_path, lazy, files) as (_, root):
        for name, content in files.items():
            assert await asyncio.to_thread(subprocess.check_output, ["python3", "-c", MAP, root / name]) == content


MAP = "import mmap, sys; f = open(sys.argv[1], 'rb'); sys.stdout.buffer.write(mmap.mmap(f.fileno(), 0, prot=1)[:])"


async def test_a_killed_reader_leaves_at_once_and_the_others_get_the_file(store, tmp_path, lazy):
    source = MemorySource.of(store, FILES)
    source.open.clear()

    async with rooted(store, source, tmp_path, lazy, FILES) as (roots, root):
        reader = await asyncio.create_subprocess_exec("cat", root / "etc/name", stdout=subprocess.DEVNULL)
        other = asyncio.create_task(content_of(root / "etc/name"))
        await until(lambda: roots.server.waiting == 2)

        reader.kill()

        assert await asyncio.wait_for(reader.wait(), 5) == -signal.SIGKILL
        source.open.set()
        assert await other == b"naru\n"


async def test_a_signal_that_does_not_kill_does_not_fail_the_open(store, tmp_path, lazy):
    source = MemorySource.of(store, FILES)
    source.open.clear()
    script = (
        "import signal,sys; signal.signal(signal.SIGUSR1, lambda *_: print('caught')); print(open(sys.argv[1]).read())"
    )

    async with rooted(store, source, tmp_path, lazy, FILES) as (roots, root):
        reader = await asyncio.create_subprocess_exec(
            "python3", "-c", script, str(root / "etc/name"), stdout=subprocess.PIPE
        )
        await until(lambda: roots.server.waiting == 1)
        reader.send_signal(signal.SIGUSR1)
        await until(lambda: roots.server.watching == 1)
        source.open.set()

        out, _ = await reader.communicate()
        assert out.split() == [b"caught", b"naru"]


async def test_eviction_does_not_disturb_readers_and_the_next_open_fetches_again(store, tmp_path, lazy):
    source = MemorySource.of(store, FILES)

    async with rooted(store, source, tmp_path, lazy, FILES) as (_, root):
        with await asyncio.to_thread((root / "bin/tool").open, "rb") as file:
            await asyncio.to_thread(store.path(digest_of(FILES["bin/tool"])).unlink)
            await asyncio.to_thread(Path("/proc/sys/vm/drop_caches").write_text, "3")

            assert await asyncio.to_thread(file.read) == FILES["bin/tool"]
            assert await content_of(root / "bin/tool") == FILES["bin/tool"]
        assert await content_of(root / "bin/tool") == FILES["bin/tool"]


async def test_a_file_is_written_to_after_its_content_was_fetched(store, tmp_path, lazy):
    source = MemorySource.of(store, FILES)

    async with rooted(store, source, tmp_path, lazy, FILES) as (_, root):
        with await asyncio.to_thread((root / "etc/name").open, "ab") as file:
            file.write(b"more\n")

        assert await content_of(root / "etc/name") == b"naru\nmore\n"
        assert await content_of(root / "lib/same") == b"naru\n"


async def test_names_that_no_image_has_do_not_exist(store, tmp_path, lazy):
    source = MemorySource.of(store, FILES)

    async with rooted(store, source, tmp_path, lazy, FILES):
        remote = tmp_path / "roots" / "remote"
        for name in ("zz", "ab/" + "0" * 62, "../" * 3 + "x", "0" * 64, digest_of(b"naru\n").hex()):
            assert not await asyncio.to_thread((remote / name).exists)


async def test_an_image_in_use_is_not_removed(store, tmp_path, lazy):
    source = MemorySource.of(store, FILES)

    async with rooted(store, source, tmp_path, lazy, FILES) as (roots, root):
        (image,) = roots.images()
        with pytest.raises(Conflict, match="stop what runs on it"):
            await roots.remove(image)

        await roots.unmount(root)
        await roots.remove(image)
        with pytest.raises(NotFound):
            roots.overlay(image)


async def test_two_images_share_one_tree_and_their_common_files(store, tmp_path, lazy):
    other = {"etc/name": b"naru\n", "etc/other": b"other\n"}
    source = MemorySource.of(store, FILES, other)

    async with rooted(store, source, tmp_path, lazy, FILES) as (roots, root):
        index = index_of(other)
        second = tmp_path / "second"
        second.mkdir()
        await roots.add(index)
        await roots.mount(index.image, second)

        assert await content_of(root / "etc/name") == await content_of(second / "etc/name") == b"naru\n"
        assert await content_of(second / "etc/other") == b"other\n"
        assert len(source.asked) == 2


async def test_a_keeper_that_was_killed_is_replaced_with_the_next_image(store, tmp_path, lazy):
    async with rooted(store, MemorySource.of(store, FILES), tmp_path, lazy, FILES) as (roots, _):
        path = tmp_path / "roots" / "keeper.sock"
        keeping.dismiss(path)
        assert keeping.recover(path) == []

        await roots.add(index_of({"another": b"image"}))

        held = keeping.recover(path)
        assert len(held) == 2
        for file in held:
            os.close(file)


async def test_a_tree_that_somebody_unmounted_is_mounted_again_with_the_next_image(store, tmp_path, lazy):
    other = {"etc/other": b"other\n"}
    async with rooted(store, MemorySource.of(store, FILES, other), tmp_path, lazy, FILES) as (roots, root):
        await roots.unmount(root)
        await asyncio.to_thread(kernel.unmount, tmp_path / "roots" / "remote", detach=True)
        await until(lambda: not roots.server.serving)
        index = index_of(other)

        await roots.add(index)
        await roots.mount(index.image, root)

        assert await content_of(root / "etc/other") == b"other\n"


async def test_a_directory_with_odd_letters_is_mounted(store, tmp_path, lazy):
    place = tmp_path / "a,b:c\\d e"
    place.mkdir()
    source = MemorySource.of(store, FILES)

    async with rooted(store, source, place, lazy, FILES) as (_, root):
        assert await content_of(root / "etc/name") == b"naru\n"


async def test_a_store_on_an_overlay_is_served_by_reads(tmp_path):
    """The kernel passes reads through to plain file systems only, and a container's disk is an overlay."""
    lower, upper, work, disk, node = (tmp_path / name for name in ("l", "u", "w", "disk", "node"))
    for directory in (lower, upper, work, disk, node):
        directory.mkdir()
    kernel.mount(kernel.overlay([lower], (), upper, work), disk)
    store = ObjectStore(disk / "store")
    try:
        here = support.probe(disk)
        if Mode.READS not in here.modes:
            pytest.skip(f"this kernel does not allow the mode reads: {here}")
        assert here.choose() is Mode.READS
        async with rooted(store, MemorySource.of(store, FILES), node, Mode.READS, FILES) as (_, root):
            assert {name: await content_of(root / name) for name in FILES} == FILES
    finally:
        store.close()
        kernel.unmount(disk, detach=True)
