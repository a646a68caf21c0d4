"""Which mode follows from what works."""

import pytest

from naru.agent.mount.support import Mode, Support
from naru.domain.errors import Unavailable

ALL = Support("", "", "")


def test_the_best_mode_that_works_is_chosen():
    assert ALL.choose() is Mode.PASSTHROUGH
    assert Support("", "", "none").choose() is Mode.READS
    assert Support("", "no /dev/fuse", "none").choose() is Mode.EAGER


def test_a_mode_can_be_forced_where_it_works():
    assert ALL.choose(Mode.EAGER) is Mode.EAGER
    with pytest.raises(Unavailable, match="passthrough does not work here: no passthrough; use reads"):
        Support("", "", "no passthrough").choose(Mode.PASSTHROUGH)


def test_a_kernel_without_data_only_layers_is_told_what_to_do_instead():
    with pytest.raises(Unavailable, match="mirror"):
        Support("too old", "", "").choose()
