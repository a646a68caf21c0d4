"""Which mode follows from what works."""

from dataclasses import replace

import pytest

from naru.agent.mount.support import Mode, Support
from naru.domain.errors import Unavailable

ALL = Support("", "", "", "", "")


def test_the_best_mode_that_works_is_chosen():
    assert ALL.choose() is Mode.PASSTHROUGH
    assert replace(ALL, passthrough="none").choose() is Mode.READS
    assert replace(ALL, fuse="no /dev/fuse").choose() is Mode.EAGER


def test_a_mode_can_be_forced_where_it_works():
    assert ALL.choose(Mode.EAGER) is Mode.EAGER
    with pytest.raises(Unavailable, match="passthrough does not work here: no passthrough; use reads"):
        replace(ALL, passthrough="no passthrough").choose(Mode.PASSTHROUGH)


def test_a_kernel_without_data_only_layers_is_told_what_to_do_instead():
    with pytest.raises(Unavailable, match="mirror"):
        replace(ALL, data_only="too old").choose()


def test_a_loop_device_serves_where_files_cannot_be_mounted():
    assert replace(ALL, file_backed="Block device required").choose() is Mode.PASSTHROUGH
