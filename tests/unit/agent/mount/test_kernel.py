"""Mounts as values, and what the kernel says is mounted."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from naru.agent.mount import kernel
from naru.agent.mount.kernel import Mounted

paths = st.text(st.characters(codec="ascii", exclude_characters="\n\0"), min_size=1).map(lambda name: Path("/a", name))


def test_an_overlay_names_its_data_layers_after_double_colons():
    mount = kernel.overlay([Path("/meta")], [Path("/store"), Path("/remote")], Path("/u"), Path("/w"))

    assert (mount.type, mount.source) == ("overlay", "overlay")
    assert mount.options == (
        "lowerdir=/meta::/store::/remote",
        "upperdir=/u",
        "workdir=/w",
        "metacopy=on",
        "redirect_dir=on",
    )


def test_an_overlay_without_an_upper_layer_is_read_only():
    assert "ro" in kernel.overlay([Path("/meta")], [Path("/store")]).options


@given(paths, paths)
def test_layers_are_read_back_from_mountinfo_whatever_letters_they_have(meta, store):
    options = ",".join(("rw", *kernel.overlay([meta], [store]).options))
    shown = "".join(f"\\{ord(letter):03o}" if letter in " \t\\#" else letter for letter in options)

    (mounted,) = kernel.mounted(f"50 27 0:41 / /root\\040dir rw - overlay overlay {shown}")

    assert mounted.where == Path("/root dir")
    assert kernel.lowers(mounted) == (meta, store)


def test_mountinfo_with_and_without_optional_fields_is_understood():
    text = "22 27 0:20 / /sys rw,nosuid shared:7 master:1 - sysfs sysfs rw\n"
    text += "45 27 0:40 / /r ro - fuse.naru naru ro,user_id=0\n"

    assert kernel.mounted(text) == (
        Mounted(Path("/sys"), "sysfs", "sysfs", ("rw",)),
        Mounted(Path("/r"), "fuse.naru", "naru", ("ro", "user_id=0")),
    )


def test_newer_kernels_may_list_layers_one_by_one():
    line = "5 2 0:4 / /r rw - overlay overlay ro,lowerdir+=/meta,datadir+=/store,datadir+=/re:mote"

    assert kernel.lowers(kernel.mounted(line)[0])[:2] == (Path("/meta"), Path("/store"))
