"""What a torrent says of a file."""

import hashlib
from pathlib import Path

import pytest
from bench.bittorrent import PIECE, Value, bencoded, torrent


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(-3, b"i-3e"), (b"spam", b"4:spam"), ("é", b"2:\xc3\xa9"), ({"b": 1, "a": {"c": ""}}, b"d1:ad1:c0:e1:bi1ee")],
)
def test_values_are_encoded_as_the_specification_says(value: Value, encoded: bytes) -> None:
    assert bencoded(value) == encoded


def test_a_torrent_has_the_digest_of_every_piece(tmp_path: Path) -> None:
    (file := tmp_path / "image").write_bytes(bytes(PIECE) + b"rest")

    described = torrent(file, "http://tracker/announce")

    pieces = hashlib.sha1(bytes(PIECE)).digest() + hashlib.sha1(b"rest").digest()
    assert b"6:pieces40:" + pieces in described
    assert b"6:lengthi%de" % (PIECE + 4) in described
    assert b"8:announce23:http://tracker/announce" in described
