"""Every piece has one lead, whoever computes it and whatever was computed before."""

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
