"""Every piece has one lead, whoever computes it and whatever was computed before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.agent.exchange.leads import Leads, lead

NAMES = st.frozensets(st.sampled_from(["a", "b", "edge-1", "edge-10", "edge-2", "é" * 70]), min_size=1)


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=20), st.lists(NAMES, min_size=1, max_size=4))
def test_a_piece_is_led_by_the_member_that_its_key_names(keys: list[bytes], sites: list[frozenset[str]]) -> None:
    leads = Leads(keys, "image")

    for members in sites:
        led, of_the_image = leads.among(members)

        assert [[name for name in led if led[name] >> n & 1] for n in range(len(keys))] == [
            [lead(key, sorted(members))] for key in keys
        ]
        assert of_the_image == lead(b"image", sorted(members))


@pytest.mark.parametrize("members", [1, 2, 7, 40])
def test_leads_are_shared_fairly_and_change_little(members: int) -> None:
    keys = tuple(n.to_bytes(4, "big") for n in range(4000))
    leads = Leads(keys, "image")
    names = frozenset(f"n{n}" for n in range(members))
    led, _ = leads.among(names)
    assert sum(one.bit_count() for one in led.values()) == 4000
    assert max(one.bit_count() for one in led.values()) < 1.6 * 4000 / members + 1
    fewer, _ = leads.among(names - {"n0"}) if members > 1 else ({}, "")
    for name, pieces in fewer.items():
        assert led[name] & ~pieces == 0
