"""What a registry asks for, read from its header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naru.oci.challenge import Basic, Bearer, parse_challenge


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        ('Basic realm="tests"', Basic()),
        ("basic", Basic()),
        (
            'Bearer realm="https://a.example/t",service="s",scope="repository:x:pull,push"',
            Bearer("https://a.example/t", "s", "repository:x:pull,push"),
        ),
        ("bearer realm=https", Bearer("https")),
        ('Bearer realm="https://a.example/t", error="invalid_token" , service=s', Bearer("https://a.example/t", "s")),
        ('Basic realm="one, two", Bearer realm="https://a.example/t"', Bearer("https://a.example/t")),
        ('Negotiate, Basic realm="x"', Basic()),
        ('Digest realm="x", nonce="y", Basic realm="x"', Basic()),
        (r'Bearer realm="https://a.example/\"t"', Bearer('https://a.example/"t')),
        ("Bearer", None),
        ('Bearer service="x"', None),
        ("", None),
        ('"', None),
    ],
)
def test_the_strongest_challenge_we_can_answer_is_chosen(header, challenge):
    assert parse_challenge(header) == challenge


@given(st.text(max_size=200))
def test_any_header_is_read(header):
    parse_challenge(header)
    parse_challenge("Bearer " + header)


def test_a_long_header_is_read_in_no_time():
    assert parse_challenge("Bearer " + 'a="' * 100_000) is None
    assert parse_challenge("a " * 100_000) is None
