"""What the agent asks of the kernel: which modes it allows, and mounts of metadata alone."""

import os
from pathlib import Path

import pytest
from tests.service.agent.lazy_roots import index_of

from naru.agent.mount import kernel, support
from naru.agent.mount.support import Mode
from naru.domain.errors import NotFound, Unavailable

pytestmark = pytest.mark.needs("lazy roots")

TOOL = b"#!/bin/sh\necho tool\n" * 500


def test_the_probe_names_reasons_and_leaves_nothing_behind(tmp_path):
    here = support.probe(tmp_path)

    assert here.modes or here.reason(Mode.EAGER)
    assert not [one for one in kernel.mounted() if one.where.is_relative_to(tmp_path)]
    assert list(tmp_path.iterdir()) == []


def test_metadata_is_mounted_through_a_loop_device_where_files_cannot_be(tmp_path):
    if not Path("/dev/loop-control").exists():
        pytest.skip("there are no loop devices here")
    image, where = tmp_path / "image", tmp_path / "where"
    where.mkdir()
    image.write_bytes(index_of({"bin/tool": TOOL, "lib/same": b"naru\n"}).meta)

    kernel.mount_through_loop(image, where)
    try:
        assert {file.name for file in where.iterdir()} == {"bin", "lib"}
        assert (where / "bin/tool").stat().st_size == len(TOOL)
    finally:
        kernel.unmount(where)
    assert where not in [one.where for one in kernel.mounted()]


def test_a_mount_that_fails_says_why_and_what_to_do(tmp_path):
    with pytest.raises(NotFound, match="see that the directories in the options exist"):
        kernel.mount(kernel.overlay([tmp_path / "no"], [tmp_path / "where"]), tmp_path)
    with pytest.raises(Unavailable, match="does not mount erofs of "):
        kernel.mount_erofs(Path("/proc/version"), tmp_path)


@pytest.mark.parametrize("length", range(1, 6))
def test_no_content_stays_in_the_metadata_whatever_lengths_the_names_have(tmp_path, length):
    image, where = tmp_path / "image", tmp_path / "where"
    where.mkdir()
    image.write_bytes(index_of({"a" * length: b"first", "b": b"second"}).meta)

    kernel.mount_erofs(image, where)
    try:
        for file in where.iterdir():
            assert os.getxattr(file, "trusted.overlay.metacopy") == b""
            assert os.getxattr(file, "trusted.overlay.redirect")
    finally:
        kernel.unmount(where)
